"""The published description of the interface: whole, valid, and true of what is answered."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from node.rpc.limits import Limits
from node.rpc.open_rpc import RESULTS, result_of
from node.rpc.server import methods_for
from tests.node.rpc.support.node_under_test import ACCOUNT_KEYS, Drive, NodeUnderTest


def test_every_method_has_a_description_parameters_and_a_result(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        document = await node.call("rpc.discover")
        described = {method["name"]: method for method in document["methods"]}
        assert list(described) == (await node.call("rpc_methods"))["methods"]
        for method in described.values():
            assert method["description"].endswith((".", ":")), method["name"]
            for described_value in (*method["params"], method["result"]):
                Draft202012Validator.check_schema(described_value["schema"])

    drive(scenario)


def test_no_result_is_described_of_a_method_that_is_gone(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        names = {method.names[0] for method in methods_for(node, Limits()).values()}
        elsewhere = {name for name in RESULTS if name.startswith("openledger_")}
        assert set(RESULTS) - elsewhere <= names

    drive(scenario)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("chain_getHeader", []),
        ("chain_getBlock", []),
        ("chain_getBlockHash", [[0, 1, 7]]),
        ("state_getRuntimeVersion", []),
        ("state_getKeysPaged", [ACCOUNT_KEYS, 3]),
        ("state_queryStorageAt", [["0x1234"]]),
        ("state_getReadProof", [["0x1234"]]),
        ("system_syncState", []),
        ("system_properties", []),
    ],
)
def test_an_answer_has_its_published_shape(drive: Drive, method: str, params: list[Any]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal()
        schema = result_of(methods_for(node, Limits())[method])
        Draft202012Validator(schema).validate(await node.call(method, *params))

    drive(scenario)
