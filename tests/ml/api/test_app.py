"""The OpenAI-compatible surface: shapes, errors, payment and clients that go away."""

import json

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ml.api.app import create_app
from ml.api.refusal_limit import REFUSALS_MAX
from ml.api.requests import BODY_BYTES_MAX, RequestMalformedError, read_question
from tests.ml.api.support.echo import SALT, VOUCHER, EchoService, chat, events_of

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/chat/completions",
    "headers": [],
    "query_string": b"",
    "http_version": "1.1",
    "scheme": "http",
    "server": ("node", 80),
}


def exchange(*requests, service=None):
    """Send requests one after another over ASGI; return their responses."""
    app = create_app(service or EchoService())

    async def run():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return [await client.request(*parts, **options) for parts, options in requests]

    return trio.run(run)


def post(body, path="/v1/chat/completions", **options):
    kind = {"content": body} if isinstance(body, bytes) else {"json": body}
    (response,) = exchange((("POST", path), kind | options))
    return response


def get(path):
    (response,) = exchange((("GET", path), {}))
    return response


def error_of(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def test_models_are_listed_and_described():
    assert [model["id"] for model in get("/v1/models").json()["data"]] == ["echo", "paid/model"]
    assert get("/v1/models/paid/model").json() == {
        "id": "paid/model",
        "object": "model",
        "created": 2,
        "owned_by": "bob",
    }
    assert error_of(get("/v1/models/none"), 404)["code"] == "model_not_found"


def test_a_chat_is_answered_with_its_attribution():
    response = post(chat("one two"))
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "one two"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert body["attribution"]["top"] == [{"row": 1, "score": 5}]
    assert response.headers["x-openledger-attribution-id"] == "a1"
    assert body["id"] == "chatcmpl-a1"


def test_a_prompt_is_completed():
    body = post({"model": "echo", "prompt": "one two"}, "/v1/completions").json()
    assert body["object"] == "text_completion"
    assert body["choices"][0]["text"] == "one two"
    assert "attribution" in body


def test_a_streamed_chat_opens_with_the_role_and_closes_with_the_attribution():
    response = post(chat("one two", stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-openledger-attribution-id"] == "a1"
    chunks = events_of(response.text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == "one two"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["attribution"]["top"]
    assert not any("attribution" in chunk for chunk in chunks[:-1])
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-a1"}


def test_a_streamed_completion_sends_text():
    response = post({"model": "echo", "prompt": "one two", "stream": True}, "/v1/completions")
    chunks = events_of(response.text)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["one", " two", ""]


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for():
    body = chat("one", stream=True, stream_options={"include_usage": True})
    last = events_of(post(body).text)[-1]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 4
    assert "attribution" in last


def test_an_attribution_is_fetched_by_its_id():
    asked, attribution, missing = exchange(
        (("POST", "/v1/chat/completions"), {"json": chat("one")}),
        (("GET", "/v1/attributions/a1"), {}),
        (("GET", "/v1/attributions/a2"), {}),
    )
    assert attribution.json() == asked.json()["attribution"]
    assert error_of(missing, 404)["code"] == "attribution_not_found"


def test_an_attribution_has_its_texts_for_who_knows_their_salt():
    path = ("GET", "/v1/attributions/a1")
    _, public, whole, bad = exchange(
        (("POST", "/v1/chat/completions"), {"json": chat("one")}),
        (path, {"headers": {"x-openledger-salt": "11" * 32}}),
        (path, {"headers": {"x-openledger-salt": "0x" + SALT.hex()}}),
        (path, {"headers": {"x-openledger-salt": "no hex"}}),
    )
    assert "answer" not in public.json()
    assert whole.json()["answer"] == "the words"
    assert error_of(bad, 400)["param"] == "salt"


def test_a_channels_last_receipt_is_fetched_by_its_number():
    assert get("/v1/channels/7/receipt").json() == {"signed_receipt": "0x" + b"receipt".hex()}
    for name in ("8", "x", "-1", "1" * 30, "\u0667"):
        error = error_of(get(f"/v1/channels/{name}/receipt"), 404)
        assert error["code"] == "receipt_not_found"


def test_the_salt_of_a_question_goes_with_its_voucher():
    service = EchoService()
    headers = {"x-openledger-voucher": VOUCHER.hex(), "x-openledger-salt": SALT.hex()}
    exchange(
        (("POST", "/v1/chat/completions"), {"json": chat("one"), "headers": headers}),
        service=service,
    )
    (asked,) = service.asked
    assert (asked.voucher, asked.salt) == (VOUCHER, SALT)


def test_an_unknown_model_is_not_found():
    for stream in (False, True):
        error = error_of(post(chat("one", model="none", stream=stream)), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_a_model_that_costs_wants_a_voucher():
    body = chat("one", model="paid/model")
    assert error_of(post(body), 402)["code"] == "voucher_missing"
    header = {"x-openledger-voucher": "0x00"}
    assert error_of(post(body, headers=header), 402)["code"] == "voucher_refused"
    header = {"x-openledger-voucher": VOUCHER.hex()}
    assert post(body, headers=header).status_code == 200
    header = {"x-openledger-voucher": "no hex"}
    assert error_of(post(body, headers=header), 400)["param"] == "voucher"


def test_a_busy_service_says_when_to_ask_again():
    response = post(chat("busy"))
    assert error_of(response, 429)["code"] == "rate_limit_exceeded"
    assert response.headers["retry-after"] == "1"


def test_a_question_beyond_the_context_is_refused():
    assert error_of(post(chat("long")), 400)["code"] == "context_length_exceeded"


def test_a_failure_before_the_answer_is_a_server_error_without_details():
    assert "purpose" not in error_of(post(chat("break")), 500)["message"]


def test_a_failure_inside_a_stream_is_its_last_event():
    chunks = events_of(post(chat("one break", stream=True)).text)
    assert chunks[-1]["error"]["type"] == "server_error"
    assert chunks[-2]["choices"][0]["delta"]["content"] == "one"


def test_a_body_that_is_too_long_is_refused_before_it_is_parsed():
    part = {"type": "http.request", "body": b"{" * (BODY_BYTES_MAX // 2), "more_body": True}
    sent = []

    async def receive():
        return part

    async def send(message):
        sent.append(message)

    trio.run(create_app(EchoService()), SCOPE, receive, send)
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["type"] == "invalid_request_error"


def test_other_addresses_and_methods_have_openais_errors():
    error_of(get("/v1/nothing"), 404)
    error_of(get("/v1/chat/completions"), 405)


@pytest.mark.parametrize("text", ["\\ud800", "a\\udfff!"])
def test_half_of_a_surrogate_pair_is_refused_anywhere(text):
    for body in (
        b'{"model": "m", "messages": [{"role": "user", "content": "%s"}]}' % text.encode(),
        b'{"model": "%s", "messages": [{"role": "user", "content": "hi"}]}' % text.encode(),
        b'{"model": "m", "messages": [], "%s": 1}' % text.encode(),
    ):
        with pytest.raises(RequestMalformedError, match="surrogate"):
            read_question(body, True, None)


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 0.5}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"tools": [{}]}, "tools"),
        ({"best": 1}, "best"),
        ({"prompt": "x"}, "prompt"),
    ],
)
def test_an_invalid_field_is_refused_by_its_name(changes, parameter):
    assert error_of(post(chat("hi", **changes)), 400)["param"] == parameter


def test_bodies_that_are_not_objects_are_refused():
    for body in (b"", b"[]", b"nope", b"[" * 100_000, b'{"model": NaN', b"\xff"):
        error_of(post(body), 400)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), st.booleans())
def test_any_field_value_is_read_or_refused(value, is_chat):
    fields = ("messages", "prompt", "stop", "temperature", "max_tokens", "stream_options", "n")
    for field in fields:
        body = json.dumps({**chat("hi"), field: value}).encode()
        message = "accepted"
        try:
            read_question(body, is_chat, None)
        except RequestMalformedError as refusal:
            message = str(refusal)
        assert message


def test_settings_reach_the_service():
    service = EchoService()
    body = chat(
        "hi",
        max_completion_tokens=7,
        temperature=0.5,
        top_p=0.9,
        seed=-3,
        stop="end",
        user="someone",
        n=1,
    )
    body["messages"].insert(0, {"role": "developer", "content": [{"type": "text", "text": "be"}]})
    exchange((("POST", "/v1/chat/completions"), {"json": body}), service=service)
    (request,) = service.asked
    assert (request.max_tokens, request.temperature, request.top_p) == (7, 0.5, 0.9)
    assert (request.seed, request.stop) == (-3, ("end",))
    assert [(turn.role, turn.content) for turn in request.messages] == [
        ("system", "be"),
        ("user", "hi"),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_cancelled_when_its_client_goes_away(stream):
    service = EchoService()
    body = json.dumps(chat("one hang", stream=stream)).encode()
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def run():
        hanging = trio.Event()
        started = trio.Event()

        async def receive():
            if incoming:
                return incoming.pop()
            await hanging.wait()
            return {"type": "http.disconnect"}

        async def send(_message):
            started.set()

        async def leave():
            with trio.fail_after(5):
                while not service.open:
                    await trio.lowlevel.checkpoint()
                if stream:
                    await started.wait()
            hanging.set()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(create_app(service), SCOPE, receive, send)
                nursery.start_soon(leave)
        assert service.open == 0

    trio.run(run)


def test_an_address_that_was_refused_too_often_waits_before_its_body_is_read():
    refused = [(("POST", "/v1/completions"), {"content": b"{"})] * REFUSALS_MAX
    paid = (("POST", "/v1/chat/completions"), {"json": chat("one")})
    *answers, last = exchange(*refused, paid)
    assert {answer.status_code for answer in answers} == {400}
    assert error_of(last, 429)["code"] == "rate_limit_exceeded"
    assert last.headers["retry-after"] == "1"


def test_paid_answers_are_never_limited():
    paid = (("POST", "/v1/chat/completions"), {"json": chat("one")})
    assert {answer.status_code for answer in exchange(*[paid] * (REFUSALS_MAX + 5))} == {200}
