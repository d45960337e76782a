"""The command line against a real node: publish, ask, look at receipts, verify, judge, claim."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from ml.rows.row import Row
from node.client import Client
from node.demo.node_process import NodeProcess
from node.demo.questions import SERVER
from pallets.jobs.job import JobState
from runtime.codec.scale import codec
from runtime.shared.documents import DatanetVersion, Recipe, Train
from runtime.shared.receipts import RowScore, SignedReceipt
from runtime.types.primitives import OPEN, AccountId
from tests.story.support.chains import small_chain
from tests.story.support.steps import OWNER, publish_rows, rows_of, send, until

ROWS: Final = 24
RECIPE: Final = Recipe(
    learning_rate_nano=5_000_000, epochs=1, max_tokens=64, rank=4, warmup_steps=1
)
WAIT_SECONDS: Final = 120.0
OF_THE_INDEX: Final = {"row sketches", "inverse sketches", "aggregates", "span shards", "rows"}
_signed = codec(SignedReceipt)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    exit_code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Served:
    """A node that serves one published model, and two receipts of it."""

    node: NodeProcess
    client: Client
    folder: Path
    asked: Ended
    receipts: tuple[str, str]

    def openledger(self, *words: str) -> Ended:
        """Run a command in a process of its own."""
        return openledger(self.node, self.folder, *words)

    def document(self, *words: str) -> Any:
        """Run a command that must succeed; its JSON."""
        ended = self.openledger(*words, "--json")
        assert ended.exit_code == 0, ended.err
        return json.loads(ended.out)


@dataclass(frozen=True, slots=True)
class Verified:
    """Both receipts verified, and the folder with all that was needed."""

    ended: Ended
    saved: Path


def openledger(node: NodeProcess, folder: Path, *words: str) -> Ended:
    environment = {
        **os.environ,
        "OPENLEDGER_URL": node.url,
        "OPENLEDGER_KEYS": str(folder / "keys"),
        "COLUMNS": "160",
        # Two threads wait for each other by spinning, which is slow beside a node on two cores.
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from cli import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=WAIT_SECONDS,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def train_a_model(client: Client, rows: list[Row]) -> None:
    """Bring rows, model and its training and index jobs onto the chain."""
    publish_rows(client, rows)
    base = client.entries("Models", "bases")[0][0]
    version = (DatanetVersion(0, 1),)
    send(
        client,
        "Models",
        "create",
        name="pydoc",
        base=base,
        datanets=version,
        rate_in_planck=OPEN,
        rate_out_planck=OPEN,
    )
    send(client, "Jobs", "submit", spec=Train(0, base, version, RECIPE))

    def is_indexed() -> bool:
        jobs = dict(client.entries("Jobs", "jobs"))
        ended = {number for number, job in jobs.items() if job.is_final}
        assert all(jobs[number].state is JobState.Settled for number in ended), jobs
        return len(ended) == 2

    until(is_indexed, "training and sketching", WAIT_SECONDS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("asking")
    chain = small_chain(folder, rows_minimum=8)
    with NodeProcess(folder / "node", chain=chain) as node, Client(node.url) as client:
        rows = rows_of("json", "random", "shutil", "textwrap")[:ROWS]
        train_a_model(client, rows)
        published = openledger(node, folder, "model", "publish", "pydoc", "--from", "//Bob")
        assert published.exit_code == 0, published.err
        questions = (rows[0].prompt, rows[-1].prompt)
        words = ("--from", "//Charlie", "--max-tokens", "16")
        asked = openledger(node, folder, "ask", "pydoc", questions[0], *words)
        assert asked.exit_code == 0, asked.err
        again = openledger(node, folder, "ask", "0", questions[1], *words, "--json")
        assert again.exit_code == 0, again.err
        assert "Opened a channel" not in again.err
        first, second = client.call("openledger_receipts", 0)
        assert json.loads(again.out)["receipt"] == second["hash"]
        receipts = (first["hash"], second["hash"])
        yield Served(node=node, client=client, folder=folder, asked=asked, receipts=receipts)


def steps_of(document: Any) -> dict[str, bool | None]:
    return {check["step"]: check["passed"] for check in document["checks"]}


def test_asking_opens_a_channel_answers_and_shows_the_rows(served: Served) -> None:
    assert "Opened a channel with 1" in served.asked.err
    shown = served.document("receipt", "show", served.receipts[0])
    assert shown["answer"]
    assert served.asked.out.startswith(shown["answer"])
    assert shown["rows"][0]["contributor"]
    assert shown["rows"][0]["score"] in served.asked.out
    assert served.receipts[0] in served.asked.out


def test_receipts_that_are_in_no_epoch_yet_are_listed(served: Served) -> None:
    listed = served.document("receipt", "list", "pydoc")
    assert [row["receipt"] for row in listed["receipts"]] == list(served.receipts)
    assert [row["sequence"] for row in listed["receipts"]] == [1, 2]


@pytest.fixture(scope="module")
def verified(served: Served) -> Verified:
    saved = served.folder / "saved"
    words = ("verify", "--model", "pydoc", "--save", str(saved), "--json")
    return Verified(served.openledger(*words), saved)


def test_receipts_of_an_epoch_verify_in_one_run(served: Served, verified: Verified) -> None:
    assert verified.ended.exit_code == 0, verified.ended.err
    assert verified.ended.err.count("Fetching") == 1
    document = json.loads(verified.ended.out)
    assert document["holds"]
    assert [receipt["receipt"] for receipt in document["receipts"]] == list(served.receipts)
    first, second = map(steps_of, document["receipts"])
    assert first.keys() == second.keys() > OF_THE_INDEX
    assert {step for step, passed in first.items() if not passed} == {"settlement"}
    assert first == second


def test_a_receipt_that_was_tampered_with_fails_offline_and_its_steps_are_named(
    served: Served, verified: Verified
) -> None:
    good, bad = served.receipts
    [kept] = [
        path
        for path in verified.saved.iterdir()
        if b'"signed_receipt"' in path.read_bytes() and bad.encode() in path.read_bytes()
    ]
    kept.write_bytes(with_another_score(kept.read_bytes()))

    offline = ("--offline", str(verified.saved), "--url", "ws://127.0.0.1:1")
    ended = served.openledger("verify", good, bad, "--quick", *offline)

    assert ended.exit_code == 1
    assert "completeness" in ended.out
    [line] = [line for line in ended.out.splitlines() if line.startswith(bad)]
    assert line.endswith("FAILED: voucher, scores")
    assert f"{bad}: voucher, scores" in ended.err
    assert good not in ended.err


def with_another_score(answer: bytes) -> bytes:
    """Raise the first row's score in a kept answer of the node."""
    status, _, body = answer.partition(b"\n")
    details = json.loads(body)
    signed = _signed.decode(bytes.fromhex(details["signed_receipt"][2:]))
    best, *others = signed.evidence.top
    top = (RowScore(best.row, best.score + 1), *others)
    forged = replace(signed, evidence=replace(signed.evidence, top=top))
    details["signed_receipt"] = "0x" + _signed.encode(forged).hex()
    return status + b"\n" + json.dumps(details).encode()


def test_a_verdict_is_recorded_the_epoch_closes_and_the_rows_earn(served: Served) -> None:
    words = ("receipt", "feedback", served.receipts[1], "bad")
    judged = served.document(*words, "--from", "//Charlie")
    assert judged == {"receipt": served.receipts[1], "verdict": "bad"}
    assert served.openledger(*words, "--from", "//Dave").exit_code == 1

    assert served.client.call("openledger_closeEpoch", 0) == 0

    def is_settled() -> bool:
        epoch = served.client.api("AttributionApi_epoch", 0, SERVER, 0)
        return epoch is not None and epoch.state.name == "Settled"

    until(is_settled, "settlement", WAIT_SECONDS)
    listed = served.document("receipt", "list", "pydoc", "--epoch", "0")
    assert [row["feedback"] for row in listed["receipts"]] == [None, "bad"]
    document = served.document("verify", "--quick", *served.receipts)
    assert [steps_of(receipt)["settlement"] for receipt in document["receipts"]] == [True, True]
    earned = served.client.api("AttributionApi_earnings", AccountId(OWNER.account))
    claim = served.openledger("claim", "--from", "//Bob", "--dry-run", "--json")
    assert json.loads(claim.out)["succeeds"] == (earned.claimable > 0)
    assert (claim.exit_code == 0) == (earned.claimable > 0), claim.err
