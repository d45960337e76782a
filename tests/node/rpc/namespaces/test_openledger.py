"""openledger_*: receipts in pages, where epochs stand, and what the operator may do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from node.rpc.errors import InvalidParamsError
from node.rpc.namespaces.openledger import OpenLedger
from node.serving.epoch_closer import SettlementRefusedError
from node.serving.epoch_progress import Settlement, Stage
from node.storage.receipt_store import PAGE_MAX, ReceiptStore
from runtime.codec.hexadecimal import from_hex
from runtime.codec.scale import codec
from runtime.shared.receipts import SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId
from tests.node.support.paid_answers import MODEL, SERVER_ACCOUNT, stored

OTHER = AccountId(b"o" * 32)


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


async def refuse(_: int, accepts_missing: bool) -> int:
    if accepts_missing:
        return 4
    raise SettlementRefusedError("Receipts are not here.")


@pytest.fixture
def openledger(receipts: ReceiptStore) -> OpenLedger:
    closer = SimpleNamespace(
        close_model=refuse,
        settlements=lambda: (
            Settlement(MODEL, 4, Stage.STOPPED, "Add to the bond."),
            Settlement(MODEL + 1, 0, Stage.WAITING, ""),
        ),
    )
    nothing = cast(Any, None)
    return OpenLedger(SERVER_ACCOUNT, nothing, nothing, cast(Any, closer), receipts, nothing)


def receipts_of(openledger: OpenLedger, *arguments: Any, **named: Any) -> Any:
    return trio.run(partial(openledger.receipts, *arguments, **named))


def sequences(listed: Any) -> list[int]:
    decode = codec(SignedReceipt).decode
    return [decode(from_hex(entry["signedReceipt"])).sequence for entry in listed]


def test_receipts_that_wait_are_listed_in_pages(
    openledger: OpenLedger, receipts: ReceiptStore
) -> None:
    hashes = [receipts.record(stored(number)) for number in range(1, PAGE_MAX + 3)]
    assert len(sequences(receipts_of(openledger, MODEL, count=10**6))) == PAGE_MAX
    assert sequences(receipts_of(openledger, MODEL, None, None, PAGE_MAX - 1, 2)) == [256, 257]
    receipts.put_epoch(0, hashes[:3])
    receipts.put_feedback(hashes[1], True, b"")
    listed: Any = receipts_of(openledger, MODEL, SERVER_ACCOUNT, 0)
    assert sequences(listed) == [1, 2, 3]
    assert [entry["feedback"] for entry in listed] == [None, "bad", None]
    assert [entry["hash"] for entry in listed] == ["0x" + each.hex() for each in hashes[:3]]


def test_receipts_of_other_servers_are_listed_by_server_and_epoch(
    openledger: OpenLedger, receipts: ReceiptStore
) -> None:
    theirs = stored().signed
    receipts.learn(OTHER, 6, [theirs])
    listed: Any = receipts_of(openledger, MODEL, OTHER, 6)
    assert [entry["hash"] for entry in listed] == ["0x" + receipt_hash(theirs.receipt).hex()]
    assert receipts_of(openledger, MODEL, OTHER, 5) == []
    assert receipts_of(openledger, MODEL, OTHER) == []
    assert receipts_of(openledger, MODEL, None, 6) == []


def test_where_epochs_stand_is_told_with_the_reason(openledger: OpenLedger) -> None:
    assert openledger.settlements() == [
        {"model": MODEL, "epoch": 4, "state": "stopped", "reason": "Add to the bond."},
        {"model": MODEL + 1, "epoch": 0, "state": "waiting", "reason": None},
    ]


def test_an_epoch_that_cannot_be_closed_says_why(openledger: OpenLedger) -> None:
    with pytest.raises(InvalidParamsError, match="are not here"):
        trio.run(openledger.close_epoch, MODEL)
    assert trio.run(openledger.close_epoch, MODEL, True) == 4
