"""Answers that stream from a serving node."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from node.client import Answer, InsufficientFundsError, RequestRefusedError, Text, UnreachableError
from node.client.endpoint import parse_endpoint
from node.client.serving import Serving
from node.client.transport_http import HttpTransport
from runtime.types.primitives import Hash


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
