"""Making a node that is added to a devnet a validator: funds, session key, bond, candidacy."""

from __future__ import annotations

from typing import Any, Final

from genesis.devnet import STAKE
from node.client import Client, ClientError, Included, Wait
from node.devnet.errors import EnrolmentError
from pallets.session import prove_possession
from pallets.staking.records import Payee, ValidatorPrefs
from runtime.crypto.keys import KeyKind, Keypair
from runtime.types.primitives import OPEN, AccountId, Id

FEE_RESERVE: Final = 100 * OPEN
BANK: Final = "//Ferdie"


def enrol(client: Client, uri: str) -> None:
    """Have an account stand for election with the stake of a first validator.

    It is elected for the next era that is not planned yet. Raises EnrolmentError.
    """
    pair = Keypair.from_uri(uri)
    account = AccountId(pair.account)
    missing = STAKE + FEE_RESERVE - client.balance(account).free
    if missing > 0:
        bank = Keypair.from_uri(BANK, KeyKind.SR25519)
        _send(client, bank, "Balances", "transfer_keep_alive", dest=Id(account), value=missing)
    proof = prove_possession(client.genesis_hash, account, pair)
    _send(client, pair, "Session", "set_keys", key=pair.account, proof=proof)
    _send(client, pair, "Staking", "bond", value=STAKE, payee=Payee.Staked)
    _send(client, pair, "Staking", "validate", prefs=ValidatorPrefs())


def _send(client: Client, pair: Keypair, pallet: str, name: str, /, **arguments: Any) -> None:
    call = client.make_call(pallet, name, **arguments)
    try:
        included = client.submit(client.sign(call, pair), Wait.FINAL)
    except ClientError as error:
        raise EnrolmentError(f"{pallet}.{name} did not get onto the chain: {error}") from error
    assert isinstance(included, Included), "waited for finality"
    if included.error is not None:
        raise EnrolmentError(f"{pallet}.{name} failed: {included.error}")
