"""What `openledger verify` takes and prints; the replay itself is tested with the story."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from node.commands.answers import verifying
from node.commands.answers.verifying import Verification
from node.commands.catalogue import FOLDER
from runtime.types.primitives import Hash
from tests.node.commands.support.calling import OpenLedger

GOOD, BAD, PARTLY = (f"0x{number * 32}" for number in ("11", "22", "33"))


@dataclass(frozen=True)
class Step:
    """A step as the replay reports it."""

    name: str
    passed: bool | None
    how: str = "looked"
    detail: str = "seen"


STEPS: Final = {
    GOOD: (Step("identity", True), Step("scores", True)),
    BAD: (Step("identity", False), Step("scores", False)),
    PARTLY: (Step("identity", True), Step("scores", None)),
}


@dataclass
class Replays:
    """Stands for the verifier: says what `STEPS` says and counts."""

    made: int = 0
    asked: list[str] = field(default_factory=list)

    def __call__(self, *_: Any, **__: Any) -> Replays:
        self.made += 1
        return self

    def verify(self, identity: Hash) -> Verification:
        name = "0x" + identity.hex()
        self.asked.append(name)
        return Verification(7, STEPS[name])  # type: ignore[arg-type]


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Replays:
    replays = Replays()
    monkeypatch.setattr(verifying, "Verifier", replays)
    return replays


def assert_described(document: Any) -> None:
    """Check that the published schema names exactly the members of the document."""
    schema = json.loads((FOLDER / "verify.json").read_text(encoding="utf-8"))
    assert set(document) == set(schema["required"])
    of_one = schema["properties"]["receipts"]["items"]
    for receipt in document["receipts"]:
        assert set(receipt) == set(of_one["required"])
        for check in receipt["checks"]:
            assert set(check) == set(of_one["properties"]["checks"]["items"]["required"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Name a receipt"),
        (("--epoch", "0"), "model of the epoch with --model"),
        (("--model", "9"), "There is no model '9'"),
        (("0x12",), "is no hash"),
        ((GOOD, "--save", "a", "--offline", "b"), "either --save or --offline"),
        (("--model", "9", "--epoch", "0"), "There is no model '9'"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    openledger: OpenLedger, words: tuple[str, ...], sentence: str
) -> None:
    called = openledger("verify", *words)
    assert called.exit_code == 2
    assert sentence in called.err


def test_many_receipts_are_one_document_of_one_verifier(
    openledger: OpenLedger, replays: Replays
) -> None:
    document = openledger.json("verify", GOOD, PARTLY, GOOD)
    assert document["holds"]
    assert_described(document)
    assert [receipt["receipt"] for receipt in document["receipts"]] == [GOOD, PARTLY]
    assert [receipt["not_checked"] for receipt in document["receipts"]] == [0, 1]
    assert replays.made == 1
    assert replays.asked == [GOOD, PARTLY]


def test_a_table_is_followed_by_a_line_for_each_further_receipt(
    openledger: OpenLedger, replays: Replays
) -> None:
    called = openledger("verify", GOOD, PARTLY, BAD)
    assert called.exit_code == 1
    assert called.out.count("looked") == 2
    assert called.out.splitlines()[-2:] == [
        f"{PARTLY}  1 steps hold, 1 not checkable here",
        f"{BAD}  0 steps hold, FAILED: identity, scores",
    ]
    assert called.err == (f"1 of 3 receipts do not hold:\n{BAD}: identity, scores\n")


def test_a_failing_receipt_is_in_the_document_too(openledger: OpenLedger, replays: Replays) -> None:
    called = openledger("verify", BAD, "--json")
    assert called.exit_code == 1
    assert_described(called.document)
    assert not called.document["holds"]
    assert called.document["receipts"][0]["failed"] == 2
