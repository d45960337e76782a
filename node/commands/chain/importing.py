"""Puts blocks into a node's data folder while the node is not running."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from genesis.spec import ChainSpec
from node.chain.chain import Chain
from node.chain.errors import ChainError
from node.chain.justifications import FinalityCheck, JustificationError, authorities_in
from node.commands.chain.block_file import DamagedBlockFileError, ExportedBlock
from node.operations.data_folder import DATABASE_FOLDER
from node.storage.database import Database
from runtime.frame.executive import InvalidBlockError
from runtime.types.primitives import Hash


def import_into(
    spec: ChainSpec,
    folder: Path,
    path: Path,
    blocks: Iterable[ExportedBlock],
    on_block: Callable[[int], None],
) -> tuple[int, Hash]:
    """Execute and finalize the blocks of `path` that the folder lacks: (how many, the last hash).

    Raises DatabaseError, DamagedBlockFileError; what is final stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database = Database.open(folder / DATABASE_FOLDER)
    try:
        chain = Chain(spec, database)
        count = trio.run(_import, chain, path, blocks, on_block)
        return count, chain.finalized.hash
    except DamagedBlockFileError as error:
        number = chain.finalized.number
        stay = f"Blocks 1 to {number:,} are in {folder} and stay" if number else "Nothing was kept"
        raise DamagedBlockFileError(f"{error} {stay}.") from error
    finally:
        database.close()


async def _import(
    chain: Chain, path: Path, blocks: Iterable[ExportedBlock], on_block: Callable[[int], None]
) -> int:
    count = position = 0
    finality = FinalityCheck(chain.genesis_hash, chain.spec.chain_type)
    try:
        for block in blocks:
            position += 1
            header = block.header
            if chain.hash_of(header.number) == header.hash:
                continue
            await _take(chain, finality, block)
            count += 1
            on_block(header.number)
        finality.end()
    except (ChainError, InvalidBlockError, JustificationError) as error:
        raise DamagedBlockFileError(
            f"Block {position:,} in {path} is damaged, or of another history than this folder's: "
            f"{error} Export the file again from a node that you trust."
        ) from error
    return count


async def _take(chain: Chain, finality: FinalityCheck, block: ExportedBlock) -> None:
    """Execute one block, and make it final with those before it where the file proves it."""
    header = block.header
    executed = await chain.execute(header, block.extrinsics)
    authorities = authorities_in(chain.machine, chain.state(header.parent_hash))
    is_final = finality.take(header, block.justification, authorities)
    chain.extend(executed)
    if is_final:
        # Without validators there is no key to check a proof of the file against.
        proof = block.justification if authorities.authorities else None
        await chain.finalize(executed.hash, proof)
