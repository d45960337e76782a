"""`openledger claim` and `openledger earnings`: what rows have earned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import click

from node.client import Client, RequestRefusedError
from node.client.shares import (
    EPOCHS_DEFAULT,
    UnclaimedShare,
    settled_epochs,
    unclaimed_share,
)
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client
from node.commands.base.documents import Planck
from node.commands.base.lookup import list_all
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from runtime.crypto import ss58
from runtime.frame.dispatch import Call
from runtime.types.primitives import AccountId

SHARES_PER_CLAIM_MAX: Final = 64
"""Shares that one transaction credits, each with its proof."""


@dataclass(frozen=True, slots=True)
class EarningsDocument:
    """What an account's rows have earned: to be claimed now, and in all."""

    account: str
    claimable_planck: Planck
    earned_in_all_planck: Planck


@click.command("claim")
@click.argument("account", required=False)
@click.option(
    "--epochs",
    type=click.IntRange(0),
    default=EPOCHS_DEFAULT,
    show_default=True,
    help="How many of the newest epochs of each server are searched for shares.",
)
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def claim_command(
    output: Output, client: Client, account: str | None, epochs: int, spending: Spending
) -> Spent:
    """Pay out what your rows have earned, or those of ACCOUNT (to that account).

    The largest shares of an epoch are credited when it is settled; all others here, by a proof from
    the epoch's file of shares. One that somebody else has credited meanwhile stops no other.
    """
    if account is None:
        who = spending.signer.account
        pay = client.make_call("Attribution", "claim")
    else:
        who = account_of(account, spending.signer.keystore)
        pay = client.make_call("Attribution", "claim_for", account=who)
    credits = [_credit(client, share) for share in _shares(output, client, who, epochs)]
    if not credits:
        return spend(output, client, spending, pay)
    if len(credits) > SHARES_PER_CLAIM_MAX:
        credits = credits[:SHARES_PER_CLAIM_MAX]
        output.note(f"This claims {SHARES_PER_CLAIM_MAX} shares. Claim again for the others.")
    call = client.make_call("Utility", "force_batch", calls=(*credits, pay))
    return spend(output, client, spending, call)


def _shares(
    output: Output, client: Client, who: AccountId, epochs: int
) -> Iterator[UnclaimedShare]:
    models = [info.id for info in list_all(client, "ModelsApi_models")]
    for settled in settled_epochs(client, models, epochs):
        try:
            share = unclaimed_share(client, who, settled)
        except RequestRefusedError as error:
            output.note(f"Epoch {settled.epoch} of model {settled.model} is left out: {error}")
            continue
        if share is not None:
            yield share


def _credit(client: Client, unclaimed: UnclaimedShare) -> Call:
    return client.make_call(
        "Attribution",
        "claim_share",
        model=unclaimed.model,
        server=unclaimed.server,
        epoch=unclaimed.epoch,
        share=unclaimed.share,
        proof=unclaimed.proof,
    )


@click.command("earnings")
@click.argument("account")
@command_output(EarningsDocument)
@pass_client
def earnings_command(output: Output, client: Client, account: str) -> EarningsDocument:
    """Show what the rows of ACCOUNT have earned."""
    who = account_of(account)
    earning = client.api("AttributionApi_earnings", who)
    return EarningsDocument(ss58.encode(who), Planck(earning.claimable), Planck(earning.lifetime))
