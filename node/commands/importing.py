"""Puts blocks into a node's data folder while the node is not running."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from genesis.spec import ChainSpec
from node.chain import Chain
from node.commands.block_file import StoredBlock
from node.database import Database
from runtime.primitives import Hash


def import_into(
    spec: ChainSpec, folder: Path, blocks: Iterable[StoredBlock], on_block: Callable[[int], None]
) -> tuple[int, Hash]:
    """Execute and finalize the blocks that the folder does not have: (how many, the last hash).

    Raises DatabaseError, ChainError, InvalidBlockError; what came before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database = Database.open(folder / "db")
    try:
        chain = Chain(spec, database)
        count = trio.run(_import, chain, blocks, on_block)
        return count, chain.finalized.hash
    finally:
        database.close()


async def _import(
    chain: Chain, blocks: Iterable[StoredBlock], on_block: Callable[[int], None]
) -> int:
    count = 0
    for block in blocks:
        if chain.hash_of(block.header.number) == block.header.hash:
            continue
        executed = await chain.execute(block.header, block.extrinsics)
        chain.extend(executed)
        await chain.finalize(executed.hash)
        count += 1
        on_block(block.header.number)
    return count
