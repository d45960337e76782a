"""JSON-RPC 2.0 without a socket: every request has the answer that the specification says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.operations.metrics import Metrics
from node.rpc.dispatcher import Dispatcher
from node.rpc.errors import RequestTooBigError
from node.rpc.limits import Limits
from node.rpc.methods import method, methods_of
from node.rpc.parameters import HexBytes, Json
from node.rpc.session import Session


class Numbers:
    """Methods to dispatch to."""

    def __init__(self) -> None:
        self.counted = 0

    @method("subtract")
    def subtract(self, minuend: int, subtrahend: int = 0) -> Json:
        """Subtract."""
        return minuend - subtrahend

    @method("count")
    async def count(self) -> Json:
        """Count."""
        self.counted += 1
        return self.counted

    @method("reverse")
    def reverse(self, data_bytes: HexBytes | None = None) -> Json:
        """Reverse."""
        return (data_bytes or b"")[::-1].hex()


def ask(request: object, numbers: Numbers | None = None, limits: Limits | None = None) -> Any:
    """Return the decoded answer to a request, given as text, bytes or JSON."""
    text = request if isinstance(request, str | bytes) else json.dumps(request)

    async def main() -> str | None:
        dispatcher = Dispatcher(methods_of([numbers or Numbers()]), Metrics())
        session = Session(limits or Limits(), "test", is_local=False)
        return await dispatcher.answer(text, session)

    answer = trio.run(main)
    return None if answer is None else json.loads(answer)


def call(name: Any, *params: Any, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": name, "params": list(params), **more}


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (call("subtract", 42, 23), 19),
        (call("subtract", 42), 42),
        (call("subtract", "0x2a", None), 42),
        (call("subtract", 42, 23, None, None), 19),
        (call("subtract", params={"subtrahend": 23, "minuend": 42}), 19),
        (call("reverse", "0x0102"), "0201"),
        (call("reverse", "0102"), "0201"),
        (call("reverse", ""), ""),
        (call("reverse", params=None), ""),
        (call("reverse", params={"dataBytes": "0x01"}), "01"),
        (call("reverse", params={"data_bytes": "0x01"}), "01"),
        (call("reverse", params={}), ""),
    ],
)
def test_a_call_is_answered_by_its_result(request_: dict[str, Any], result: Any) -> None:
    assert ask(request_) == {"jsonrpc": "2.0", "id": 1, "result": result}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("{", -32700),
        ("", -32700),
        (b"\xff", -32700),
        ("[" * 50_000, -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"count","params":[NaN]}', -32700),
        ([], -32600),
        (1, -32600),
        ({"id": 1, "method": "count"}, -32600),
        (call("count", jsonrpc="1.0"), -32600),
        (call(1), -32600),
        (call("count", id={}), -32600),
        (call("count", id=True), -32600),
        ('{"jsonrpc":"2.0","id":1e999,"method":"count"}', -32600),
        (call("nothing"), -32601),
        (call("subtract"), -32602),
        (call("subtract", "x"), -32602),
        (call("subtract", -1), -32602),
        (call("reverse", "0xz"), -32602),
        (call("reverse", "0x0"), -32602),
        (call("reverse", " 01"), -32602),
        (call("count", params="x"), -32602),
        (call("count", 1), -32602),
        (call("subtract", 42, 23, "too much"), -32602),
        (call("subtract", "0x1_0"), -32602),
        (call("subtract", "0x+1"), -32602),
        (call("subtract", params={"minuend": 42, "subtrahent": 23}), -32602),
        (call("subtract", params={"minuend": 42, "other": None}), -32602),
        (call("subtract", params={"subtrahend": 23}), -32602),
        (call("reverse", params={"dataBytes": "0x01", "data_bytes": "0x02"}), -32602),
        (call("count", params={"at": 1}), -32602),
    ],
)
def test_a_bad_request_is_answered_by_its_code(request_: Any, code: int) -> None:
    assert ask(request_)["error"]["code"] == code


def test_an_unknown_name_is_answered_by_the_names_there_are() -> None:
    error = ask(call("subtract", params={"minuend": 42, "at": 23}))["error"]
    assert error["message"] == ("subtract has no parameter `at`. It takes `minuend`, `subtrahend`.")


@pytest.mark.parametrize("identifier", [None, 0, -1, 1.5, "", "text", 2**70])
def test_the_id_comes_back_as_it_was(identifier: Any) -> None:
    assert ask(call("count", id=identifier))["id"] == identifier


def test_a_notification_runs_and_is_not_answered() -> None:
    numbers = Numbers()
    assert ask({"jsonrpc": "2.0", "method": "count"}, numbers) is None
    assert ask({"jsonrpc": "2.0", "method": "nothing"}, numbers) is None
    assert ask({"jsonrpc": "2.0", "method": "count", "params": 1}, numbers) is None
    assert numbers.counted == 1


@pytest.mark.parametrize("text", [r"\ud800", r"\uDFFF", r"\udc00\ud800", "\ud800"])
def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands(text: str) -> None:
    for request in ('{"jsonrpc":"2.0","id":1,"method":"%s"}', '{"%s":[]}', '[{"x":["%s"]}]'):
        answer = ask(request % text)
        assert answer["error"]["code"] == -32600
        assert "half of a surrogate pair" in answer["error"]["message"]
    whole = '{"jsonrpc":"2.0","id":"\\ud83d\\ude00","method":"none"}'
    assert ask(whole)["id"] == "\U0001f600"


def test_a_batch_is_answered_in_order() -> None:
    answers = ask([call("count", id=9), {"jsonrpc": "2.0", "method": "count"}, 1, call("count")])
    assert [answer.get("result") for answer in answers] == [1, None, 3]
    assert ask([{"jsonrpc": "2.0", "method": "count"}]) is None


def test_a_batch_beyond_the_limit_is_one_error_and_runs_nothing() -> None:
    numbers = Numbers()
    answer = ask([call("count")] * 4, numbers, Limits(batch_calls=3))
    assert (answer["error"]["code"], numbers.counted) == (-32010, 0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON | st.text() | st.binary())
def test_anything_is_answered_by_json_or_by_nothing(request_: Any) -> None:
    answer = ask(request_)
    assert answer is None or isinstance(answer, dict | list)


@given(st.sampled_from(["subtract", "count", "reverse"]), JSON)
def test_any_parameters_are_answered(name: str, params: Any) -> None:
    answer = ask({"jsonrpc": "2.0", "id": 1, "method": name, "params": params})
    assert "result" in answer or answer["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ("[" * 50_000, "The request is nested too deeply."),
        (call(""), "There is no method ''. See rpc_methods."),
        (call("reverse", "0xz"), "digits 0 to 9 and a to f alone."),
        (call("reverse", "0x0"), "so an even number."),
    ],
)
def test_an_error_speaks_no_python_and_ends_with_one_stop(request_: object, sentence: str) -> None:
    message = ask(request_)["error"]["message"]
    assert message.endswith(sentence)
    assert not message.endswith("..")


@pytest.mark.parametrize("text", ["[" + "{}," * 99 + "{}]", b'{"a":[' + b"1," * 99 + b"1]}"])
def test_a_request_of_many_values_is_refused_before_it_is_read(
    text: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.rpc.dispatcher._read_json", None)
    assert ask(text, limits=Limits(request_values=99))["error"]["code"] == RequestTooBigError.code
