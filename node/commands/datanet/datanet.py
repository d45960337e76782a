"""`openledger datanet`: community data from the first row to a published version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from node.client import Client
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Planck
from node.commands.base.lookup import find_datanet, list_all, rows_needed
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.commands.datanet.contribution import ContributionDocument, contribute_file
from node.commands.datanet.records import (
    DatanetDocument,
    DatanetEarningsDocument,
    DatanetsDocument,
    EarningsRow,
    datanet_row,
    list_batches,
)
from pallets.datanets.records import Access, Verdict
from runtime.crypto import ss58
from runtime.types.primitives import Id

number_argument = click.argument("datanet", type=click.IntRange(0, 2**32 - 1))


@click.group("datanet", cls=CommandGroup)
def datanet_command() -> None:
    """Create datanets, contribute and review rows, publish versions."""


def _profile_options(function: Any) -> Any:
    for option in (
        click.option("--access", type=click.Choice(list(Access.__members__)), default="Public"),
        click.option("--schema", default="prompt, completion", show_default=True),
        click.option("--purpose", required=True, help="What the data is for."),
        click.option("--source", required=True, help="Where the data comes from."),
        click.option("--licence", required=True, help="SPDX identifier, such as CC-BY-4.0."),
        click.option("--tag", "tags", multiple=True, help="May be given several times."),
        click.option("--description", default="", help="As long as you like, up to 4 KiB."),
        click.option("--summary", required=True, help="One sentence."),
    ):
        function = option(function)
    return function


@datanet_command.command("create")
@click.argument("name")
@_profile_options
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def create(
    output: Output, client: Client, name: str, access: str, spending: Spending, **texts: Any
) -> Spent:
    """Open a datanet called NAME; 10 OPEN are held from you while it exists."""
    call = client.make_call("Datanets", "create", name=name, access=Access[access], **texts)
    document = spend(output, client, spending, call)
    for event in document.events:
        if event.event == "Datanets.Created" and not spending.is_dry_run:
            output.note(f"Datanet {event.fields['datanet']} is {event.fields['name']!r}.")
    return document


@datanet_command.command("list")
@command_output(DatanetsDocument)
@pass_client
def list_datanets(output: Output, client: Client) -> DatanetsDocument:
    """List the datanets of the chain."""
    infos = list_all(client, "DatanetsApi_datanets")
    return DatanetsDocument(tuple(datanet_row(info) for info in infos))


@datanet_command.command("status")
@number_argument
@command_output(DatanetDocument)
@pass_client
def status(output: Output, client: Client, datanet: int) -> DatanetDocument:
    """Show a datanet: what it is, how far it is, and its batches."""
    info = find_datanet(client, datanet)
    record, progress, profile = info.datanet, info.progress, info.datanet.profile
    needed = rows_needed(client)
    output.note(f"{progress.published_rows:,} of {needed:,} rows needed for attribution")
    return DatanetDocument(
        id=info.id,
        name=record.name,
        owner=ss58.encode(record.owner),
        summary=profile.summary,
        description=profile.description,
        licence=profile.licence,
        source=profile.source,
        purpose=profile.purpose,
        schema=profile.schema,
        tags=profile.tags,
        access=record.access.name,
        curators=tuple(ss58.encode(curator) for curator in record.curators),
        pending_batches=progress.pending_batches,
        accepted_rows=progress.accepted_rows,
        published_rows=progress.published_rows,
        versions=progress.versions,
        rows_needed_for_attribution=needed,
        batches=tuple(list_batches(client, info)),
    )


@datanet_command.command("review")
@number_argument
@click.argument("batch", type=click.IntRange(0, 2**32 - 1))
@click.argument("verdict", type=click.Choice([verdict.name.lower() for verdict in Verdict]))
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def review(
    output: Output, client: Client, datanet: int, batch: int, verdict: str, spending: Spending
) -> Spent:
    """Decide on a BATCH: accept or reject refund its bond, spam burns it."""
    decision = Verdict[verdict.capitalize()]
    call = client.make_call("Datanets", "review", datanet=datanet, batch=batch, verdict=decision)
    return spend(output, client, spending, call)


@datanet_command.command("publish")
@number_argument
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def publish(output: Output, client: Client, datanet: int, spending: Spending) -> Spent:
    """Publish the next version: all rows that were accepted so far."""
    return spend(output, client, spending, client.make_call("Datanets", "publish", datanet=datanet))


@datanet_command.command("earnings")
@click.argument("account")
@command_output(DatanetEarningsDocument)
@pass_client
def earnings(output: Output, client: Client, account: str) -> DatanetEarningsDocument:
    """Show what ACCOUNT has given to each datanet and what its rows have earned."""
    who = account_of(account)
    earning = client.api("AttributionApi_earnings", who)
    numbers = range(client.query("Datanets", "next_id"))
    given = client.query_many("Datanets", "contributed", [(number, who) for number in numbers])
    rows = tuple(
        EarningsRow(number, find_datanet(client, number).datanet.name, count)
        for number, count in zip(numbers, given, strict=True)
        if count
    )
    return DatanetEarningsDocument(
        ss58.encode(who), Planck(earning.claimable), Planck(earning.lifetime), rows
    )


@datanet_command.group("access", cls=CommandGroup)
def access_group() -> None:
    """Who may read a datanet that is not public, and contribute to it."""


@access_group.command("request")
@number_argument
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def request_access(output: Output, client: Client, datanet: int, spending: Spending) -> Spent:
    """Ask the owner of DATANET to let you in."""
    call = client.make_call("Datanets", "request_access", datanet=datanet)
    return spend(output, client, spending, call)


@access_group.command("grant")
@number_argument
@click.argument("account")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def grant_access(
    output: Output, client: Client, datanet: int, account: str, spending: Spending
) -> Spent:
    """Let ACCOUNT read DATANET and contribute to it."""
    reader = Id(account_of(account, spending.signer.keystore))
    call = client.make_call("Datanets", "grant_access", datanet=datanet, account=reader)
    return spend(output, client, spending, call)


@access_group.command("revoke")
@number_argument
@click.argument("account")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def revoke_access(
    output: Output, client: Client, datanet: int, account: str, spending: Spending
) -> Spent:
    """Take access back from ACCOUNT, or decline its request."""
    reader = Id(account_of(account, spending.signer.keystore))
    call = client.make_call("Datanets", "revoke_access", datanet=datanet, account=reader)
    return spend(output, client, spending, call)


@datanet_command.command("contribute")
@number_argument
@click.argument("file", type=click.Path(path_type=Path))
@command_output(ContributionDocument)
@pass_client
@transaction_options
def contribute(
    output: Output, client: Client, datanet: int, file: Path, spending: Spending
) -> ContributionDocument:
    """Contribute the rows of FILE (jsonl, csv, parquet, md, txt) to DATANET.

    Every row is checked before anything is sent. Rows that are repeated, or in the datanet
    already, are left out, so an interrupted contribution is simply run again.
    """
    return contribute_file(
        output=output,
        client=client,
        spending=spending,
        info=find_datanet(client, datanet),
        file=file,
    )
