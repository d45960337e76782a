import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from node.storage import database
from node.storage.database import Database
from node.storage.errors import (
    CommitOrderError,
    DatabaseDamagedError,
    DatabaseFolderError,
    DatabaseInUseError,
    DiskFullError,
    HeightUnknownError,
    SchemaVersionError,
    WriteFailedError,
)
from node.storage.leveldb import plyvel
from node.storage.records import BlockRecord
from runtime.codec import scale
from runtime.trie import proof, trie
from runtime.trie.backend import Backend, MemoryBackend
from runtime.types.primitives import ZERO_HASH, Digest, Hash, Header
from tests.conftest import REPOSITORY

Changes = dict[bytes, bytes | None]


class Chain:
    """Makes block records and remembers every state."""

    def __init__(self) -> None:
        self.state = MemoryBackend()
        self.states: list[dict[bytes, bytes]] = []
        self.parent = ZERO_HASH

    def next(self, changes: Changes) -> BlockRecord:
        number = len(self.states)
        diff = trie.update(self.state, sorted(changes.items()))
        self.state.apply(changes, diff.nodes)
        self.states.append(dict(self.state.values))
        body = (b"extrinsic %d" % number, b"")
        extrinsics_root = trie.ordered_root(body)
        header = Header(self.parent, number, Hash(diff.root), Hash(extrinsics_root), Digest(()))
        self.parent = header.hash
        return BlockRecord(
            number,
            header.hash,
            scale.codec(Header).encode(header),
            body,
            changes,
            diff.nodes,
            justification=b"certificate" if number % 3 == 2 else None,
            metadata={"note": b"%d" % number},
        )

    def random(self, source: random.Random) -> BlockRecord:
        return self.next(
            {
                source.randbytes(source.choice([1, 2, 20])): source.choice(
                    [None, b"", b"\0", source.randbytes(40)]
                )
                for _ in range(20)
            }
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.fixture
def opened(folder: Path) -> Iterator[Database]:
    with Database.open(folder) as store:
        yield store


def filled(folder: Path, blocks: int, seed: int = 1, **options: int) -> tuple[Database, Chain]:
    chain, source = Chain(), random.Random(seed)
    store = Database.open(folder, **options)  # type: ignore[arg-type]
    for _ in range(blocks):
        store.commit(chain.random(source))
    return store, chain


def assert_is_state(backend: Backend, values: dict[bytes, bytes]) -> None:
    assert list(backend.keys(b"")) == sorted(values)
    for key in values:
        assert backend.get(key) == values[key]
    root = trie.root_of(values)
    for key in [*sorted(values)[:3], b"absent"]:
        entries = proof.prove(backend, root, [key])
        assert proof.verify(root, entries, key) == values.get(key)


def test_a_committed_block_is_read_back_after_reopening(folder: Path) -> None:
    chain = Chain()
    records = [chain.next({b"key": b"%d" % number}) for number in range(4)]
    with Database.open(folder) as store:
        store.commit(records[0])
        store.commit(*records[1:])
    with Database.open(folder, create=False) as store:
        assert store.head == 3
        for record in records:
            block = store.block(record.number)
            assert block is not None
            assert (block.hash, block.header) == (record.hash, record.header)
            assert (block.body, block.justification) == (record.body, record.justification)
            assert store.number_of(record.hash) == record.number
            assert store.hash_at(record.number) == record.hash
        assert [block.number for block in store.blocks(1, 2)] == [1, 2]
        assert [block.number for block in store.blocks()] == [0, 1, 2, 3]
        assert store.metadata("note") == b"3"
        assert_is_state(store.head_state(), {b"key": b"3"})
        assert store.check().blocks == 4


def test_an_empty_folder_has_nothing(opened: Database) -> None:
    assert opened.head is None
    assert opened.block(0) is None
    assert opened.hash_at(-1) is None
    assert opened.body(5) is None
    assert opened.metadata("note") is None
    assert list(opened.blocks()) == []
    assert opened.check().blocks == 0
    with pytest.raises(HeightUnknownError, match="not finalized"):
        opened.state_at(0)


def test_a_metadata_record_is_written_and_deleted(opened: Database) -> None:
    opened.put_metadata("round", b"7")
    assert opened.metadata("round") == b"7"
    opened.put_metadata("round", None)
    assert opened.metadata("round") is None


def test_every_kept_height_serves_its_own_state(folder: Path) -> None:
    store, chain = filled(folder, 40)
    with store:
        for number, values in enumerate(chain.states):
            assert_is_state(store.state_at(number), values)


@pytest.mark.parametrize("after", [None, b"", b"\x01", b"\x01\0", b"\x7f\xff"])
@pytest.mark.parametrize("prefix", [b"", b"\0", b"\x01", b"\xff", b"\xff\xff"])
def test_historic_keys_respect_prefix_and_after(
    folder: Path, prefix: bytes, after: bytes | None
) -> None:
    source, chain = random.Random(7), Chain()
    with Database.open(folder) as store:
        for _ in range(6):
            names = [
                bytes(source.choices([0, 1, 127, 255], k=source.randint(0, 3))) for _ in "abcd"
            ]
            store.commit(chain.next({name: source.choice([None, b"x"]) for name in names}))
        for number, values in enumerate(chain.states):
            expected = sorted(
                key for key in values if key.startswith(prefix) and (after is None or key > after)
            )
            assert list(store.state_at(number).keys(prefix, after)) == expected
            if number == store.head:
                assert list(store.head_state().keys(prefix, after)) == expected


def test_a_historic_state_stays_while_blocks_are_committed_and_pruned(folder: Path) -> None:
    store, chain = filled(folder, 3, history_blocks=2)
    with store:
        old = store.state_at(1)
        keys = old.keys(b"")
        first = next(keys)
        for seed in range(6):
            store.commit(chain.random(random.Random(seed)))
        assert [first, *keys] == sorted(chain.states[1])
        assert_is_state(old, chain.states[1])


def test_states_older_than_the_history_are_pruned_without_rest(folder: Path) -> None:
    store, chain = filled(folder, 30, history_blocks=5)
    with store:
        assert store.oldest_state == 24
        assert_is_state(store.state_at(24), chain.states[24])
        with pytest.raises(HeightUnknownError, match="archive"):
            store.state_at(23)
        assert store.check().blocks == 30
    raw = plyvel.DB(str(folder))
    heights = {
        int.from_bytes(name[-8:], "big")
        for name in raw.iterator(include_value=False)
        if name[:1] in (b"R", b"N", b"P")
    }
    raw.close()
    assert heights == set(range(25, 30))


def test_a_height_pruned_by_a_commit_that_just_ends_is_refused(folder: Path) -> None:
    store, _ = filled(folder, 9, history_blocks=5)
    with store:
        # As another thread sees it between the write and the end of commit().
        store._oldest_state = 2
        with pytest.raises(HeightUnknownError, match="pruned"):
            store.state_at(2)


def test_an_archive_keeps_all_states_and_catches_up_when_it_stops_being_one(folder: Path) -> None:
    chain, source = Chain(), random.Random(3)
    with Database.open(folder, archive=True, history_blocks=2) as store:
        for _ in range(40):
            store.commit(chain.random(source))
        assert store.oldest_state == 0
        assert_is_state(store.state_at(0), chain.states[0])
    with Database.open(folder, history_blocks=2) as store:
        for _ in range(4):
            store.commit(chain.random(source))
        assert store.oldest_state == 41
        assert_is_state(store.state_at(41), chain.states[41])


class DatabaseMachine(RuleBasedStateMachine):
    """Commits and reopenings against the list of all states."""

    folders = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(self.base) / str(DatabaseMachine.folders)
        DatabaseMachine.folders += 1
        self.store = Database.open(self.folder, history_blocks=4)
        self.chain = Chain()

    base = ""

    @rule(
        batches=st.lists(
            st.dictionaries(
                st.binary(max_size=2), st.none() | st.sampled_from([b"", b"\0", bytes(40)])
            ),
            min_size=1,
            max_size=3,
        )
    )
    def commit(self, batches: list[Changes]) -> None:
        self.store.commit(*[self.chain.next(changes) for changes in batches])

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Database.open(self.folder, history_blocks=4)

    @invariant()
    def every_kept_state_is_right(self) -> None:
        self.store.check()
        if self.store.oldest_state is not None:
            for number in range(self.store.oldest_state, len(self.chain.states)):
                assert_is_state(self.store.state_at(number), self.chain.states[number])

    def teardown(self) -> None:
        self.store.close()


def test_the_database_follows_its_model(tmp_path: Path) -> None:
    DatabaseMachine.base = str(tmp_path)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        DatabaseMachine, settings=settings(max_examples=12, stateful_step_count=8, deadline=None)
    )


@pytest.mark.parametrize("skip", [0, 2])
def test_a_block_that_does_not_follow_the_head_is_refused(folder: Path, skip: int) -> None:
    store, chain = filled(folder, 2)
    with store:
        other = Chain()
        foreign = [other.next({b"k": b"%d" % number}) for number in range(5)]
        with pytest.raises(CommitOrderError, match="does not follow"):
            store.commit(foreign[skip])
        with pytest.raises(CommitOrderError):
            store.commit(chain.next({}), foreign[4])
        assert store.head == 1


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_database import Chain, Database
import random
chain, source = Chain(), random.Random(5)
with Database.open(Path(sys.argv[1]), history_blocks=8) as store:
    while True:
        store.commit(chain.random(source))
        print(store.head, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 17, 60])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(
    folder: Path, acknowledged: int
) -> None:
    code = CHILD.format(root=str(REPOSITORY), tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        last = -1
        while last < acknowledged:
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        last = int(rest[-1]) if rest and rest[-1].isdigit() else last
    with Database.open(folder, history_blocks=8) as store:
        assert store.head is not None
        assert store.head >= last
        chain, source = Chain(), random.Random(5)
        for _ in range(store.head + 1):
            chain.random(source)
        assert store.check().blocks == store.head + 1
        assert_is_state(store.head_state(), chain.states[-1])
        store.commit(chain.random(source))


def test_a_torn_write_is_invisible(folder: Path, tmp_path: Path) -> None:
    store, chain = filled(folder, 12)
    copy = tmp_path / "copy"
    # Copied while open: what the disk would hold if the machine stopped now.
    shutil.copytree(folder, copy)
    store.close()
    log = max(copy.glob("*.log"), key=lambda file: file.stat().st_size)
    whole = log.read_bytes()
    source = random.Random(4)
    heads = set()
    for _ in range(25):
        torn = tmp_path / "torn"
        shutil.copytree(copy, torn)
        (torn / log.name).write_bytes(whole[: source.randrange(len(whole))])
        with Database.open(torn) as reopened:
            heads.add(reopened.head)
            head = -1 if reopened.head is None else reopened.head
            assert reopened.check().blocks == head + 1
            if head >= 0:
                assert_is_state(reopened.head_state(), chain.states[head])
        shutil.rmtree(torn)
    assert len(heads) > 3


def test_a_damaged_log_is_refused(folder: Path, tmp_path: Path) -> None:
    store, _ = filled(folder, 12)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    store.close()
    log = max(copy.glob("*.log"), key=lambda file: file.stat().st_size)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 255
    log.write_bytes(data)
    with pytest.raises(DatabaseDamagedError, match="is damaged"):
        Database.open(copy)


def test_a_damaged_table_is_never_served(folder: Path) -> None:
    store, chain = filled(folder, 30)
    store.close()
    # Reopening moves the log into a table file.
    Database.open(folder).close()
    for table in folder.glob("*.ldb"):
        data = bytearray(table.read_bytes())
        for place in range(0, len(data) - 200, 97):
            data[place] ^= 1
        table.write_bytes(data)
    with pytest.raises(DatabaseDamagedError), Database.open(folder) as reopened:
        assert_is_state(reopened.head_state(), chain.states[-1])


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST"])
def test_a_damaged_file_of_the_folder_is_refused(folder: Path, name: str) -> None:
    filled(folder, 2)[0].close()
    for file in folder.glob(name + "*"):
        file.write_bytes(b"garbage")
    with pytest.raises(DatabaseDamagedError):
        Database.open(folder)


def test_a_folder_without_its_index_is_not_begun_anew(folder: Path) -> None:
    filled(folder, 2)[0].close()
    (folder / "CURRENT").unlink()
    before = {file.name for file in folder.iterdir()}
    with pytest.raises(DatabaseDamagedError, match="CURRENT is missing"):
        Database.open(folder)
    assert {file.name for file in folder.iterdir()} == before


@pytest.mark.parametrize("prefix", [b"v", b"n", b"h"])
@pytest.mark.parametrize("change", ["drop", "alter", "add"])
def test_check_finds_a_record_that_does_not_belong(
    folder: Path, prefix: bytes, change: str
) -> None:
    filled(folder, 3)[0].close()
    raw = plyvel.DB(str(folder))
    name, value = next(raw.iterator(prefix=prefix))
    if change == "drop":
        raw.delete(name)
    elif change == "alter":
        raw.put(name, value + b"\0")
    elif prefix != b"h":
        raw.put(name + b"\x0f\x0e", value)
    else:
        raw.put(name, value[:-1])
    raw.close()
    with Database.open(folder) as store, pytest.raises(DatabaseDamagedError):
        store.check()


def test_a_folder_in_use_is_refused(opened: Database) -> None:
    with pytest.raises(DatabaseInUseError, match="another process"):
        Database.open(opened.path)


def test_a_folder_that_another_process_uses_is_refused(opened: Database) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from node.storage.database import Database; "
        "from pathlib import Path; Database.open(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(opened.path), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "DatabaseInUseError" in done.stderr


def test_a_newer_schema_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "SCHEMA_VERSION", 2)
        Database.open(folder).close()
    with pytest.raises(SchemaVersionError, match="newer version"):
        Database.open(folder)
    with pytest.raises(SchemaVersionError):
        Database.open(folder)


def test_a_store_of_something_else_is_refused(folder: Path) -> None:
    raw = plyvel.DB(str(folder), create_if_missing=True)
    raw.put(b"other", b"thing")
    raw.close()
    with pytest.raises(DatabaseDamagedError, match="no schema version"):
        Database.open(folder)


def test_a_folder_that_does_not_exist_or_is_a_file_is_refused(folder: Path) -> None:
    with pytest.raises(DatabaseFolderError, match="There is no database"):
        Database.open(folder, create=False)
    folder.write_text("a file")
    with pytest.raises(DatabaseFolderError, match="Check that it is a folder"):
        Database.open(folder)


FULL_DISK = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_database import fill_up
fill_up(sys.argv[1])
"""


def fill_up(folder: str) -> None:
    """Commit until the file size limit stands in for a full disk; print the outcome."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    chain, source = Chain(), random.Random(6)
    with Database.open(Path(folder)) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

        def commit_forever() -> None:
            while True:
                store.commit(chain.random(source))

        with pytest.raises(DiskFullError, match="Free space"):
            commit_forever()
        with pytest.raises(WriteFailedError, match="restart"):
            store.put_metadata("note", b"later")
        print(store.head)


def test_a_full_disk_stops_writing_and_loses_nothing(folder: Path) -> None:
    code = FULL_DISK.format(root=str(REPOSITORY), tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    acknowledged = int(done.stdout)
    with Database.open(folder) as store:
        assert store.head == acknowledged
        assert store.check().blocks == acknowledged + 1
