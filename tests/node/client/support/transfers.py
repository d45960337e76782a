"""Transfers from //Alice to //Bob by a client."""

from __future__ import annotations

from typing import Final

from genesis.accounts import parse_account
from node.client import Client, Wait
from runtime.crypto.keys import Keypair
from runtime.types.primitives import OPEN, Id

ALICE: Final = Keypair.from_uri("//Alice")
BOB: Final = parse_account("//Bob")


def transfer(client: Client, amount: int = OPEN, wait: Wait = Wait.INCLUDED) -> object:
    call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=amount)
    return client.submit(client.sign(call, ALICE), wait)
