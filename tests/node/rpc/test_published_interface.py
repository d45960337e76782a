"""The interface that others published, frozen in a file that our own annotations do not write.

tests/vectors/json_rpc.json holds names, order and optionality of all parameters, the aliases, and
the members of results, each with its source. The description that `rpc.discover` makes comes from
the same code as the answers, so it cannot show that a name is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.codec.hexadecimal import to_hex
from tests.node.rpc.support.node_under_test import ACCOUNT_KEYS, Drive, Failed, NodeUnderTest

PUBLISHED: dict[str, Any] = json.loads(
    Path(__file__).parents[2].joinpath("vectors/json_rpc.json").read_text(encoding="utf-8")
)
PARAMETERS: dict[str, list[str]] = PUBLISHED["parameters"] | PUBLISHED["stricter"]
ALIASES: dict[str, str] = PUBLISHED["aliases"]
UNSUBSCRIBING: dict[str, str] = PUBLISHED["unsubscribing"]
OWN = ("openledger_", "rpc.discover")
NUMBER = "0x26aa394eea5630e07c48ae0c9558cef702a5c1b19ab7a04f536c519aca4983ac"
"""The storage key of System.Number."""


def test_every_method_has_the_published_names_and_no_other(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        answered = (await node.call("rpc_methods"))["methods"]
        others = [name for name in answered if not name.startswith(OWN)]
        expected = {*PARAMETERS, *ALIASES, *UNSUBSCRIBING.values()}
        if node.sealer is None:
            expected -= {name for name in expected if name.startswith("engine_")}
        assert set(others) == expected

    drive(scenario)


def test_every_parameter_has_the_published_name_place_and_optionality(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        document = await node.call("rpc.discover")
        described = {method["name"]: method["params"] for method in document["methods"]}
        for method, published in PARAMETERS.items():
            if method not in described and method.startswith("engine_"):
                continue
            ours = [
                _camel(each["name"]) + "?" * (not each["required"]) for each in described[method]
            ]
            assert ours == [_camel(name) for name in published], method
        for alias, method in ALIASES.items():
            assert described[alias] == described[method], alias

    drive(scenario)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


async def _values(node: NodeUnderTest) -> dict[str, list[Any]]:
    """Return what methods that read are asked, in the published order of their parameters."""
    block = (await node.call("chain_getBlockHash", 1)) or ""
    signed = to_hex(node.transfer())
    items = [{"key": NUMBER, "type": "value"}]
    return {
        "archive_v1_body": [block],
        "archive_v1_call": [block, "Core_version", "0x"],
        "archive_v1_hashByHeight": [1],
        "archive_v1_header": [block],
        "author_hasKey": ["0x" + "00" * 32, "acco"],
        "chain_getBlock": [block],
        "chain_getBlockHash": [1],
        "chain_getHeader": [block],
        "payment_queryFeeDetails": [signed, block],
        "payment_queryInfo": [signed, block],
        "state_call": ["Core_version", "0x", block],
        "state_getKeys": [ACCOUNT_KEYS, block],
        "state_getKeysPaged": [ACCOUNT_KEYS, 1, ACCOUNT_KEYS, block],
        "state_getMetadata": [block],
        "state_getReadProof": [[NUMBER], block],
        "state_getRuntimeVersion": [block],
        "state_getStorage": [NUMBER, block],
        "state_getStorageHash": [NUMBER, block],
        "state_getStorageSize": [NUMBER, block],
        "state_queryStorage": [[NUMBER], block, block],
        "state_queryStorageAt": [[NUMBER], block],
        "system_accountNextIndex": ["5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"],
        "system_dryRun": [signed, block],
        "rpc_methods": [],
        "system_health": [],
        "system_syncState": [],
        "archive_v1_storage": [block, items],
    }


async def _named(node: NodeUnderTest, method: str, params: dict[str, Any]) -> Any:
    answer = (
        await node.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    ).json()
    if "error" in answer:
        raise Failed(answer["error"])
    return answer["result"]


def test_the_published_names_are_answered_as_the_published_places_are(drive: Drive) -> None:
    """Of block 1, and not of the best one, which a dropped parameter would silently mean."""

    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(3)
        for method, values in (await _values(node)).items():
            if method == "archive_v1_storage":
                continue  # A subscription needs a WebSocket.
            names = [name.removesuffix("?") for name in PARAMETERS[method]]
            by_place = await node.call(method, *values)
            by_name = await _named(node, method, dict(zip(names, values, strict=False)))
            assert by_name == by_place, method

    drive(scenario)


def test_another_name_is_an_error_and_never_the_default(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(3)
        for method, values in (await _values(node)).items():
            if not values:
                continue
            names = [name.removesuffix("?") for name in PARAMETERS[method]]
            given = dict(zip(names, values, strict=False))
            given["at_block"] = given.pop(list(given)[-1])
            with pytest.raises(Failed) as failed:
                await _named(node, method, given)
            assert failed.value.code == -32602, method

    drive(scenario)


def test_results_have_the_published_members(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(3)
        values = await _values(node)
        for path, members in PUBLISHED["members"].items():
            method, *steps = path.split(".")
            found = await node.call(method, *values[method])
            for step in steps:
                found = found[int(step)] if step.isdecimal() else found[step]
            assert sorted(found) == members, path

    drive(scenario)
