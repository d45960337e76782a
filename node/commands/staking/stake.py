"""`openledger stake`: put OPEN behind validators, follow what it earns, take it back."""

from __future__ import annotations

from typing import Final

import click

from genesis.amounts import format_amount, parse_amount
from node.client import Client
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.commands.staking.records import (
    SlashesDocument,
    StakeDocument,
    ValidatorsDocument,
    first_block_of,
    parse_commission,
    slashes_document,
    stake_document,
    validators_document,
)
from pallets.staking.records import TARGETS_MAX, Payee, StakingLedger, ValidatorPrefs
from runtime.types.primitives import Id

ALL: Final = "all"
SEARCHED_BLOCKS_MAX: Final = 256
"""States, and so events, of more blocks are not kept by every node."""


@click.group("stake", cls=CommandGroup)
def stake_command() -> None:
    """Put OPEN behind validators, follow what it earns, take it back."""


@stake_command.command("bond")
@click.argument("amount")
@click.option(
    "--rewards",
    type=click.Choice(["bond", "free"]),
    default="bond",
    show_default=True,
    help="Add rewards to the bond, or leave them in the free balance.",
)
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def bond(output: Output, client: Client, amount: str, rewards: str, spending: Spending) -> Spent:
    """Bond AMOUNT (such as 1000OPEN) as stake. It earns once you nominate or validate."""
    payee = Payee.Staked if rewards == "bond" else Payee.Stash
    call = client.make_call("Staking", "bond", value=parse_amount(amount), payee=payee)
    document = spend(output, client, spending, call)
    if not spending.is_dry_run:
        output.note("Next: `openledger stake nominate VALIDATOR`, or `openledger validator setup`.")
    return document


@stake_command.command("more")
@click.argument("amount")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def more(output: Output, client: Client, amount: str, spending: Spending) -> Spent:
    """Add AMOUNT to your bond; it counts from the next election on."""
    call = client.make_call("Staking", "bond_extra", max_additional=parse_amount(amount))
    return spend(output, client, spending, call)


@stake_command.command("unbond")
@click.argument("amount")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def unbond(output: Output, client: Client, amount: str, spending: Spending) -> Spent:
    """Send AMOUNT (or `all`) of your bond on its way out; it can be slashed until it is free."""
    value = _ledger(client, spending).active if amount == ALL else parse_amount(amount)
    document = spend(output, client, spending, client.make_call("Staking", "unbond", value=value))
    era = client.api("StakingApi_era")
    for event in document.events:
        if event.event == "Staking.Unbonded":
            free_in = event.fields["free_in_era"]
            block = first_block_of(client, era, free_in)
            amount_text = format_amount(int(event.fields["amount"]))
            output.note(
                f"{amount_text} can be withdrawn from block {block:,} on (era {free_in}; now it is"
                f" {era.active}): `openledger stake withdraw`."
            )
    return document


@stake_command.command("rebond")
@click.argument("amount")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def rebond(output: Output, client: Client, amount: str, spending: Spending) -> Spent:
    """Put AMOUNT (or `all`) that is on its way out back to work, the latest first."""
    ledger = _ledger(client, spending)
    value = ledger.total - ledger.active if amount == ALL else parse_amount(amount)
    return spend(output, client, spending, client.make_call("Staking", "rebond", value=value))


@stake_command.command("withdraw")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def withdraw(output: Output, client: Client, spending: Spending) -> Spent:
    """Free the stake whose way out is over; what it has earned is paid as well."""
    _ledger(client, spending)
    document = spend(output, client, spending, client.make_call("Staking", "withdraw_unbonded"))
    is_known = spending.is_dry_run or document.events
    if is_known and all(event.event != "Staking.Withdrawn" for event in document.events):
        output.note("Nothing is free yet. `openledger stake status` says when it is.")
    return document


@stake_command.command("validate")
@click.option("--commission", default="0", show_default=True, help="Percent, taken first.")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def validate(output: Output, client: Client, commission: str, spending: Spending) -> Spent:
    """Stand for election as a validator, or change your commission."""
    prefs = ValidatorPrefs(parse_commission(commission))
    document = spend(output, client, spending, client.make_call("Staking", "validate", prefs=prefs))
    if client.api("SessionApi_registered_key", spending.signer.account) is None:
        output.note(
            "No session key is registered, so nobody can elect you. Register one with "
            "`openledger validator set-keys`."
        )
    return document


@stake_command.command("nominate")
@click.argument("validators", nargs=-1, required=True)
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def nominate(
    output: Output, client: Client, validators: tuple[str, ...], spending: Spending
) -> Spent:
    """Back VALIDATORS with your bond from the next election on, instead of those before."""
    if len(validators) > TARGETS_MAX:
        refuse(f"You name {len(validators)} validators. Name at most {TARGETS_MAX}.")
    keystore = spending.signer.keystore
    targets = tuple(Id(account_of(name, keystore)) for name in validators)
    return spend(output, client, spending, client.make_call("Staking", "nominate", targets=targets))


@stake_command.command("chill")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def chill(output: Output, client: Client, spending: Spending) -> Spent:
    """Neither validate nor nominate any more, from the next election on. The bond stays."""
    return spend(output, client, spending, client.make_call("Staking", "chill"))


@stake_command.command("status")
@click.argument("account", envvar="OPENLEDGER_FROM")
@command_output(StakeDocument)
@pass_client
def status(output: Output, client: Client, account: str) -> StakeDocument:
    """Show what ACCOUNT has staked, what it earns, and what is on its way out until when."""
    document = stake_document(client, account_of(account))
    if document.role == "none":
        output.note("This account has bonded nothing. Begin with `openledger stake bond`.")
    return document


@stake_command.command("validators")
@command_output(ValidatorsDocument)
@pass_client
def validators(output: Output, client: Client) -> ValidatorsDocument:
    """List who validates or stands for election, the largest stake first."""
    return validators_document(client)


@stake_command.command("slashes")
@click.option(
    "--blocks",
    type=click.IntRange(0, SEARCHED_BLOCKS_MAX),
    default=0,
    show_default=True,
    help="Search so many newest blocks for amounts, and for the slashes of absence.",
)
@command_output(SlashesDocument)
@pass_client
def slashes(output: Output, client: Client, blocks: int) -> SlashesDocument:
    """Show slashes that wait, and those that were applied or cancelled."""
    document = slashes_document(client, blocks)
    if not document.pending and not document.applied:
        output.note("Nobody is being slashed.")
    return document


def _ledger(client: Client, spending: Spending) -> StakingLedger:
    ledger: StakingLedger | None = client.api("StakingApi_ledger_of", spending.signer.account)
    if ledger is None:
        refuse(f"{spending.signer.name} has bonded nothing. Begin with `openledger stake bond`.")
    return ledger
