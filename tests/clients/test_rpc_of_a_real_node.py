"""The methods that only a real node has, with every kind of parameter, over HTTP.

The oracle is the published description (`rpc.discover`), as in tests/node/rpc/test_fuzz.py, which
drives all other methods over a chain of known blocks.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from node.demo.node_process import NodeProcess

COMBINATIONS_MAX = 300
VALUES: list[Any] = [
    0, 1, "0x1", 2**32 - 1, 2**32, -1, 1.5, True, None, "", "0x", "x", [], [0], {}, {"job": 0},
]  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), "--no-executor") as running:
        yield running


def combinations(method: str, length: int) -> list[tuple[Any, ...]]:
    """Return all combinations of values, or some of them where they are many."""
    every = list(itertools.product(VALUES, repeat=length))
    return random.Random(method).sample(every, min(len(every), COMBINATIONS_MAX))


def ask(client: httpx.Client, node: NodeProcess, name: str, params: Any) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
    answer: dict[str, Any] = client.post(node.http_url, json=request).json()
    return answer


def test_the_nodes_own_methods_answer_as_described_whatever_they_are_given(
    node: NodeProcess,
) -> None:
    with httpx.Client(trust_env=False) as client:
        document = ask(client, node, "rpc.discover", [])["result"]
        own = [entry for entry in document["methods"] if entry["name"].startswith("openledger_")]
        assert {"openledger_status", "openledger_receipts"} <= {entry["name"] for entry in own}
        for method in own:
            described = method["params"]
            for values in combinations(method["name"], len(described)):
                names = [parameter["name"] for parameter in described]
                by_position = ask(client, node, method["name"], list(values))
                by_name = ask(client, node, method["name"], dict(zip(names, values, strict=True)))
                shown = (method["name"], values, by_position)
                assert by_name == by_position, shown
                is_allowed = all(
                    not parameter["required"]
                    if value is None
                    else Draft202012Validator(parameter["schema"]).is_valid(value)
                    for parameter, value in zip(described, values, strict=True)
                )
                if "error" in by_position:
                    assert by_position["error"]["code"] == -32602, shown
                else:
                    assert is_allowed, shown
                    schema = method["result"]["schema"]
                    assert Draft202012Validator(schema).is_valid(by_position["result"]), shown
            extra = ask(client, node, method["name"], [*[0] * len(described), 0])
            unknown = ask(client, node, method["name"], {"at": 0})
            assert extra["error"]["code"] == unknown["error"]["code"] == -32602
    log = (node.base_path / "node.log").read_text()
    assert "Traceback" not in log
