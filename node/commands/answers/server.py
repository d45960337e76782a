"""`openledger server`: the bond that answers for what a serving node signs."""

from __future__ import annotations

from dataclasses import dataclass

import click

from genesis.amounts import format_amount, parse_amount
from node.client import Client, RequestRefusedError
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client, refuse
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
from runtime.crypto import ss58


@dataclass(frozen=True, slots=True)
class EpochRow:
    """Where the epoch of a model stands at its server's node."""

    model: int
    epoch: int
    state: str
    reason: str | None
    """Why it waits or has stopped, what that costs, and what to do."""


@dataclass(frozen=True, slots=True)
class ServerDocument:
    """A bonded server: an epoch's fees may not exceed its bond."""

    account: str
    bond_planck: Planck
    least_bond_planck: Planck
    channels: int
    leaving_at: int | None
    free_from: int | None
    """The block after which a leaving server can take its bond, once its channels are removed."""
    slashed_planck: Planck
    epochs: tuple[EpochRow, ...]
    """What the server's own node says of its epochs; none at another node."""


@click.group("server", cls=CommandGroup)
def server_command() -> None:
    """Bond the account of a serving node, add to the bond, leave with it."""


@server_command.command("register")
@click.option("--bond", required=True, help="What answers for false receipts, such as 1000OPEN.")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def register(output: Output, client: Client, bond: str, spending: Spending) -> Spent:
    """Become a server: askers may then open channels to your account, which a node serves with."""
    call = client.make_call("Inference", "register_server", bond=parse_amount(bond))
    return spend(output, client, spending, call)


@server_command.command("add-bond")
@click.argument("amount")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def add_bond(output: Output, client: Client, amount: str, spending: Spending) -> Spent:
    """Add AMOUNT to the bond of your server."""
    call = client.make_call("Inference", "add_server_bond", amount=parse_amount(amount))
    return spend(output, client, spending, call)


@server_command.command("leave")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def leave(output: Output, client: Client, spending: Spending) -> Spent:
    """Leave: no channel is opened to your server any more. Take the bond with `withdraw` later."""
    document = spend(output, client, spending, client.make_call("Inference", "leave_service"))
    for event in document.events:
        if event.event == "Inference.ServerLeaving":
            output.note(
                f"The bond is free after block {int(event.fields['block']):,}, when all channels "
                "are removed and all epochs settled: `openledger server withdraw`."
            )
    return document


@server_command.command("withdraw")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def withdraw(output: Output, client: Client, spending: Spending) -> Spent:
    """Take the bond of your server, which has left, back."""
    call = client.make_call("Inference", "withdraw_server_bond")
    return spend(output, client, spending, call)


@server_command.command("show")
@click.argument("account", envvar="OPENLEDGER_FROM")
@command_output(ServerDocument)
@pass_client
def show(output: Output, client: Client, account: str) -> ServerDocument:
    """Show the bond of the server ACCOUNT and, at its own node, where its epochs stand."""
    who = account_of(account)
    server = client.api("InferenceApi_server", who)
    parameters = client.api("InferenceApi_current_parameters")
    least = parameters.server_bond_planck
    if server is None:
        refuse(
            f"{account} is no bonded server. Bond it with `openledger server register`, with "
            f"{format_amount(least)} or more."
        )
    leaving_at = server.leaving_at
    if server.bond_planck < least:
        output.note("The bond is below the least, so nobody can open a channel. Add to it.")
    return ServerDocument(
        account=ss58.encode(who),
        bond_planck=Planck(server.bond_planck),
        least_bond_planck=Planck(least),
        channels=server.channels,
        leaving_at=leaving_at,
        free_from=None if leaving_at is None else leaving_at + parameters.retention_blocks,
        slashed_planck=Planck(server.slashed_planck),
        epochs=_epochs_at(client, ss58.encode(who)),
    )


def _epochs_at(client: Client, account: str) -> tuple[EpochRow, ...]:
    """Return where epochs stand at a node, where this account is its own."""
    try:
        if client.call("openledger_status")["account"] != account:
            return ()
        listed = client.call("openledger_settlements")
    except RequestRefusedError:
        return ()
    return tuple(EpochRow(**entry) for entry in listed)
