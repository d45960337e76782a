"""A disk that fills up while a block is written: the node says so, answers, and loses nothing."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Final

from node.client import Client, Finalized, MayStillLandError, Wait
from node.demo.node_process import NodeProcess
from runtime.crypto.keys import Keypair
from runtime.types.primitives import AccountId, Id

ALICE: Final = Keypair.from_uri("//Alice")
BOB: Final = Keypair.from_uri("//Bob")
WAIT_SECONDS: Final = 60.0
FILE_BYTES: Final = 64


def transfer(client: Client, value: int, wait_s: float = 30.0) -> Finalized:
    dest = Id(AccountId(BOB.account))
    call = client.make_call("Balances", "transfer_keep_alive", dest=dest, value=value)
    landed = client.submit(client.sign(call, ALICE), Wait.FINAL, wait_s=wait_s)
    assert isinstance(landed, Finalized)
    return landed


def halted(client: Client) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        reason = client.call("openledger_status")["author"]["halted"]
        if reason or time.monotonic() > deadline:
            return str(reason)
        time.sleep(0.05)


def test_a_full_disk_stops_blocks_but_neither_the_node_nor_what_was_final(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, "--no-executor", "--block-time-ms", "200")
    node.start()
    try:
        with Client(node.url) as client:
            final = transfer(client, 12_345)
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
            reason = halted(client)
            height = client.info().finalized.number
            try:
                transfer(client, 99, wait_s=2.0)
                landed = True
            except MayStillLandError:
                landed = False
    finally:
        node.kill()

    assert "DiskFullError" in reason
    assert "start the node again" in reason
    assert not landed
    with NodeProcess(tmp_path, "--no-executor") as again, Client(again.url) as client:
        assert client.block_hash(final.block_number) == final.block_hash
        assert transfer(client, 7).block_number > height
