"""`openledger model`: from a recipe to a published model, and talking to it."""

from __future__ import annotations

import re
import sys
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import click

from genesis.amounts import format_amount, parse_amount
from node.client import Client, Included
from node.commands.answers.answer_documents import (
    AnswerDocument,
    ChatDocument,
    QuoteDocument,
)
from node.commands.answers.asking import Asker
from node.commands.base.command import command_output, hash_of, pass_client, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.lookup import find_datanet, find_job, find_model, list_all
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    send,
    show_dry_run,
    spend,
    transaction_document,
    transaction_options,
)
from node.commands.model.job_progress import follow_training, newest_report
from node.commands.model.records import (
    JobDocument,
    ModelDocument,
    ModelsDocument,
    job_document,
    latest_training,
    model_document,
    model_row,
)
from pallets.jobs import Jobs
from runtime.codec.hexadecimal import to_hex
from runtime.shared.documents import DatanetVersion, Recipe, Train
from runtime.types.primitives import Hash

NANO: Final = 10**9

_USE: Final = re.compile(r"(\d{1,9})(?:@(\d{1,9}))?")


@click.group("model", cls=CommandGroup)
def model_command() -> None:
    """Create, train, watch and publish models; chat with them."""


@model_command.command("create")
@click.argument("name")
@click.option(
    "--datanet", "uses", multiple=True, required=True, help="NUMBER or NUMBER@VERSION; repeatable."
)
@click.option("--base", help="Content hash of the base; not needed where the chain has one.")
@click.option("--rate-in", default="0.1OPEN", show_default=True, help="Per 1,000 tokens asked.")
@click.option("--rate-out", default="0.2OPEN", show_default=True, help="Per 1,000 answered.")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def create(
    output: Output,
    client: Client,
    name: str,
    uses: tuple[str, ...],
    base: str | None,
    rate_in: str,
    rate_out: str,
    spending: Spending,
) -> Spent:
    """Open a model called NAME on published datanets; 10 OPEN are held from you."""
    call = client.make_call(
        "Models",
        "create",
        name=name,
        base=_base(client, base),
        datanets=tuple(_use(client, text) for text in uses),
        rate_in_planck=parse_amount(rate_in),
        rate_out_planck=parse_amount(rate_out),
    )
    document = spend(output, client, spending, call)
    for event in document.events:
        if event.event == "Models.Created" and not spending.is_dry_run:
            output.note(f"Model {event.fields['model']} is {name!r}, private until published.")
    return document


@model_command.command("set-datanets")
@click.argument("model")
@click.option(
    "--datanet", "uses", multiple=True, required=True, help="NUMBER or NUMBER@VERSION; repeatable."
)
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def set_datanets(
    output: Output, client: Client, model: str, uses: tuple[str, ...], spending: Spending
) -> Spent:
    """Name the published datanets that MODEL is trained on from now on, all of them."""
    info = find_model(client, model)
    datanets = tuple(_use(client, text) for text in uses)
    call = client.make_call("Models", "set_datanets", model=info.id, datanets=datanets)
    return spend(output, client, spending, call)


@model_command.command("list")
@command_output(ModelsDocument)
@pass_client
def list_models(output: Output, client: Client) -> ModelsDocument:
    """List the models of the chain."""
    infos = list_all(client, "ModelsApi_models")
    return ModelsDocument(tuple(model_row(info) for info in infos))


@model_command.command("status")
@click.argument("model")
@command_output(ModelDocument)
@pass_client
def status(output: Output, client: Client, model: str) -> ModelDocument:
    """Show a MODEL (number or name): its data, training, price and pool."""
    document = model_document(client, find_model(client, model))
    needed = document.rows_needed_for_attribution
    output.note(f"{document.rows:,} of {needed:,} rows needed for attribution")
    return document


@model_command.command("train")
@click.argument("model")
@click.option("--learning-rate", default="0.002", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--max-steps", type=click.IntRange(0), default=0, help="0: as many as the epochs.")
@click.option("--batch-rows", type=click.IntRange(1), default=16, show_default=True)
@click.option("--rank", type=click.IntRange(1), default=8, show_default=True)
@click.option("--alpha", type=click.IntRange(1), default=16, show_default=True)
@click.option("--dropout", default="0", show_default=True, help="0 to 0.5.")
@click.option("--max-tokens", type=click.IntRange(8), default=192, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--watch", is_flag=True, help="Follow the job until the model can be published.")
@command_output(*SPENDING_DOCUMENTS, JobDocument)
@pass_client
@transaction_options
def train(
    output: Output, client: Client, model: str, watch: bool, spending: Spending, **settings: Any
) -> Spent | JobDocument:
    """Submit a training job for MODEL; its price is held until the job ends."""
    info = find_model(client, model)
    spec = Train(info.id, info.model.base, info.model.datanets, _recipe(**settings))
    price = client.api("JobsApi_price", spec)
    if price is not None:
        output.note(f"The job costs {format_amount(price)}, its index job included.")
    place = client.api("JobsApi_place_fee")
    if place:
        output.note(
            f"The chain has many jobs: a place for this one costs {format_amount(place)} more, "
            "which is burned and not given back."
        )
    call = client.make_call("Jobs", "submit", spec=spec)
    if spending.is_dry_run:
        return show_dry_run(output, client, spending, call)
    transaction, landed = send(output, client, spending, call)
    number = _job_number(landed)
    if number is not None:
        output.note(f"Job {number} is open. `openledger model watch {info.id}` follows it.")
    if watch and number is not None:
        return follow_training(output, client, number)
    return transaction_document(transaction, landed)


@model_command.command("watch")
@click.argument("model")
@click.option("--job", type=click.IntRange(0), help="Another job than the newest training.")
@click.option("--once", is_flag=True, help="Show where the job is and return.")
@command_output(JobDocument)
@pass_client
def watch(output: Output, client: Client, model: str, job: int | None, once: bool) -> JobDocument:
    """Follow the training of MODEL until it can be published."""
    number = latest_training(client, find_model(client, model)) if job is None else job
    if once:
        report = newest_report(client, number)
        return job_document(client, number, find_job(client, number), report)
    return follow_training(output, client, number)


@model_command.command("publish")
@click.argument("model")
@click.option("--adapter", help="The adapter you tested; the latest trained one unless given.")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def publish(
    output: Output, client: Client, model: str, adapter: str | None, spending: Spending
) -> Spent:
    """Let everybody ask MODEL; exactly the trained adapter is deployed."""
    info = find_model(client, model)
    latest = info.model.latest
    if adapter is not None:
        published = hash_of(adapter)
    elif latest is not None:
        published = latest.trained.adapter
    else:
        refuse(f"{info.model.name!r} has no adapter yet. Train it with `openledger model train`.")
    call = client.make_call("Models", "publish", model=info.id, adapter=published)
    return spend(output, client, spending, call)


@model_command.command("chat")
@click.argument("model")
@click.option("--deposit", default="1OPEN", show_default=True, help="For a new channel.")
@click.option("--top-up", default="0", help="What may be added each time the channel runs out.")
@click.option(
    "--max-price", help="The most that an answer may cost; a quarter of the deposit by default."
)
@click.option("--server", help="The account that answers, where the node does not tell.")
@click.option(
    "--may-draw/--no-may-draw",
    default=None,
    help="Whether your questions may be drawn for references; remembered, at first not.",
)
@click.option("--max-tokens", type=click.IntRange(1, 4_096), default=64, show_default=True)
@command_output(ChatDocument, QuoteDocument)
@pass_client
@transaction_options
def chat(
    output: Output,
    client: Client,
    model: str,
    deposit: str,
    top_up: str,
    max_price: str | None,
    server: str | None,
    may_draw: bool | None,
    max_tokens: int,
    spending: Spending,
) -> ChatDocument | QuoteDocument | None:
    """Talk to MODEL, line by line; an empty line or Ctrl-D ends it. Each answer is paid."""
    asker = Asker(
        output=output,
        client=client,
        spending=spending,
        info=find_model(client, model),
        server=server,
        top_up_planck=parse_amount(top_up),
        may_draw=may_draw,
        max_price_planck=None if max_price is None else parse_amount(max_price),
    )
    if spending.is_dry_run:
        return asker.quote("", max_tokens)
    turns: list[dict[str, str]] = []
    answers: list[AnswerDocument] = []
    with asker.prepared(parse_amount(deposit)):
        while question := _read_line():
            turns.append({"role": "user", "content": question})
            answers.append(asker.ask(turns, max_tokens))
            turns.append({"role": "assistant", "content": answers[-1].answer})
            paid = format_amount(answers[-1].fee_planck)
            output.note(f"paid {paid}, receipt {answers[-1].receipt}")
    return ChatDocument(tuple(answers)) if output.as_json else None


def _read_line() -> str:
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    return sys.stdin.readline().strip()


def _recipe(
    learning_rate: str,
    epochs: int,
    max_steps: int,
    batch_rows: int,
    rank: int,
    alpha: int,
    dropout: str,
    max_tokens: int,
    seed: int,
) -> Recipe:
    return Recipe(
        learning_rate_nano=_scaled(learning_rate, NANO, "--learning-rate"),
        epochs=epochs,
        max_steps=max_steps,
        batch_rows=batch_rows,
        micro_batch_rows=batch_rows,
        rank=rank,
        alpha=alpha,
        dropout_permille=_scaled(dropout, 1000, "--dropout"),
        max_tokens=max_tokens,
        seed=seed,
    )


def _scaled(text: str, factor: int, option: str) -> int:
    try:
        number = Decimal(text) * factor
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number != int(number) or number < 0:
        refuse(f"{option} {text!r} is no number with at most {len(str(factor)) - 1} decimals.")
    return int(number)


def _use(client: Client, text: str) -> DatanetVersion:
    match = _USE.fullmatch(text)
    if match is None:
        refuse(f"--datanet {text!r}: write NUMBER or NUMBER@VERSION, such as 0@1.")
    number = int(match[1])
    if match[2] is not None:
        return DatanetVersion(number, int(match[2]))
    versions = find_datanet(client, number).progress.versions
    if not versions:
        refuse(f"Datanet {number} has no published version. Use `openledger datanet publish`.")
    return DatanetVersion(number, versions)


def _base(client: Client, text: str | None) -> Hash:
    if text is not None:
        named: Hash = hash_of(text)
        return named
    bases = client.entries("Models", "bases")
    if len(bases) != 1:
        listed = ", ".join(f"{to_hex(key)} ({base.name})" for key, base in bases) or "none"
        refuse(f"The chain knows {len(bases)} bases: {listed}. Name one with --base.")
    return Hash(bases[0][0])


def _job_number(landed: Included | None) -> int | None:
    for record in () if landed is None else landed.events:
        if isinstance(record.event, Jobs.JobOpened):
            return int(record.event.job)
    return None
