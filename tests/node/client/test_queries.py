"""The reading half of the client, against a node."""

from __future__ import annotations

import pytest

from node.client import Client, Included, RequestRefusedError, UsageError
from pallets import VERSION
from pallets.balances import EXISTENTIAL_DEPOSIT
from runtime.trie.proof import ProofError
from runtime.types.primitives import OPEN, AccountId, Hash, Header
from tests.node.client.support.transfers import BOB, transfer
from tests.node.support.live_node import LiveNode


def test_the_chain_is_described(client: Client, node: LiveNode) -> None:
    info = client.info()
    assert info.genesis_hash == node.chain.genesis_hash
    assert (info.spec_name, info.spec_version) == (VERSION.spec_name, VERSION.spec_version)
    assert info.best.number >= info.finalized.number


def test_headers_and_blocks_are_the_nodes_own(client: Client, node: LiveNode) -> None:
    landed = transfer(client)
    assert isinstance(landed, Included)
    block = client.block(landed.block_number)
    assert block.hash == landed.block_hash
    assert client.header(block.hash) == node.chain.header(block.hash)
    assert [extrinsic.hash for extrinsic in block.extrinsics][landed.index] == landed.extrinsic_hash


def test_storage_is_read_by_its_declaration(client: Client) -> None:
    assert client.query("Balances", "total_issuance") <= 10**27
    assert client.query("System", "account", BOB).data.free >= 10_000_000 * OPEN
    assert client.query("Datanets", "records", 5) is None
    accounts = dict(client.entries("System", "account"))
    assert accounts[BOB] == client.query("System", "account", BOB)
    many = client.query_many("System", "account", [BOB, AccountId(bytes(32))])
    assert many[0] == accounts[BOB]
    assert many[1].providers == 0


def test_a_past_block_keeps_its_state(client: Client) -> None:
    before = client.header()
    transfer(client)
    old, new = client.balance(BOB, at=before.hash), client.balance(BOB)
    assert new.free == old.free + OPEN


def test_runtime_apis_answer_with_the_runtimes_values(client: Client) -> None:
    assert client.api("BalancesApi_account_balance", BOB) == client.balance(BOB)
    assert client.api("DatanetsApi_datanet", 3) is None
    assert client.constant("Balances", "existential_deposit") == EXISTENTIAL_DEPOSIT


def test_what_does_not_exist_is_named(client: Client) -> None:
    with pytest.raises(UsageError, match="no storage Balances"):
        client.query("Balances", "nothing")
    with pytest.raises(UsageError, match="no API Nothing"):
        client.api("Nothing")
    with pytest.raises(UsageError, match="has no constant"):
        client.constant("Balances", "nothing")
    with pytest.raises(UsageError, match="no block"):
        client.block(10**6)
    with pytest.raises(RequestRefusedError, match="nothing_here"):
        client.call("nothing_here")


def test_storage_is_proven_against_a_header(client: Client) -> None:
    header = client.header(client.finalized_hash())
    proven = client.query_proven("Balances", "total_issuance", block=header)
    assert proven == client.query("Balances", "total_issuance", at=header.hash)
    assert client.query_proven("Datanets", "records", 99, block=header) is None
    forged = Header(
        parent_hash=header.parent_hash,
        number=header.number,
        state_root=Hash(bytes(32)),
        extrinsics_root=header.extrinsics_root,
        digest=header.digest,
    )
    client._call = lambda method, params: {"proof": []}  # type: ignore[method-assign]
    with pytest.raises(ProofError):
        client.query_proven("Balances", "total_issuance", block=forged)
