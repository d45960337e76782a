"""papi's client of the JSON-RPC interface specification, unmodified from npm, over a real node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.client import Client
from node.demo.node_process import NodeProcess
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.hashing import twox_128
from runtime.crypto.keys import KeyKind, Keypair
from runtime.types.primitives import AccountId, Id
from tests.clients.support.height import wait_for_blocks
from tests.clients.support.npm import installed

HERE = Path(__file__).resolve().parent / "substrate_client"
RUN_SECONDS = 120
ALICE = Keypair.from_uri("//Alice", KeyKind.SR25519)
BOB = AccountId(Keypair.from_uri("//Bob", KeyKind.SR25519).account)
NUMBER = to_hex(twox_128(b"System") + twox_128(b"Number"))
ACCOUNTS = to_hex(twox_128(b"System") + twox_128(b"Account"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), "--no-executor") as running:
        yield running


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, node: NodeProcess) -> dict[str, Any]:
    """What the client got, and what it sent."""
    folder = installed(request, HERE)
    wait_for_blocks(node.url)
    with Client(node.url) as client:
        call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=12_345)
        raw = to_hex(client.sign(call, ALICE).raw)
    done = subprocess.run(
        ["node", folder / "specification.mjs", node.url, raw, NUMBER, ACCOUNTS],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return {"raw": raw, **json.loads(done.stdout.splitlines()[-1])}


def height_value(height: int) -> str:
    """Return what System.Number holds after a block."""
    return to_hex(height.to_bytes(4, "little"))


def test_a_broadcast_is_followed_from_new_block_to_final(seen: dict[str, Any]) -> None:
    block = seen["block"]["blockHash"]
    earlier = [*seen["initialized"]["finalizedBlockHashes"], *seen["before"]]
    assert seen["block"]["parentBlockHash"] == earlier[-1]
    assert seen["block"]["newRuntime"] is None
    assert block in seen["final"]["finalizedBlockHashes"]
    assert seen["raw"] in seen["newBody"]
    assert seen["archive"]["hash"] == block


def test_operations_of_chain_head_answer_about_a_pinned_block(seen: dict[str, Any]) -> None:
    head = seen["head"]
    assert head["value"] == height_value(head["height"])
    assert head["height"] == seen["archive"]["height"] - 1 - len(seen["before"])
    assert head["unknownCall"] == "OperationError"
    assert head["unknownBlock"] == head["unpinned"] == "RpcError"
    assert head["merkle"].startswith("0x")
    assert head["subscription"]["discarded"] == 0
    assert len(head["subscription"]["items"]) >= head["accounts"] > 10


def test_the_archive_answers_the_same_of_a_final_block(seen: dict[str, Any]) -> None:
    archive = seen["archive"]
    assert archive["above"] == []
    assert archive["finalized"] >= archive["height"]
    assert seen["raw"] in archive["body"]
    assert archive["version"] == seen["head"]["version"]
    assert archive["value"] == height_value(archive["height"])
    assert archive["unknownCall"] == "CallError"
    assert archive["unknownBlock"] == "BlockHashNotFoundError"
    assert len(archive["subscription"]["items"]) == archive["accounts"] + 2


def test_the_chain_spec_and_the_methods_are_there(seen: dict[str, Any]) -> None:
    assert seen["spec"]["name"] == "OpenLedger Development"
    assert seen["spec"]["properties"]["tokenSymbol"] == "OPEN"
    assert "chainHead_v1_follow" in seen["methods"]
