"""`openledger executor`: the profile of this machine, joining the executors, who they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from genesis.amounts import parse_amount
from ml.base.content import content_hash
from node.client import Client
from node.commands.base.command import command_output, hash_of, pass_client, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.commands.executor.measuring import measure, name_of, profile_of
from node.commands.executor.records import (
    ExecutorsDocument,
    ProfileDocument,
    executor_document,
    profile_document,
)
from pallets.jobs.registry import Profile
from pallets.models import Base
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import ZERO_HASH, Hash

WORK_SECONDS: Final = 86_400
"""The longest job that the printed call admits: a day of this machine."""
CONTEXT_TOKENS: Final = 512

F = TypeVar("F", bound=Callable[..., Any])


def machine_options(function: F) -> F:
    """Give a command's body the settings of the node on this machine that decide its results."""
    threads = click.option(
        "--threads",
        type=click.IntRange(1, 64),
        envvar="OPENLEDGER_THREADS",
        default=2,
        show_default=True,
        help="Threads for training, as the node is started with.",
    )
    base = click.option(
        "--base-model",
        envvar="OPENLEDGER_BASE_MODEL",
        default="",
        help="The base's folder, as the node is started with; else the shipped one.",
    )
    return threads(base(function))


@click.group("executor", cls=CommandGroup)
def executor_command() -> None:
    """Train for others: profile of this machine, registration, who else does."""


@executor_command.command("profile")
@machine_options
@click.option(
    "--block-seconds",
    type=click.FloatRange(0.01),
    default=1.0,
    show_default=True,
    help="The chain's time between blocks.",
)
@command_output(ProfileDocument)
@pass_client
def profile(
    output: Output, client: Client, threads: int, base_model: str, block_seconds: float
) -> ProfileDocument:
    """Measure this machine by a short training, and print the call that registers its profile."""
    identity, machine = profile_of(threads, "cpu")
    output.note("Training three steps to measure this machine ...")
    measured = measure(threads, "cpu", base_model)
    base: Base | None = client.query("Models", "bases", _base_hash(base_model))
    limits = Profile(
        name=name_of(machine),
        blocks_per_unit_milli=measured.blocks_per_unit_milli(block_seconds),
        parameters_max=1 if base is None else base.parameters,
        work_max=max(1, math.floor(WORK_SECONDS / measured.seconds_per_unit)),
        context_tokens=CONTEXT_TOKENS if base is None else base.context_tokens,
    )
    if base is None:
        output.note("The base is not registered on this chain, so set parameters_max by hand.")
    document = profile_document(client, identity, machine, measured, limits)
    if document.is_registered:
        output.note("The profile is registered: join with `openledger executor register`.")
    else:
        output.note(
            "The profile is not registered. Who governs the chain registers it; on a development "
            "chain: `openledger tx sudo sudo --from //Alice --call CALL`, with the call below."
        )
    return document


@executor_command.command("register")
@click.option("--bond", default="1000OPEN", show_default=True, help="Lost for wrong work.")
@machine_options
@click.option("--profile", "profile_hex", help="Another profile (0x hex) than this machine's.")
@click.option("--reader", help="X25519 key (0x hex); else the node declares its own when it runs.")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def register(
    output: Output,
    client: Client,
    bond: str,
    threads: int,
    base_model: str,
    profile_hex: str | None,
    reader: str | None,
    spending: Spending,
) -> Spent:
    """Make the account --from an executor; the node that signs with it gets jobs once it is of age
    (the parameter age_blocks of jobs)."""
    identity = profile_of(threads, "cpu")[0] if profile_hex is None else hash_of(profile_hex)
    _require_profile(client, identity)
    call = client.make_call(
        "Jobs",
        "register_executor",
        profile=identity,
        bond=parse_amount(bond),
        bases=(_base_hash(base_model),),
        reader=ZERO_HASH if reader is None else hash_of(reader),
    )
    document = spend(output, client, spending, call)
    if not spending.is_dry_run:
        output.note(
            "Keep a node running that signs with this account (`--account`), with --executor and "
            "the same --threads and --base-model: what it does not answer costs its bond."
        )
    return document


@executor_command.command("list")
@command_output(ExecutorsDocument)
@pass_client
def list_executors(output: Output, client: Client) -> ExecutorsDocument:
    """List the executors of the chain."""
    entries = client.api("JobsApi_executors")
    return ExecutorsDocument(tuple(executor_document(client, entry) for entry in entries))


def _require_profile(client: Client, identity: Hash) -> None:
    if client.query("Jobs", "profiles", identity) is None:
        known = [to_hex(each) for each, _ in client.entries("Jobs", "profiles")]
        refuse(
            f"The profile {to_hex(identity)} is not registered on this chain, which knows "
            f"{', '.join(sorted(known)) or 'none'}. `openledger executor profile` prints the call "
            "with which root registers it (on a development chain: "
            "`openledger tx sudo sudo --call CALL --from //Alice`); --profile names another "
            "one that this machine computes by."
        )


def _base_hash(base_model: str) -> Hash:
    return Hash(content_hash(base_model or None))
