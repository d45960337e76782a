"""The node's finalized chain and state in one LevelDB folder (node/storage/leveldb.py).

Each finalized block is one synced batch: header, body, justification, indices, state, trie nodes
(node/storage/state_layout.py), reverse records (node/storage/state_history.py) and metadata. So a
crash leaves the folder before or after a block and never between.

Rules that hold here:
- Blocks are committed in order, each on the hash of the one before.
- The head's state, `head_state()`, moves with each commit; `state_at()` stays where it is.
- A database begins at genesis, or at a state that came from peers (`staging`, `install`): then it
  has no blocks between genesis and that height.

Key spaces besides those of the state: h header, x body, j justification, b number -> hash,
i hash -> number, m: metadata record, m the database's own records.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from node.storage.errors import (
    CommitOrderError,
    DatabaseWriteError,
    HeightUnknownError,
    InstallError,
    SchemaVersionError,
    damaged,
)
from node.storage.leveldb import LevelReader, LevelStore
from node.storage.pruning import prune
from node.storage.records import BlockRecord, CheckReport, StoredBlock
from node.storage.staging import Staging
from node.storage.state_history import CommitPlan, HistoricState
from node.storage.state_layout import SPACES, HeadState, Space, height_bytes, state_range
from runtime.codec import scale
from runtime.crypto.hashing import blake2b_256
from runtime.trie import trie
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import Header

SCHEMA_VERSION: Final = 1
HISTORY_BLOCKS: Final = 256

_SCHEMA: Final = b"mschema"
_HEAD: Final = b"mhead"
_OLDEST_STATE: Final = b"moldest_state"
_OLDEST_BLOCK: Final = b"moldest_block"
_SPACE: Final = b"mspace"
_RECORD: Final = b"m:"
_EXTRINSICS: Final = scale.codec(tuple[bytes, ...])
_HEADER: Final = scale.codec(Header)

Result = TypeVar("Result")


class Database:
    """The store of one chain. Open it with `Database.open`, or use it as a context manager."""

    def __init__(self, store: LevelStore, history_blocks: int | None) -> None:
        self.path = store.path
        self._store = store
        self._reader = store.reader
        self._history_blocks = history_blocks
        self._head = self._reader.number(_HEAD)
        self._oldest_state = self._reader.number(_OLDEST_STATE)
        self._space = _read_space(self._reader)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        archive: bool = False,
        history_blocks: int = HISTORY_BLOCKS,
    ) -> Self:
        """Open a folder, creating it if asked; `archive` keeps the states of all blocks.

        Raises DatabaseInUseError, DatabaseDamagedError, DatabaseFolderError, SchemaVersionError,
        DiskFullError.
        """
        store = LevelStore.open(path, create=create)
        try:
            _check_schema(store)
            return cls(store, None if archive else history_blocks)
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder back."""
        self._store.close()

    @property
    def fault(self) -> str:
        """What reads and writes have found wrong with the files; empty for nothing."""
        return self._store.fault

    @property
    def head(self) -> int | None:
        """The number of the last finalized block, None before genesis."""
        return self._head

    @property
    def is_archive(self) -> bool:
        """Return whether the states of all blocks are kept."""
        return self._history_blocks is None

    @property
    def oldest_state(self) -> int | None:
        """The smallest height that `state_at` serves, None before genesis."""
        return self._oldest_state

    # ------------------------------------------------------------------------------ reading blocks

    def hash_at(self, number: int) -> bytes | None:
        """Return the hash of the finalized block with this number."""
        return self._reader.get(b"b" + height_bytes(number)) if number >= 0 else None

    def number_of(self, block_hash: bytes) -> int | None:
        """Return the number of the finalized block with this hash."""
        return self._reader.number(b"i" + block_hash)

    def block(self, number: int) -> StoredBlock | None:
        """Return the finalized block with this number."""
        block_hash = self.hash_at(number)
        if block_hash is None:
            return None
        header, body = self.header(number), self.body(number)
        if header is None or body is None:
            raise damaged(self.path, f"block {number} has a hash but no header or body")
        return StoredBlock(number, block_hash, header, body, self.justification(number))

    def header(self, number: int) -> bytes | None:
        """Return the encoded header of the finalized block with this number."""
        return self._reader.get(b"h" + height_bytes(number)) if number >= 0 else None

    def body(self, number: int) -> tuple[bytes, ...] | None:
        """Return the extrinsics of the finalized block with this number."""
        encoded = self._reader.get(b"x" + height_bytes(number)) if number >= 0 else None
        if encoded is None:
            return None
        return self._stored(_EXTRINSICS.decode, encoded, f"the body of block {number}")

    def justification(self, number: int) -> bytes | None:
        """Return the justification of the finalized block with this number, if it has one."""
        return self._reader.get(b"j" + height_bytes(number)) if number >= 0 else None

    def blocks(self, first: int | None = None, last: int | None = None) -> Iterator[StoredBlock]:
        """Yield the finalized blocks from `first` to `last`, both included; all by default."""
        if self._head is None:
            return
        oldest = self._reader.number(_OLDEST_BLOCK) or 0
        stop = self._head if last is None else min(last, self._head)
        for number in range(max(oldest, first or 0), stop + 1):
            block = self.block(number)
            if block is None:
                raise damaged(self.path, f"block {number} is missing")
            yield block

    def metadata(self, name: str) -> bytes | None:
        """Return a metadata record."""
        return self._reader.get(_RECORD + name.encode())

    # ------------------------------------------------------------------------------- reading state

    def head_state(self) -> HeadState:
        """Return the state after the last commit; it moves with every further one."""
        return HeadState(self._reader, self._space)

    def state_at(self, number: int) -> HistoricState:
        """Return the state after a block; it stays the same whatever is committed later.

        Raises HeightUnknownError for a height that is not finalized yet or is pruned.
        """
        # What the snapshot itself says: a commit in another thread may be pruning right now.
        reader = self._store.snapshot()
        head, oldest = reader.number(_HEAD), reader.number(_OLDEST_STATE)
        if head is None or oldest is None or number > head:
            raise HeightUnknownError(f"Block {number} is not finalized here yet. Wait for it.")
        if number < oldest:
            raise HeightUnknownError(
                f"The state after block {number} is pruned, the oldest kept is that of block "
                f"{oldest}. Ask a node that runs in archive mode."
            )
        return HistoricState(reader, _read_space(reader), number)

    # ------------------------------------------------------------------------------------- writing

    def check_writable(self) -> None:
        """Check that a write would be tried now. Raises DiskLowError, WriteFailedError."""
        self._store.check_writable()

    @property
    def write_failure(self) -> str:
        """Why no write would be tried now; empty where one would."""
        try:
            self.check_writable()
        except DatabaseWriteError as error:
            return str(error)
        return ""

    def commit(self, *records: BlockRecord) -> None:
        """Write finalized blocks, in order, in one synced batch.

        When it returns the blocks survive a crash; when it raises, none of them is visible after
        reopening or all are. Raises CommitOrderError, DatabaseWriteError.
        """
        plan = CommitPlan(self._reader, self._space)
        head, oldest = self._head, self._oldest_state
        for record in records:
            parent = None if head is None else plan.get(b"b" + height_bytes(head))
            _check_order(record, head, parent)
            _plan_block(plan, record)
            keep_old = head is not None
            changes, nodes = record.changes, record.nodes
            plan.change_state(record.number, changes, nodes, record.former, keep_old=keep_old)
            if head is None or oldest is None:
                oldest = record.number
                plan.writes[_OLDEST_BLOCK] = height_bytes(record.number)
            head = record.number
            oldest = prune(plan, head=head, oldest=oldest, history_blocks=self._history_blocks)
            plan.writes[_HEAD], plan.writes[_OLDEST_STATE] = (
                height_bytes(head),
                height_bytes(oldest),
            )
        self._store.write(plan.writes)
        self._head, self._oldest_state = head, oldest

    def justify(self, number: int, justification: bytes) -> None:
        """Write the justification of a block that is final already, synced."""
        assert self._head is not None, "genesis is written first"
        assert 0 <= number <= self._head, "only a final block has a justification"
        self._store.write({b"j" + height_bytes(number): justification})

    def put_metadata(self, name: str, value: bytes | None) -> None:
        """Write one metadata record, synced; None deletes it."""
        self.put_records({name: value})

    def put_records(self, records: Mapping[str, bytes | None]) -> None:
        """Write metadata records, all in one synced batch; None deletes one."""
        self._store.write({_RECORD + name.encode(): value for name, value in records.items()})

    def staging(self) -> Staging:
        """Return where a state from peers is put together, and stays until it is installed."""
        unused = SPACES[1 - SPACES.index(self._space)]
        return Staging(self._reader, unused, self._store.write)

    def install(self, block: StoredBlock) -> None:
        """Make the staged state, which is that after a block, the current one: one synced batch.

        The block becomes head and oldest block. Raises InstallError, DiskFullError,
        WriteFailedError.
        """
        if self._head != 0:
            raise InstallError(
                f"The database is at height {self._head}, not at genesis. Synchronize by blocks, "
                "or remove the folder."
            )
        header = self._stored(_HEADER.decode, block.header, f"header {block.number}")
        staging = self.staging()
        if header.number != block.number or staging.root() != header.state_root:
            raise InstallError(
                f"The staged state is not the one after block {block.number}. Stage it again."
            )
        plan = CommitPlan(self._reader, staging.space)
        _plan_block(plan, _record_of(block))
        at = height_bytes(block.number)
        plan.writes |= dict.fromkeys((_HEAD, _OLDEST_STATE, _OLDEST_BLOCK), at)
        plan.writes[_SPACE] = bytes((SPACES.index(staging.space),))
        plan.writes |= staging.end()
        for nodes in (False, True):
            names = self._reader.keys(*state_range(self._space, nodes=nodes))
            plan.writes |= dict.fromkeys(names)
        self._store.write(plan.writes)
        self._head = self._oldest_state = block.number
        self._space = staging.space

    def check(self) -> CheckReport:
        """Read everything and recompute it; raises DatabaseDamagedError at the first difference.

        Headers have the hashes they are filed under and follow one another, the flat state has the
        head's state root, and the stored trie nodes are exactly those of that state.
        """
        if self._head is None:
            return CheckReport(0, 0, 0, trie.EMPTY_ROOT)
        count, parent, root = 0, b"", b""
        for block in self.blocks():
            header = self._stored(_HEADER.decode, block.header, f"header {block.number}")
            if blake2b_256(block.header) != block.hash or (count and header.parent_hash != parent):
                raise damaged(self.path, f"block {block.number} does not fit the chain")
            count, parent, root = count + 1, block.hash, header.state_root
        pairs = [
            (name[1:], value)
            for name, value in self._reader.pairs(*state_range(self._space, nodes=False))
        ]
        expected = trie.update(MemoryBackend(), pairs)
        if expected.root != root:
            raise damaged(self.path, "the state does not have the head's state root")
        nodes = 0
        for name, node in self._reader.pairs(*state_range(self._space, nodes=True)):
            nodes += 1
            if expected.nodes.get(name[1:]) != node:
                raise damaged(self.path, "a trie node does not belong to the state")
        if nodes != len(expected.nodes):
            raise damaged(self.path, "trie nodes are missing")
        return CheckReport(count, len(pairs), nodes, root)

    def _stored(self, decode: Callable[[bytes], Result], data: bytes, what: str) -> Result:
        try:
            return decode(data)
        except scale.DecodeError as error:
            raise damaged(self.path, f"{what} does not decode") from error


def _read_space(reader: LevelReader) -> Space:
    raw = reader.get(_SPACE)
    return SPACES[0 if raw is None else raw[0]]


def _plan_block(plan: CommitPlan, record: BlockRecord) -> None:
    """Add a block without its state to the plan."""
    at = height_bytes(record.number)
    plan.writes[b"b" + at] = record.hash
    plan.writes[b"i" + record.hash] = at
    plan.writes[b"h" + at] = record.header
    plan.writes[b"x" + at] = _EXTRINSICS.encode(tuple(record.body))
    if record.justification is not None:
        plan.writes[b"j" + at] = record.justification
    for name, value in record.metadata.items():
        plan.writes[_RECORD + name.encode()] = value


def _record_of(block: StoredBlock) -> BlockRecord:
    return BlockRecord(
        block.number, block.hash, block.header, block.body, {}, {}, block.justification
    )


def _check_order(record: BlockRecord, head: int | None, head_hash: bytes | None) -> None:
    if head is None:
        return
    # A header begins with its parent's hash.
    if record.number != head + 1 or record.header[:32] != head_hash:
        raise CommitOrderError(
            f"Block {record.number} does not follow the finalized block {head}. "
            "Finalize the blocks between them first."
        )


def _check_schema(store: LevelStore) -> None:
    reader = store.reader
    stored = reader.get(_SCHEMA)
    if stored is None:
        if next(reader.keys(b"", b"\xff"), None) is not None:
            raise damaged(reader.path, "it has records but no schema version")
        store.write({_SCHEMA: SCHEMA_VERSION.to_bytes(4, "big")})
        return
    version = int.from_bytes(stored, "big")
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{reader.path} has schema version {version}, this program knows up to "
            f"{SCHEMA_VERSION}. Install the newer version that wrote it."
        )
