from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from ml.rows.row import Row, row_hash
from node.commands.datanet.contribution import split
from pallets.datanets.records import BATCH_ROWS_MAX
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash
from tests.node.commands.support.calling import OpenLedger
from tests.node.support.live_node import LiveNode

PROFILE: Final = (
    "--summary", "s", "--licence", "CC-BY-4.0", "--source", "s", "--purpose", "p",
)  # fmt: skip


def write_rows(path: Path, count: int, start: int = 0) -> Path:
    lines = (
        json.dumps({"prompt": f"q{number}", "completion": f"answer {number}"})
        for number in range(start, start + count)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def datanet(node: LiveNode, tmp_path_factory: pytest.TempPathFactory) -> str:
    openledger = OpenLedger(node.rpc_url, tmp_path_factory.mktemp("keys"))
    document = openledger.json("datanet", "create", "Docs", *PROFILE, "--from", "//Alice")
    created = [event for event in document["events"] if event["event"] == "Datanets.Created"]
    return str(created[0]["fields"]["datanet"])


def test_rows_go_from_a_file_to_a_published_version(
    openledger: OpenLedger, node: LiveNode, datanet: str, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 1_100)
    with file.open("a") as opened:
        opened.write(json.dumps({"prompt": "q3", "completion": "answer 3"}) + "\n")
    called = openledger("datanet", "contribute", datanet, str(file), "--from", "//Bob", "--json")
    assert called.exit_code == 0, called.err
    document = called.document
    assert [batch["rows"] for batch in document["batches"]] == [1_024, 76]
    assert document["duplicates"] == [{"line": 1_101, "first_line": 4}]
    assert "1,100 of 1,500 rows needed for attribution" in called.err
    assert "under CC-BY-4.0" in called.err
    for batch in document["batches"]:
        assert node.blobs.has(Hash(bytes.fromhex(batch["blob"][2:])))
        words = (datanet, str(batch["batch"]), "accept", "--from", "//Alice")
        openledger.json("datanet", "review", *words)
    openledger.json("datanet", "publish", datanet, "--from", "//Alice")
    status = openledger.json("datanet", "status", datanet)
    assert status["published_rows"] == 1_100
    assert {batch["status"] for batch in status["batches"]} == {"Accepted"}
    earnings = openledger.json("datanet", "earnings", "//Bob")
    assert earnings["datanets"] == [
        {"datanet": int(datanet), "name": "Docs", "accepted_rows": 1_100}
    ]


def test_a_contribution_that_is_there_already_sends_nothing(
    openledger: OpenLedger, datanet: str, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "twice.jsonl", 20, 5_000)
    words = ("datanet", "contribute", datanet, str(file), "--from", "//Charlie")
    assert openledger.json(*words)["rows"] == 20
    called = openledger(*words)
    assert called.exit_code == 2
    assert "Nothing is left to send" in called.err


def test_a_second_run_sends_only_what_is_missing(
    openledger: OpenLedger, datanet: str, tmp_path: Path
) -> None:
    words = ("--from", "//Charlie")
    file = write_rows(tmp_path / "part.jsonl", 10, 7_000)
    openledger.json("datanet", "contribute", datanet, str(file), *words)
    file = write_rows(tmp_path / "more.jsonl", 15, 7_000)
    document = openledger.json("datanet", "contribute", datanet, str(file), *words)
    assert (document["rows"], document["in_datanet_already"]) == (5, 10)


def test_a_dry_run_of_a_contribution_sends_nothing(
    openledger: OpenLedger, node: LiveNode, datanet: str, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "dry.jsonl", 30, 9_000)
    words = ("datanet", "contribute", datanet, str(file), "--from", "//Dave")
    planned = openledger.json(*words, "--dry-run")
    assert not node.blobs.has(Hash(bytes.fromhex(planned["batches"][0]["blob"][2:])))
    sent = openledger.json(*words)
    for name in ("fee_planck", "bond_planck", "deposit_planck", "free_after_planck"):
        assert sent[name] == planned[name], name


def test_a_text_is_cut_into_rows(openledger: OpenLedger, datanet: str, tmp_path: Path) -> None:
    file = tmp_path / "text.md"
    file.write_text("# Title\n\nSome words.\n")
    words = ("datanet", "contribute", datanet, str(file), "--from", "//Eve", "--dry-run")
    assert openledger.json(*words)["rows"] == 1


def test_who_has_too_little_is_told_before_anything_is_sent(
    openledger: OpenLedger, datanet: str, tmp_path: Path
) -> None:
    openledger.json("account", "transfer", "//Poor", "0.02OPEN", "--from", "//Alice")
    file = write_rows(tmp_path / "rows.jsonl", 300, 20_000)
    called = openledger("datanet", "contribute", datanet, str(file), "--from", "//Poor")
    assert called.exit_code == 5
    assert "takes" in called.err
    assert "Sent" not in called.err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"prompt": "a", "completion": "b"}\n{"prompt"\n', "Line 2: not valid JSON"),
        (b'{"prompt": "a", "completion": "b\0"}\n', "Line 1: a NUL byte"),
        (b'{"prompt": "a", "completion": "b\\u0000"}\n', "Line 1"),
        (b'{"completion": "' + b"x" * 5_000_000 + b'"}\n', "Line 1: 5000018 bytes exceed"),
        (b"", "holds no row"),
        (b"\xff\xfe\n", "not valid UTF-8"),
        (b"[1]\n", "a JSON object was expected"),
        (b'{"a": 1}\n', "match no known shape"),
        (b'{"prompt": "a", "completion": " "}\n', "no text to learn"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_nothing_is_sent(
    openledger: OpenLedger, datanet: str, tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    called = openledger("datanet", "contribute", datanet, str(file), "--from", "//Bob")
    assert called.exit_code == 2
    assert sentence in called.err
    assert "Sent" not in called.err


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("contribute", "99", "x.jsonl", "--from", "//Bob"), 2, "There is no datanet 99"),
        (("contribute", "0", "/nowhere.jsonl", "--from", "//Bob"), 2, "is not a file"),
        (("contribute", "0", "/nowhere.exe", "--from", "//Bob"), 2, "is not a file"),
        (("status", "99"), 2, "There is no datanet 99"),
        (("status", "-1"), 2, "No such option"),
        (("review", "0", "77", "accept", "--from", "//Alice"), 1, "UnknownBatch"),
        (("review", "0", "0", "maybe", "--from", "//Alice"), 2, "maybe"),
        (("publish", "0", "--from", "//Eve"), 1, "NotOwner"),
        (("access", "request", "0", "--from", "//Eve"), 1, "AccessNotNeeded"),
        (("access", "grant", "0", "nobody", "--from", "//Alice"), 2, "is no account"),
        (("access", "revoke", "0", "//Eve", "--from", "//Alice"), 1, "NothingToRevoke"),
        (("create", "x", *PROFILE, "--from", "//Alice"), 1, "InvalidName"),
        (("earnings", "x"), 2, "is no account"),
    ],
)
@pytest.mark.usefixtures("datanet")
def test_a_mistake_ends_with_a_sentence(
    openledger: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = openledger("datanet", *words)
    assert called.exit_code == exit_code
    assert sentence in called.err


def test_batches_hold_as_many_rows_as_one_call_may() -> None:
    rows = [Row("", f"text {number}") for number in range(2_100)]
    batches = split([(row, Hash(row_hash(row))) for row in rows])
    sizes = [len(batch.hashes) for batch in batches]
    assert sizes == [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 52]
    assert all(blob_id(batch.data) == batch.blob for batch in batches)


def test_batches_hold_no_more_bytes_than_one_call_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.commands.datanet.contribution.BATCH_BYTES_MAX", 10_000)
    rows = [Row("", f"{number} " + "x" * 900) for number in range(15)]
    batches = split([(row, Hash(row_hash(row))) for row in rows])
    assert [len(batch.hashes) for batch in batches] == [10, 5]
    assert all(len(batch.data) <= 10_000 for batch in batches)
