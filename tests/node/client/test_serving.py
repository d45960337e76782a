"""Answers that stream from a serving node."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from node.client import (
    Answer,
    InsufficientFundsError,
    RequestRefusedError,
    Text,
    UnreachableError,
    transport_http,
)
from node.client.endpoint import parse_endpoint
from node.client.serving import Serving
from node.client.transport_http import HttpTransport
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import codec
from runtime.shared.receipts import SignedReceipt, SignedVoucher, receipt_hash
from runtime.types.primitives import Hash
from tests.node.support.paid_answers import SALT, receipt_for, signed, voucher


def serving(handler: Callable[[httpx.Request], httpx.Response]) -> Serving:
    transport = HttpTransport(parse_endpoint("http://node:1"), 5)
    transport._client = httpx.Client(
        transport=httpx.MockTransport(handler), base_url="http://node:1"
    )
    return Serving(transport)


def stream(*events: object) -> Callable[[httpx.Request], httpx.Response]:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
    return lambda request: httpx.Response(200, text="".join(lines))


def test_an_answer_streams_and_ends_with_its_attribution() -> None:
    receipt = "0x" + "ab" * 32
    events = (
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "Hel"}}]},
        {"choices": [{"delta": {"content": "lo"}}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
            "attribution": {"id": "att-1", "receipt": receipt},
        },
    )
    pieces = list(serving(stream(*events)).chat("m", [{"role": "user", "content": "Hi"}]))
    assert pieces[:2] == [Text("Hel"), Text("lo")]
    answer = pieces[2]
    assert isinstance(answer, Answer)
    assert (answer.text, answer.tokens_in, answer.tokens_out) == ("Hello", 3, 2)
    assert answer.receipt == Hash(b"\xab" * 32)


@pytest.mark.parametrize(
    ("status", "expected"), [(402, InsufficientFundsError), (404, RequestRefusedError)]
)
def test_a_refused_question_says_why(status: int, expected: type[Exception]) -> None:
    body = {"error": {"message": "because", "type": "x"}}
    refusing = serving(lambda request: httpx.Response(status, json=body))
    with pytest.raises(expected, match="because"):
        list(refusing.chat("m", []))


def test_an_answer_that_breaks_off_is_refused() -> None:
    with pytest.raises(RequestRefusedError, match="broke off"):
        list(serving(stream({"error": {"message": "x"}})).chat("m", []))
    garbage = serving(lambda request: httpx.Response(200, text="data: {\n\n"))
    with pytest.raises(UnreachableError, match="no JSON"):
        list(garbage.chat("m", []))


@pytest.mark.parametrize(
    "last",
    [
        {"attribution": {"receipt": "no hex"}},
        {"attribution": {"receipt": 5}},
        {"attribution": 5},
        {"usage": {"prompt_tokens": "many"}},
        {"usage": 5},
    ],
)
def test_an_end_that_no_node_sends_is_said(last: object) -> None:
    with pytest.raises(UnreachableError, match="what no node sends"):
        list(serving(stream(last)).chat("m", []))


def test_a_voucher_goes_with_the_salt_of_its_question() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, text="data: [DONE]\n\n")

    promise = signed(voucher())
    list(serving(answer).chat("m", [], promise, SALT))
    headers = asked[0].headers
    assert headers["x-openledger-voucher"] == to_hex(codec(SignedVoucher).encode(promise))
    assert headers["x-openledger-salt"] == to_hex(SALT)


def test_a_channels_last_receipt_is_read_or_missing() -> None:
    last = receipt_for(signed(voucher()))
    body = {"signed_receipt": to_hex(codec(SignedReceipt).encode(last))}
    assert serving(lambda _: httpx.Response(200, json=body)).channel_receipt(7) == last
    assert serving(lambda _: httpx.Response(404, json={})).channel_receipt(7) is None
    for body in ({}, {"signed_receipt": "0x00"}):
        with pytest.raises(UnreachableError, match="holds no receipt"):
            serving(lambda _, body=body: httpx.Response(200, json=body)).channel_receipt(7)


def test_a_receipt_is_asked_for_with_its_salt() -> None:
    last = receipt_for(signed(voucher()))
    salts: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        salts.append(request.headers.get("x-openledger-salt"))
        body = {"signed_receipt": to_hex(codec(SignedReceipt).encode(last)), "answer": "x"}
        return httpx.Response(200, json=body)

    identity = receipt_hash(last.receipt)
    assert serving(answer).receipt(identity).signed == last
    assert serving(answer).receipt(identity, SALT).details["answer"] == "x"
    assert salts == [None, to_hex(SALT)]


GARBAGE: list[bytes] = [
    b"",
    b"[]",
    b"5",
    b"\xff",
    b"NaN",
    b"[" * 100_000,
    b'{"data": 5}',
    b'{"data": [5]}',
    b'{"signed_receipt": 5}',
    b'{"signed_receipt": "0x"}',
    b'{"signed_receipt": "\\ud800"}',
]


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: body[:30].decode(errors="replace"))
@pytest.mark.parametrize("status", [200, 500])
def test_whatever_a_server_answers_is_one_error(status: int, body: bytes) -> None:
    hostile = serving(lambda _: httpx.Response(status, content=body))
    expected = (UnreachableError, RequestRefusedError)
    with pytest.raises(expected):
        hostile.channel_receipt(7)
    with pytest.raises(expected):
        hostile.receipt(Hash(bytes(32)))
    if status == 500:
        with pytest.raises(expected):
            list(hostile.chat("m", []))
    if status == 500 or body[2:6] != b"sign":
        with pytest.raises(expected):
            hostile.models()


@pytest.mark.parametrize(
    "details",
    [
        {"rows": 5},
        {"rows": [5]},
        {"rows": [{"row": "x"}]},
        {"rows": [{}]},
        {"rows": [{"row": 1, "prompt": 5}]},
        {"epoch": "x"},
        {"epoch": -1},
        {"answer": 5},
        {"answer": "\ud800"},
    ],
)
def test_details_of_other_types_are_one_error(details: dict[str, object]) -> None:
    last = receipt_for(signed(voucher()))
    body = {"signed_receipt": to_hex(codec(SignedReceipt).encode(last)), **details}
    hostile = serving(lambda _: httpx.Response(200, text=json.dumps(body)))
    with pytest.raises(UnreachableError, match="what no node sends"):
        hostile.receipt(receipt_hash(last.receipt))


def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_http, "RESPONSE_BYTES_MAX", 1_000)
    endless = serving(lambda _: httpx.Response(200, content=b"x" * 1_001))
    with pytest.raises(UnreachableError, match="more than 1000 bytes"):
        endless.models()
