"""`openledger account`: balances and transfers."""

from __future__ import annotations

from dataclasses import dataclass

import click

from genesis.accounts import NAMES
from genesis.amounts import parse_amount
from node.client import Client
from node.commands.base.account_signer import account_of, development_pair, keys_options
from node.commands.base.command import command_output, pass_client
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Planck
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.keys.keystore import Keystore
from runtime.crypto import ss58
from runtime.types.primitives import AccountId, Id


@dataclass(frozen=True, slots=True)
class BalanceDocument:
    """The balances of an account: free, held for a purpose, frozen; and its next nonce."""

    address: str
    free_planck: Planck
    held_planck: Planck
    frozen_planck: Planck
    nonce: int


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """An account that you can sign for."""

    name: str
    kind: str
    address: str
    free_planck: Planck


@dataclass(frozen=True, slots=True)
class AccountsDocument:
    """The accounts that you can sign for: your keys, and those of development."""

    accounts: tuple[NamedAccount, ...]


@click.group("account", cls=CommandGroup)
def account_command() -> None:
    """Balances and transfers."""


@account_command.command("balance")
@click.argument("account")
@command_output(BalanceDocument)
@pass_client
def balance(output: Output, client: Client, account: str) -> BalanceDocument:
    """Show what ACCOUNT (an address, //Alice, or the name of a key of yours) has."""
    who = account_of(account)
    data = client.balance(who)
    return BalanceDocument(
        address=ss58.encode(who),
        free_planck=Planck(data.free),
        held_planck=Planck(data.reserved),
        frozen_planck=Planck(data.frozen),
        nonce=client.nonce(who),
    )


@account_command.command("list")
@keys_options
@command_output(AccountsDocument)
@pass_client
def list_accounts(
    output: Output, client: Client, keystore: Keystore, password_file: object
) -> AccountsDocument:
    """List your keys and the development accounts with their free balances."""
    named: list[tuple[str, str, AccountId]] = [
        (entry.name or entry.address, entry.kind.name.lower(), AccountId(entry.account))
        for entry in keystore.entries()
    ]
    for name in NAMES:
        pair = development_pair(f"//{name}")
        assert pair is not None, "development names are development names"
        named.append((f"//{name}", "ed25519", AccountId(pair.account)))
    return AccountsDocument(
        tuple(
            NamedAccount(name, kind, ss58.encode(who), Planck(client.balance(who).free))
            for name, kind, who in named
        )
    )


@account_command.command("transfer")
@click.argument("to")
@click.argument("amount")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def transfer(output: Output, client: Client, to: str, amount: str, spending: Spending) -> Spent:
    """Send AMOUNT (such as 1.5OPEN) to the account TO."""
    dest = Id(account_of(to, spending.signer.keystore))
    call = client.make_call(
        "Balances", "transfer_keep_alive", dest=dest, value=parse_amount(amount)
    )
    return spend(output, client, spending, call)
