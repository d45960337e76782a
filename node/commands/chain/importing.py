"""Puts blocks into a node's data folder while the node is not running."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from genesis.spec import ChainSpec
from node.chain.chain import Chain
from node.chain.justifications import FinalityCheck, authorities_in
from node.commands.chain.block_file import ExportedBlock
from node.operations.data_folder import DATABASE_FOLDER
from node.storage.database import Database
from runtime.types.primitives import Hash


def import_into(
    spec: ChainSpec, folder: Path, blocks: Iterable[ExportedBlock], on_block: Callable[[int], None]
) -> tuple[int, Hash]:
    """Execute and finalize the blocks that the folder does not have: (how many, the last hash).

    Raises DatabaseError, ChainError, InvalidBlockError, JustificationError; what is final stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database = Database.open(folder / DATABASE_FOLDER)
    try:
        chain = Chain(spec, database)
        count = trio.run(_import, chain, blocks, on_block)
        return count, chain.finalized.hash
    finally:
        database.close()


async def _import(
    chain: Chain, blocks: Iterable[ExportedBlock], on_block: Callable[[int], None]
) -> int:
    count = 0
    finality = FinalityCheck(chain.genesis_hash, chain.spec.chain_type)
    for block in blocks:
        header = block.header
        if chain.hash_of(header.number) == header.hash:
            continue
        executed = await chain.execute(header, block.extrinsics)
        authorities = authorities_in(chain.machine, chain.state(header.parent_hash))
        is_final = finality.take(header, block.justification, authorities)
        chain.extend(executed)
        if is_final:
            # Without validators there is no key to check a proof of the file against.
            proof = block.justification if authorities.authorities else None
            await chain.finalize(executed.hash, proof)
        count += 1
        on_block(header.number)
    finality.end()
    return count
