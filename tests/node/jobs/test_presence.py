"""What an executor says of itself on chain: heartbeats, its bases, its reader key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ml.base.content import content_hash
from node.jobs.presence import HEARTBEATS, Presence
from node.keys.reader_key import load_reader_key, make_reader_key, public_reader_key
from node.operations.data_folder import READER_KEY_FILE
from node.transactions.errors import BadFormatError
from node.transactions.submitter import RESEND_BLOCKS
from pallets.jobs.parameters import Parameters
from pallets.jobs.registry import Executor
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

WHO = AccountId(b"e" * 32)
OTHER = Hash(b"o" * 32)


class FakeNode:
    """The chain, the reader and the submitter of an executor, in one."""

    account = WHO

    def __init__(self) -> None:
        self.finalized = SimpleNamespace(number=10)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.record: Executor | None = Executor(ZERO_HASH, 1, 0, last_seen=10)
        self.window = 300

    @contextmanager
    def at(self) -> Iterator[Any]:
        jobs = SimpleNamespace(
            registry={WHO: self.record} if self.record else {},
            parameters=SimpleNamespace(get=lambda: Parameters(heartbeat_blocks=self.window)),
        )
        yield SimpleNamespace(jobs=jobs)

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        self.sent.append((name, arguments))
        return OTHER

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def presence(node: FakeNode, tmp_path: Path) -> Presence:
    fake = cast(Any, node)
    return Presence(fake, fake, fake, tmp_path)


def beats(node: FakeNode, presence: Presence, blocks: int) -> list[int]:
    """Let blocks become final one by one; returns the heights at which a heartbeat was sent."""
    heights = []
    for _ in range(blocks):
        node.finalized.number += 1
        before = len(node.sent)
        presence.show()
        if len(node.sent) > before:
            assert node.names[-1] == "heartbeat"
            heights.append(node.finalized.number)
    return heights


def test_an_executor_without_jobs_shows_itself_in_good_time(
    node: FakeNode, presence: Presence
) -> None:
    assert beats(node, presence, 99) == []
    assert beats(node, presence, 1) == [10 + node.window // HEARTBEATS]
    # It does not land, and is sent again after a while.
    assert len(beats(node, presence, 2 * RESEND_BLOCKS)) == 2
    assert node.record is not None
    node.record = replace(node.record, last_seen=node.finalized.number)
    assert beats(node, presence, 99) == []


@pytest.mark.parametrize("case", ["not registered", "leaving", "no window"])
def test_no_heartbeat_is_sent_where_none_counts(
    node: FakeNode, presence: Presence, case: str
) -> None:
    if case == "not registered":
        node.record = None
    elif case == "leaving":
        node.record = Executor(ZERO_HASH, 1, 0, 10, leaving_at=500)
    node.window = 0 if case == "no window" else node.window
    assert beats(node, presence, 400) == []


def test_a_call_that_the_pool_refuses_ends_nothing(
    node: FakeNode, presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str, **__: Any) -> Hash:
        raise BadFormatError("refused")

    node.finalized.number = 200
    with monkeypatch.context() as patched:
        patched.setattr(node, "submit", refuse)
        presence.show()
    assert beats(node, presence, RESEND_BLOCKS)


def test_bases_and_reader_key_of_this_machine_are_declared_until_the_chain_has_them(
    node: FakeNode, presence: Presence, tmp_path: Path
) -> None:
    presence.learn()
    base = Hash(content_hash())
    presence.show()
    key = public_reader_key(load_reader_key(tmp_path))
    assert node.sent == [("set_bases", {"bases": (base,)}), ("set_reader", {"reader": key})]
    presence.show()
    assert len(node.sent) == 2, "they may land yet"
    assert node.record is not None
    node.record = replace(node.record, bases=(base,), reader=key)
    node.finalized.number += RESEND_BLOCKS
    presence.show()
    assert len(node.sent) == 2


def test_a_machine_without_a_base_declares_none(node: FakeNode, tmp_path: Path) -> None:
    fake = cast(Any, node)
    node.record = Executor(ZERO_HASH, 1, 0, 10, bases=(OTHER,))
    presence = Presence(fake, fake, fake, tmp_path, str(tmp_path / "no base"))
    presence.learn()
    presence.show()
    assert node.sent[0] == ("set_bases", {"bases": ()})


def test_a_damaged_reader_key_is_told_and_keeps_no_executor_from_its_jobs(
    node: FakeNode, presence: Presence, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / READER_KEY_FILE).write_bytes(b"short")
    presence.learn()
    presence.show()
    assert node.names == ["set_bases"]
    assert "reader-key-unreadable" in caplog.text


def test_a_lost_reader_key_is_told_once_and_not_replaced(
    node: FakeNode, presence: Presence, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node.record = Executor(ZERO_HASH, 1, 0, 10, reader=OTHER)
    presence.learn()
    presence.show()
    presence.show()
    assert node.names == ["set_bases"]
    assert not (tmp_path / READER_KEY_FILE).exists()
    assert caplog.text.count("reader-key-unreadable") == 1
    assert "Restore it from a copy" in caplog.text


def test_a_reader_key_that_its_operator_has_put_there_is_declared_and_said(
    node: FakeNode, presence: Presence, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node.record = Executor(ZERO_HASH, 1, 0, 10, reader=OTHER)
    key = public_reader_key(make_reader_key(tmp_path))
    presence.learn()
    presence.show()
    assert ("set_reader", {"reader": key}) in node.sent
    assert f"reader-key-changed registered={OTHER.hex()} machine={key.hex()}" in caplog.text


def test_a_machine_says_why_it_cannot_do_a_job(presence: Presence) -> None:
    assert presence.why_not(OTHER, ZERO_HASH) == "", "it does not know its bases yet"
    presence.learn()
    base = Hash(content_hash())
    assert presence.why_not(base, ZERO_HASH) == ""
    assert presence.why_not(base, presence.profile) == ""
    assert "is not on this machine" in presence.why_not(OTHER, ZERO_HASH)
    assert "no base" in presence.why_not(None, ZERO_HASH)
    assert "not the registered one" in presence.why_not(base, OTHER)
