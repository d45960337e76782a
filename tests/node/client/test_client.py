from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from genesis.accounts import parse_account
from node.client import (
    Answer,
    Client,
    Finalized,
    Included,
    InsufficientFundsError,
    MayStillLandError,
    RejectedError,
    RequestRefusedError,
    Submitted,
    Text,
    UnreachableError,
    UsageError,
    Wait,
    WrongNodeError,
)
from node.client.endpoint import parse_endpoint
from node.client.recording import Recording
from node.client.serving import Serving
from node.client.transport_http import HttpTransport
from node.operations.config import Sealing
from pallets import PALLETS, VERSION
from pallets.balances import EXISTENTIAL_DEPOSIT
from pallets.datanets.records import Verdict
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.machine import Machine
from runtime.trie.merkle import CHUNK_SIZE, blob_id
from runtime.trie.proof import ProofError
from runtime.types.primitives import OPEN, AccountId, Hash, Header, Id
from tests.node.support.live_node import LiveNode, live_node

ALICE: Final = Keypair.from_uri("//Alice")
BOB: Final = parse_account("//Bob")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(params=["ws", "http"])
def client(node: LiveNode, request: pytest.FixtureRequest) -> Iterator[Client]:
    url = node.rpc_url if request.param == "ws" else node.http_url
    with Client(url) as connected:
        yield connected


def transfer(client: Client, amount: int = OPEN, wait: Wait = Wait.INCLUDED) -> object:
    call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=amount)
    return client.submit(client.sign(call, ALICE), wait)


# -------------------------------------------------------------------------------------- reading


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


# --------------------------------------------------------------------------------- transactions


@pytest.mark.parametrize("kind", list(KeyKind))
def test_both_key_kinds_sign(client: Client, kind: KeyKind) -> None:
    pair = Keypair.from_uri("//Charlie", kind)
    call = client.make_call("System", "remark", remark=b"hello")
    landed = client.submit(client.sign(call, pair))
    assert isinstance(landed, Included)
    assert landed.error is None


def test_each_wait_returns_what_it_promises(client: Client) -> None:
    assert isinstance(transfer(client, wait=Wait.NONE), Submitted)
    included = transfer(client, wait=Wait.INCLUDED)
    assert isinstance(included, Included)
    assert not isinstance(included, Finalized)
    final = transfer(client, wait=Wait.FINAL)
    assert isinstance(final, Finalized)
    assert client.header(client.finalized_hash()).number >= final.block_number


def test_immortal_transactions_are_valid_too(client: Client) -> None:
    call = client.make_call("System", "remark", remark=b"for ever")
    assert isinstance(client.submit(client.sign(call, ALICE, era_blocks=0)), Included)


def test_a_quote_and_a_dry_run_tell_the_fee_that_is_paid(client: Client) -> None:
    call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=OPEN)
    account = AccountId(ALICE.account)
    quote, dry = client.fee(call, account), client.dry_run(call, account)
    landed = client.submit(client.sign(call, ALICE))
    assert isinstance(landed, Included)
    assert quote.fee_planck == dry.fee_planck == landed.fee_planck
    assert [type(each.event) for each in dry.events] == [type(each.event) for each in landed.events]
    assert dry.before.free - dry.after.free == OPEN + dry.fee_planck
    assert client.balance(account).free == dry.after.free


def test_a_failed_dispatch_comes_with_the_pallets_sentence(client: Client) -> None:
    call = client.make_call("Datanets", "review", datanet=9, batch=0, verdict=Verdict.Accept)
    landed = client.submit(client.sign(call, ALICE))
    assert isinstance(landed, Included)
    assert landed.error is not None
    assert landed.error.startswith("Datanets.UnknownDatanet: There is no datanet")
    assert not landed.needs_funds
    dry = client.dry_run(call, AccountId(ALICE.account))
    assert dry.error == landed.error


def test_too_little_money_is_told_apart(client: Client) -> None:
    call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=10**27)
    landed = client.submit(client.sign(call, ALICE))
    assert isinstance(landed, Included)
    assert landed.needs_funds


def test_who_cannot_pay_the_fee_is_refused(client: Client) -> None:
    poor = Keypair.from_uri("//Nobody")
    call = client.make_call("System", "remark", remark=b"")
    with pytest.raises(InsufficientFundsError):
        client.dry_run(call, AccountId(poor.account))
    with pytest.raises(InsufficientFundsError):
        client.submit(client.sign(call, poor))


def test_a_used_nonce_is_refused(client: Client) -> None:
    call = client.make_call("System", "remark", remark=b"again")
    with pytest.raises(RejectedError, match="Nothing was spent"):
        client.submit(client.sign(call, ALICE, nonce=0))


def test_another_chain_is_refused_before_anything_is_signed(node: LiveNode) -> None:
    with Client(node.rpc_url, genesis_hash=Hash(bytes(32))) as client:
        call = client.make_call("System", "remark", remark=b"")
        with pytest.raises(WrongNodeError, match="another chain"):
            client.sign(call, ALICE)


def test_another_runtime_version_is_refused(node: LiveNode) -> None:
    from dataclasses import replace

    machine = Machine(PALLETS, replace(VERSION, spec_version=VERSION.spec_version + 1))
    with Client(node.rpc_url, machine=machine) as client:
        call = client.make_call("System", "remark", remark=b"")
        with pytest.raises(WrongNodeError, match="Install the version of the chain"):
            client.sign(call, ALICE)
        with pytest.raises(WrongNodeError):
            client.dry_run(call, AccountId(ALICE.account))


def test_a_wait_without_a_block_ends_with_the_hash(tmp_path: Path) -> None:
    with live_node(tmp_path, Sealing.MANUAL) as sleeping, Client(sleeping.rpc_url) as client:
        signed = client.sign(client.make_call("System", "remark", remark=b""), ALICE)
        with pytest.raises(MayStillLandError) as caught:
            client.submit(signed, wait_s=0.05)
        assert caught.value.extrinsic_hash == signed.hash
        assert len(sleeping.pool) == 1


def test_statuses_are_told_as_they_come(client: Client) -> None:
    told: list[str] = []
    call = client.make_call("System", "remark", remark=b"told")
    client.submit(client.sign(call, ALICE), Wait.FINAL, on_status=told.append)
    assert told[0] == "submitted"
    assert told[-1] == "finalized"


# ---------------------------------------------------------------------------------------- files


def test_a_file_goes_up_and_comes_back(client: Client) -> None:
    data = b"\x07" * (2 * CHUNK_SIZE + 5)
    seen: list[tuple[int, int]] = []
    blob = client.blobs.upload(data, lambda done, size: seen.append((done, size)))
    assert blob == blob_id(data)
    assert seen[-1] == (len(data), len(data))
    assert client.blobs.download(blob) == data
    assert client.blobs.state(Hash(bytes(32))) is None


def test_an_upload_goes_on_where_it_stopped(client: Client, node: LiveNode) -> None:
    data = bytes(3 * CHUNK_SIZE) + client.endpoint.http_url.encode() + repr(client).encode()

    class Stopped(Exception):
        pass

    def stop(done: int, size: int) -> None:
        if done >= CHUNK_SIZE:
            raise Stopped

    with pytest.raises(Stopped):
        client.blobs.upload(data, stop)
    state = client.blobs.state(blob_id(data))
    assert state is not None
    assert 0 < len(state.missing) < 4
    seen: list[int] = []
    client.blobs.upload(data, lambda done, _: seen.append(done))
    assert seen[0] > 0
    assert client.blobs.download(blob_id(data)) == data


def test_a_file_that_is_not_there_is_told(client: Client) -> None:
    with pytest.raises(RequestRefusedError, match="does not have the file"):
        client.blobs.download(Hash(b"\x01" * 32))


# -------------------------------------------------------------------------------------- answers


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


def test_an_answer_that_breaks_off_is_told() -> None:
    with pytest.raises(RequestRefusedError, match="broke off"):
        list(serving(stream({"error": {"message": "x"}})).chat("m", []))
    garbage = serving(lambda request: httpx.Response(200, text="data: {\n\n"))
    with pytest.raises(UnreachableError, match="no JSON"):
        list(garbage.chat("m", []))


# ------------------------------------------------------------------------------- bad neighbours


@contextmanager
def neighbour(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A program that listens and does something else than a node."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                answer(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"
    thread.join(5)


def silent(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.settimeout(5)
    connection.recv(1)


def closing(connection: socket.socket) -> None:
    connection.recv(65_536)


def rude(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"SSH-2.0-OpenSSH\r\n")


@pytest.mark.parametrize("answer", [silent, closing, rude])
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_what_is_no_node_is_unreachable(
    answer: Callable[[socket.socket], None], scheme: str
) -> None:
    with neighbour(answer) as url, Client(url.replace("ws", scheme), timeout_s=0.3) as client:
        with pytest.raises(UnreachableError):
            client.info()
        client.close()


def saying_goodbye(connection: socket.socket) -> None:
    """Speak WebSocket, answer the first message with a close, and stay on the line."""
    protocol = WSConnection(ConnectionType.SERVER)
    while data := connection.recv(65_536):
        protocol.receive_data(data)
        for event in protocol.events():
            if isinstance(event, Request):
                connection.sendall(protocol.send(AcceptConnection()))
            elif isinstance(event, TextMessage):
                connection.sendall(protocol.send(CloseConnection(code=1001)))


def test_a_node_that_said_goodbye_stays_unreachable() -> None:
    with neighbour(saying_goodbye) as url, Client(url, timeout_s=5) as client:
        for _ in range(2):
            with pytest.raises(UnreachableError):
                client.call("system_chain")


def test_nobody_listening_is_unreachable() -> None:
    with Client("ws://127.0.0.1:1") as client, pytest.raises(UnreachableError, match="dev"):
        client.info()


@pytest.mark.parametrize(
    ("url", "websocket", "http"),
    [
        ("ws://host:99", "ws://host:99", "http://host:99"),
        ("https://host", "wss://host:443", "https://host:443"),
        ("ws://[::1]:9944/x", "ws://[::1]:9944/x", "http://[::1]:9944/x"),
    ],
)
def test_one_address_serves_both_protocols(url: str, websocket: str, http: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.websocket_url, endpoint.http_url) == (websocket, http)


@pytest.mark.parametrize("url", ["", "host", "ftp://host", "ws://", "ws://host:99999", "ws://[x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_endpoint(url)


def test_recorded_answers_are_asked_again_without_a_node(node: LiveNode, tmp_path: Path) -> None:
    data = b"kept" * 100
    with Client(node.rpc_url) as client:
        client.use_recording(Recording(tmp_path, is_replaying=False))
        blob = client.blobs.upload(data)
        told = (client.info(), client.balance(BOB), client.blobs.download(blob))
    with Client("ws://127.0.0.1:1") as client:
        client.use_recording(Recording(tmp_path, is_replaying=True))
        assert (client.info(), client.balance(BOB), client.blobs.download(blob)) == told
        with pytest.raises(RequestRefusedError, match="does not hold the answer"):
            client.block(0)
