"""`openledger claim` and `openledger earnings`: what rows have earned."""

from __future__ import annotations

from dataclasses import dataclass

import click

from node.client import Client
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client
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
class EarningsDocument:
    """What an account's rows have earned: to be claimed now, and in all."""

    account: str
    claimable_planck: Planck
    earned_in_all_planck: Planck


@click.command("claim")
@click.argument("account", required=False)
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def claim_command(output: Output, client: Client, account: str | None, spending: Spending) -> Spent:
    """Pay out what your rows have earned, or those of ACCOUNT (to that account)."""
    if account is None:
        call = client.make_call("Attribution", "claim")
    else:
        who = account_of(account, spending.signer.keystore)
        call = client.make_call("Attribution", "claim_for", account=who)
    return spend(output, client, spending, call)


@click.command("earnings")
@click.argument("account")
@command_output(EarningsDocument)
@pass_client
def earnings_command(output: Output, client: Client, account: str) -> EarningsDocument:
    """Show what the rows of ACCOUNT have earned."""
    who = account_of(account)
    earning = client.api("AttributionApi_earnings", who)
    return EarningsDocument(ss58.encode(who), Planck(earning.claimable), Planck(earning.lifetime))
