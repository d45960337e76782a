"""Every method with named, positional, missing, extra, null and wrong-typed parameters.

500 calls by default; OPENLEDGER_SCALE=20 makes 10,000. OPENLEDGER_SEED chooses others.

The oracle is the published description (`rpc.discover`), the model of a chain whose heights and
hashes are known, and each call in its other form:
- what the description does not allow is answered by -32602, and nothing ever by -32603;
- a result has its published shape;
- the same values by name and by position have the same answer;
- what is asked of a block is answered of that block.
"""

from __future__ import annotations

import json
import logging
import os
import random
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runtime.crypto.hashing import twox_128
from tests.node.rpc.support.node_under_test import (
    ACCOUNT_KEYS,
    ALICE,
    Client,
    Drive,
    NodeUnderTest,
)

CALLS = 500
BLOCKS = 4
NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()
UNKNOWN = "0x" + "ab" * 32
ABSENT = object()
WRONG: list[Any] = [
    "garbage", "0xzz", "0x0", "0x1_0", "0x+1", " 0x00", "\ud800", "", -1, 2**32, 2**70, 1.5, True,
    {}, {"key": 1}, [], [[]], [None], ["x"], [{"key": "0xzz", "type": "value"}], "5" * 48,
]  # fmt: skip

CHANGING = (
    "author_insertKey", "author_removeExtrinsic", "author_rotateKeys", "author_submitExtrinsic",
    "author_submitAndWatchExtrinsic", "chainHead_v1_follow", "transaction_v1_broadcast",
    "chainHead_v1_body", "chainHead_v1_call", "chainHead_v1_continue", "chainHead_v1_storage",
    "chainHead_v1_stopOperation", "chainHead_v1_unfollow", "chainHead_v1_unpin",
    "engine_createBlock", "engine_finalizeBlock", "transaction_v1_stop",
    "transactionWatch_v1_unwatch",
)  # fmt: skip
"""Methods of which the second call is answered differently from the first."""


@dataclass(frozen=True)
class Described:
    """A method as `rpc.discover` describes it."""

    name: str
    params: list[dict[str, Any]]
    result: Draft202012Validator

    def allows(self, values: list[Any]) -> bool:
        """Return whether these values, in the order of the parameters, are as described."""
        return all(
            not parameter["required"]
            if value is ABSENT or value is None
            else Draft202012Validator(parameter["schema"]).is_valid(value)
            for parameter, value in zip(self.params, values, strict=True)
        )


class Fuzz:
    """A chain of known blocks, and calls drawn at random about it."""

    def __init__(self, node: NodeUnderTest, client: Client, source: random.Random) -> None:
        self.node = node
        self.client = client
        self.source = source
        self.hashes: list[str] = []
        self.follow = ""
        self.methods: list[Described] = []
        self.about_blocks: list[Described] = []
        """Those that name a block, which a wrong answer is most likely to be silent about."""

    async def prepare(self) -> None:
        """Make the chain, follow its head, and read the description."""
        await self.node.seal(BLOCKS)
        answer = await self._call("chain_getBlockHash", [list(range(BLOCKS + 1))])
        self.hashes = answer["result"]
        self.follow = (await self._call("chainHead_v1_follow", [True]))["result"]
        document = (await self._call("rpc.discover", []))["result"]
        self.methods = [
            Described(
                entry["name"], entry["params"], Draft202012Validator(entry["result"]["schema"])
            )
            for entry in document["methods"]
        ]
        self.about_blocks = [
            method
            for method in self.methods
            if method.params and method.params[-1]["name"] == "hash"
        ]

    async def step(self) -> int:
        """Make one call, and where it may be repeated the same in the other form; how many."""
        method = self.source.choice([*self.methods, *self.about_blocks, *self.about_blocks])
        values = [self._value(method.name, parameter["name"]) for parameter in method.params]
        for index in range(len(values)):
            kind = self.source.random()
            if kind < 0.1:
                values[index] = self.source.choice(WRONG)
            elif kind < 0.15:
                values[index] = self.source.choice([None, ABSENT])
        extra = self.source.random() < 0.05
        named = self._named(method, values, extra)
        positional = self._positional(values, extra)
        forms = [named] if positional is None else [named, positional]
        if method.name in CHANGING:
            forms = [self.source.choice(forms)]
        answers = [await self._call(method.name, params) for params in forms]
        for answer, params in zip(answers, forms, strict=True):
            self._check(method, answer, params, is_allowed=not extra and method.allows(values))
            self._check_model(method.name, values, answer)
        if len(answers) == 2 and not extra:
            assert _comparable(answers[0]) == _comparable(answers[1]), (method.name, forms)
        return len(answers)

    def _check(
        self, method: Described, answer: dict[str, Any], params: Any, *, is_allowed: bool
    ) -> None:
        shown = (method.name, params, str(answer)[:500])
        if "error" in answer:
            error = answer["error"]
            assert error["code"] != -32603, shown
            assert error["message"].strip(), shown
            expected = -32602 if _is_unicode(params) else -32600
            assert is_allowed or error["code"] == expected, shown
            return
        assert is_allowed, shown
        assert method.result.is_valid(answer["result"]), shown

    def _check_model(self, name: str, values: list[Any], answer: dict[str, Any]) -> None:
        """Compare with what is known of the chain: the height of each of its blocks."""
        if "error" in answer or not values or values[-1] not in self.hashes:
            return
        height, result = self.hashes.index(values[-1]), answer["result"]
        if name == "chain_getHeader":
            assert int(result["number"], 16) == height
        elif name == "chain_getBlock":
            assert int(result["block"]["header"]["number"], 16) == height
        elif name.startswith("state_getStorage") and values[0] == NUMBER and height:
            expected = "0x" + height.to_bytes(4, "little").hex()
            assert result in (expected, 4) or "Hash" in name
        elif name == "state_getReadProof":
            assert result["at"] == values[-1]

    def _value(self, method: str, name: str) -> Any:
        """Draw a value that means something for a parameter."""
        draw = self.source.choice
        extrinsics = ["0x" + self.node.transfer().hex(), "0x00", "0x280402000b01", "0x1234"]
        calls = ["0x", "0x" + ALICE.account.hex()]
        if name == "bytes":
            return draw(calls if method.startswith("state_call") else extrinsics)
        if name == "hash" and method in ("chain_getBlockHash", "chain_getHead"):
            return draw([0, BLOCKS, 10**6, [0, 1, 2], "0x1", [], None])
        values: dict[str, list[Any]] = {
            "hash": [*self.hashes, UNKNOWN],
            "at": [*self.hashes, UNKNOWN],
            "block": self.hashes,
            "previousHash": self.hashes,
            "parentHash": [None],
            "hashOrHashes": [self.hashes[-1], self.hashes[:2], [UNKNOWN], []],
            "key": [NUMBER, NUMBER, NUMBER, ACCOUNT_KEYS, "0x", "1234"],
            "keys": [[NUMBER], [NUMBER, ACCOUNT_KEYS], []],
            "prefix": [ACCOUNT_KEYS, NUMBER],
            "startKey": [ACCOUNT_KEYS, "0x", None],
            "count": [0, 1, 10, "0x5", 1_001],
            "height": [0, 1, BLOCKS, 10**6, "0x2"],
            "name": ["Core_version", "AccountNonceApi_account_nonce", "Nope_nope"],
            "function": ["Core_version", "AccountNonceApi_account_nonce", "Nope_nope"],
            "callParameters": calls,
            "extrinsic": extrinsics,
            "encodedXt": extrinsics,
            "transaction": extrinsics,
            "bytesOrHash": [[{"hash": UNKNOWN}], [{"extrinsic": "0x00"}], []],
            "account": ["5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu", UNKNOWN],
            "items": [
                [{"key": NUMBER, "type": "value", "returnType": "value"}],
                [{"key": NUMBER, "type": "hash"}],
                [{"key": NUMBER, "returnType": "hash"}],
                [],
            ],
            "childTrie": [None],
            "followSubscription": [self.follow, "nope"],
            "subscription": ["nope", self.follow],
            "operationId": ["0", "1", "nope"],
            "withRuntime": [True, False],
            "createEmpty": [True, False],
            "finalize": [True, False],
            "justification": [None, "0x00"],
            "keyType": ["simp", "nope"],
            "public": ["0x" + ALICE.account.hex(), "0x00"],
            "publicKey": ["0x" + ALICE.account.hex(), "0x00"],
            "suri": ["//Alice", "//"],
        }
        return draw(values[name])

    def _named(self, method: Described, values: list[Any], extra: bool) -> dict[str, Any]:
        params = {
            parameter["name"]: value
            for parameter, value in zip(method.params, values, strict=True)
            if value is not ABSENT
        }
        if extra:
            params[self.source.choice(["at", "HASH", "blockHash", "", "\ud800"]) + "?"] = UNKNOWN
        return params

    def _positional(self, values: list[Any], extra: bool) -> list[Any] | None:
        """Return the values by position; None where one is absent before one that is not."""
        given = list(values)
        while not extra and given and given[-1] is ABSENT:
            given.pop()
        if ABSENT in given:
            return None
        return [*given, UNKNOWN] if extra else given

    async def _call(self, name: str, params: Any) -> dict[str, Any]:
        request = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
        await self.client.socket.send_message(json.dumps(request))
        while True:
            answer: dict[str, Any] = json.loads(await self.client.socket.get_message())
            if "method" not in answer:
                return answer


def _is_unicode(params: Any) -> bool:
    """Return whether no text has half of a surrogate pair, which no request may have."""
    try:
        json.dumps(params, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _comparable(answer: dict[str, Any]) -> Any:
    """Return an answer without what differs from call to call: ids of subscriptions."""
    if "error" in answer:
        return answer["error"]
    result = answer["result"]
    is_id = isinstance(result, str) and len(result) == 16 and not result.startswith("0x")
    return "an id" if is_id else result


def test_no_parameters_of_any_method_are_answered_wrongly_or_by_a_traceback(
    drive: Drive, scale: int, caplog: pytest.LogCaptureFixture
) -> None:
    seed = int(os.environ.get("OPENLEDGER_SEED", "0"))
    made = 0

    for part in range(scale):
        source = random.Random(f"{seed}/{part}")

        async def scenario(node: NodeUnderTest, source: random.Random = source) -> None:
            nonlocal made
            calls = 0
            while calls < CALLS:
                # A connection has a number of follows and subscriptions, so take new ones.
                async with node.connect() as client:
                    fuzz = Fuzz(node, client, source)
                    await fuzz.prepare()
                    for _ in range(100):
                        calls += await fuzz.step()
            made += calls

        with caplog.at_level(logging.WARNING):
            drive(scenario)

    print(
        f"{made} calls; repeat: OPENLEDGER_SEED={seed} OPENLEDGER_SCALE={scale} pytest {__file__}"
    )
    assert made >= CALLS * scale
    tracebacks = [record.getMessage() for record in caplog.records if record.exc_info]
    assert tracebacks == []
