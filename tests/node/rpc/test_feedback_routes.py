"""Feedback over HTTP: the asker's verdict counts, nobody else's does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.rpc.feedback_routes import BODY_BYTES_MAX, FeedbackRefusedError, feedback_routes, take
from node.storage.receipt_store import ReceiptStore
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.shared.receipts import Feedback, SignedFeedback, feedback_payload
from runtime.types.primitives import AccountId, Ed25519, Hash
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.asgi import client_of
from tests.node.support.paid_answers import ASKER, stored
from tests.node.support.small_node import run

EVE = Keypair.from_uri("//Eve")


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


def answered(receipts: ReceiptStore) -> Hash:
    return receipts.record(stored())


def body(receipt: Hash, negative: bool = True, pair: Keypair = ASKER, **extra: Any) -> bytes:
    feedback = Feedback(receipt, negative)
    signature = Ed25519(pair.sign(feedback_payload(feedback)))
    proof = codec(SignedFeedback).encode(
        SignedFeedback(feedback, AccountId(pair.account), signature)
    )
    return json.dumps({"proof": "0x" + proof.hex(), **extra}).encode()


def post(receipts: ReceiptStore, content: bytes) -> httpx.Response:
    answers: list[httpx.Response] = []

    async def main() -> None:
        async with client_of([*feedback_routes(receipts)]) as client:
            answers.append(await client.post("/v1/feedback", content=content))

    run(main)
    return answers[0]


def test_the_askers_verdict_is_recorded_and_may_change(receipts: ReceiptStore) -> None:
    receipt = answered(receipts)
    assert post(receipts, body(receipt, comment="ignored")).json() == {"status": "recorded"}
    assert receipts.verdict(receipt) is True
    assert post(receipts, body(receipt, negative=False)).status_code == 200
    assert receipts.verdict(receipt) is False


def test_a_full_disk_refuses_a_verdict(
    receipts: ReceiptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = answered(receipts)
    monkeypatch.setattr(os, "statvfs", disk_of(1 << 40, 0))
    assert post(receipts, body(receipt)).status_code == 507


def test_what_does_not_count_is_refused(receipts: ReceiptStore) -> None:
    receipt = answered(receipts)
    for content, status in (
        (body(Hash(b"?" * 32)), 404),
        (body(receipt, pair=EVE), 403),
        (b"x" * (BODY_BYTES_MAX + 1), 413),
        (b"", 400),
    ):
        answer = post(receipts, content)
        assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert receipts.verdict(receipt) is None


@pytest.mark.parametrize(
    "content",
    [b"[]", b"5", b"{}", b"\xff", b'{"proof": 5}', b'{"proof": "0xzz"}', b'{"proof": "0x00"}',
     b'{"proof": null}', b"[" * 4000],
)  # fmt: skip
def test_garbage_is_refused(receipts: ReceiptStore, content: bytes) -> None:
    with pytest.raises(FeedbackRefusedError) as refusal:
        take(receipts, content)
    assert refusal.value.status == 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=160))
def test_a_proof_of_garbage_is_refused(receipts: ReceiptStore, garbage: bytes) -> None:
    with pytest.raises(FeedbackRefusedError):
        take(receipts, json.dumps({"proof": garbage.hex()}).encode())
