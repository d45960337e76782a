"""`openledger validator unjail`: stand for election again after being chilled for absence.

Absence costs a validator its candidacy and nothing else (unless many are absent at once, which is
slashed), so its return is a call of its stash: that which stands for election, with the terms that
the chain remembers.
"""

from __future__ import annotations

import click

from node.client import Client
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.commands.staking.records import parse_commission
from node.commands.staking.validator_records import next_election, standing_of
from pallets.staking.records import ChilledValidator, ValidatorPrefs


@click.command("unjail")
@click.option("--commission", help="Percent, taken first; what it was before, unless given.")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def unjail(output: Output, client: Client, commission: str | None, spending: Spending) -> Spent:
    """Stand for election again with the validator --from, after it was chilled for absence.

    Its node must run and have caught up, or it is chilled again.
    """
    who = spending.signer.account
    chilled: ChilledValidator | None = client.query("Staking", "chilled_validators", who)
    if chilled is None:
        refuse(f"It is not chilled for absence. {standing_of(client, who).sentence}")
    prefs = chilled.prefs if commission is None else ValidatorPrefs(parse_commission(commission))
    document = spend(output, client, spending, client.make_call("Staking", "validate", prefs=prefs))
    if not spending.is_dry_run:
        era, epoch = (
            client.api("StakingApi_era"),
            client.api("SessionApi_current_authorities").epoch,
        )
        output.note(
            f"It can vote from epoch {next_election(era, epoch)} on, if its stake is among the "
            "largest. Follow it with `openledger validator status`."
        )
    return document
