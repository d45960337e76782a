"""`openledger chain check --base-path`: the data folder of a stopped node, checked whole.

Two checks, of which neither believes the other: what is stored is read and recomputed, and every
block is executed again from genesis in memory. A folder that began by fast sync has no first
blocks, so there only what is stored is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genesis.spec import ChainSpec
from node.commands.base.command import refuse
from node.commands.chain.block_file import ExportedBlock, replay
from node.operations.data_folder import DATABASE_FOLDER
from node.storage.database import Database
from node.storage.errors import damaged
from runtime.codec.scale import codec
from runtime.types.primitives import Hash, Header

_HEADER = codec(Header)


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a data folder has; `first` is the block at which it begins, 0 for genesis."""

    first: int
    last: int
    last_hash: Hash
    state_entries: int


def check_folder(spec: ChainSpec, folder: Path, on_block: Callable[[int, int], None]) -> DataReport:
    """Check a chain's data folder; nothing in it is changed.

    Raises UsageError, DatabaseError, InvalidBlockError, JustificationError.
    """
    if not (folder / DATABASE_FOLDER).is_dir():
        refuse(
            f"There is no data of the chain {spec.id!r} in {folder}. Name the node's folder with "
            "--base-path and its chain with --chain."
        )
    with Database.open(folder / DATABASE_FOLDER, create=False) as database:
        genesis = spec.build().hash
        if database.head is None:
            refuse(f"The database in {folder} is empty: its node never made or fetched a block.")
        if database.hash_at(0) not in (genesis, None):
            refuse(
                f"The data in {folder} are of another chain than the spec {spec.id!r}. Name the "
                "right spec with --chain."
            )
        report = database.check()
        last = database.head
        first = next(block.number for block in database.blocks())
        last_hash = database.hash_at(last)
        assert last_hash is not None, "the head is stored"
        if first == 0 and last > 0:
            header = replay(spec, _exported(database), lambda done: on_block(done, last))
            if header.hash != last_hash:
                raise damaged(database.path, f"executing its blocks ends in {header.hash.hex()}")
        return DataReport(first, last, Hash(last_hash), report.keys)


def _exported(database: Database) -> Iterator[ExportedBlock]:
    for block in database.blocks(first=1):
        yield ExportedBlock(_HEADER.decode(block.header), block.body, block.justification)
