"""`openledger validator`: become a validator, change its key, see how it does."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from genesis.amounts import format_amount, parse_amount
from genesis.spec import load_spec
from node.client import Client, RejectedError
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Planck
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    dry_run,
    send,
    spend,
    transaction_options,
)
from node.commands.staking.records import parse_commission
from node.commands.staking.session_key import (
    SessionKey,
    base_path_option,
    session_key_of,
    session_key_option,
    session_password_option,
)
from node.commands.staking.unjail import unjail
from node.commands.staking.validator_records import (
    SessionKeyDocument,
    SetupDocument,
    StandingDocument,
    standing_of,
)
from node.commands.staking.validator_setup import (
    DONE,
    TO_DO,
    Plan,
    call_of,
    check_owner,
    plan_of,
    set_keys_call,
    steps_of,
)
from node.commands.staking.validator_start import (
    NO_ACCOUNT_FILE,
    NO_FILE,
    StartLine,
    check_line,
    write_unit,
)
from node.keys.node_keys import DEVELOPMENT_TYPES
from node.operations.config import default_base_path
from pallets.staking.records import Parameters
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58
from runtime.crypto.keys import Keypair


@click.group("validator", cls=CommandGroup)
def validator_command() -> None:
    """Become a validator and see how it does."""


validator_command.add_command(unjail)


@validator_command.command("keys")
@base_path_option
@session_key_option
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="Opens the key; else it is asked for."
)
@command_output(SessionKeyDocument)
def keys(
    output: Output, base_path: Path | None, session_name: str, password_file: Path | None
) -> SessionKeyDocument:
    """Make the node's session key, encrypted, or show the one that is there."""
    key = session_key_of(session_name, base_path or default_base_path(), password_file)
    if key.public() is not None:
        return key.document()
    key.generate()
    output.note("Register it with `openledger validator set-keys`. It votes and holds no money.")
    return key.document(is_new=True)


@validator_command.command("set-keys")
@base_path_option
@session_key_option
@session_password_option
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def set_keys(
    output: Output,
    client: Client,
    base_path: Path | None,
    session_name: str,
    session_password: Path | None,
    spending: Spending,
) -> Spent:
    """Register the session key for your validator; it counts after one whole epoch."""
    key = session_key_of(session_name, base_path or default_base_path(), session_password)
    _check_chain_of(client, key)
    who, public = spending.signer.account, key.public()
    if public is None:
        refuse(
            f"There is no session key {key.name!r} in {key.keystore.folder}. Make one with "
            "`openledger validator keys`."
        )
    check_owner(client, who, public)
    document = spend(output, client, spending, set_keys_call(client, who, key.unlock()))
    if not spending.is_dry_run:
        output.note("Keep the former key in place until `openledger validator status` names this.")
    return document


@validator_command.command("setup")
@base_path_option
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@session_key_option
@session_password_option
@click.option("--bond", "bond_text", help="What the bond is to be; the minimum unless given.")
@click.option("--commission", "commission_text", help="Percent, taken first; 0 unless given.")
@click.option("--account", help="The node's own account, which pays for its executor and service.")
@click.option(
    "--account-password-file",
    "account_password",
    type=click.Path(path_type=Path),
    help="Opens --account when the node starts.",
)
@click.option("--bootnode", "bootnodes", multiple=True, help="For the node's command line.")
@click.option("--unit", type=click.Path(path_type=Path), help="Write a systemd unit file here.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command_output(SetupDocument)
@pass_client
@transaction_options
def setup(
    output: Output,
    client: Client,
    base_path: Path | None,
    chain_name: str,
    session_name: str,
    session_password: Path | None,
    bond_text: str | None,
    commission_text: str | None,
    account: str | None,
    account_password: Path | None,
    bootnodes: tuple[str, ...],
    unit: Path | None,
    yes: bool,
    spending: Spending,
) -> SetupDocument:
    """Make the account --from a validator: session key, bond, candidacy, and how to start its node.

    What the chain knows already is left out, so run it again whenever it was interrupted.
    """
    _check_genesis(client, chain_name)
    folder = base_path or default_base_path()
    key = session_key_of(session_name, folder, session_password)
    _check_chain_of(client, key)
    line = StartLine(
        chain=chain_name,
        base_path=folder,
        session_key=key,
        account=account,
        account_password=account_password,
        bootnodes=bootnodes,
    )
    check_line(line, unit)
    asks = sys.stdin.isatty() and not yes and not spending.is_dry_run
    bond = parse_amount(bond_text) if bond_text is not None else None
    commission = parse_commission(commission_text) if commission_text is not None else None
    if asks:
        bond, commission = _ask(client, spending, bond, commission)
    plan = plan_of(
        client=client,
        who=spending.signer.account,
        public=key.public(),
        bond_planck=bond,
        commission=commission,
    )
    document = _carry_out(
        output=output, client=client, spending=spending, plan=plan, key=key, line=line, asks=asks
    )
    if NO_FILE in line.words:
        output.note(f"Write the session key's password to a file and name it for {NO_FILE}.")
    if NO_ACCOUNT_FILE in line.words:
        output.note(f"Write the password of {account} to a file; name it for {NO_ACCOUNT_FILE}.")
    if unit is None or spending.is_dry_run:
        return document
    write_unit(line, unit)
    output.note(f"Wrote {unit}. Install it with: systemctl enable --now {unit.absolute()}")
    return replace(document, unit=str(unit))


@validator_command.command("status")
@click.argument("account", envvar="OPENLEDGER_FROM")
@command_output(StandingDocument)
@pass_client
def status(output: Output, client: Client, account: str) -> StandingDocument:
    """Show whether ACCOUNT (the stash) votes, since when, and which turns it missed."""
    return standing_of(client, account_of(account))


def _carry_out(
    output: Output,
    client: Client,
    spending: Spending,
    plan: Plan,
    key: SessionKey,
    line: StartLine,
    *,
    asks: bool,
) -> SetupDocument:
    """Make the key if there is none, and send what is left, after a dry run of it."""
    public, is_new = key.public(), False
    # A dry run asks for no password: any key proves itself, and costs the same.
    stand_in, _ = Keypair.generate()
    rehearsal = None
    if not plan.is_done:
        rehearsal = dry_run(client, spending, call_of(client, plan, stand_in), output)
        if rehearsal.error is not None:
            raise RejectedError(f"The chain would refuse this; nothing was sent. {rehearsal.error}")
    transaction, state = None, TO_DO
    fee = None if rehearsal is None else rehearsal.fee_planck
    if not spending.is_dry_run:
        if asks and not plan.is_done:
            _confirm(output, plan, public)
        session = None
        if public is None:
            session, is_new = key.generate(), True
            public = session.account
        if not plan.is_done:
            if session is None:
                session = key.unlock() if plan.sets_key else stand_in
            transaction, landed = send(output, client, spending, call_of(client, plan, session))
            state = "sent" if landed is None else DONE
            fee = Planck(landed.fee_planck) if landed is not None else None
    standing = standing_of(client, plan.who)
    return SetupDocument(
        stash=ss58.encode(plan.who),
        session_key="" if public is None else to_hex(public),
        steps=tuple(steps_of(plan, public, is_new_key=is_new, state=state)),
        transaction=transaction,
        fee_planck=fee,
        votes_from_epoch=standing.votes_from_epoch,
        node_start=str(line),
        unit=None,
    )


def _ask(
    client: Client, spending: Spending, bond: int | None, commission: int | None
) -> tuple[int | None, int | None]:
    """Ask for what is neither given nor on the chain."""
    parameters: Parameters = client.query("Staking", "parameters")
    ledger = client.api("StakingApi_ledger_of", spending.signer.account)
    minimum = parameters.minimum_validator_bond
    if bond is None and (ledger is None or ledger.active < minimum):
        default = f"{-(-minimum // 10**18)}OPEN"
        bond = parse_amount(click.prompt("How much to bond", default=default, err=True))
    prefs = client.api("StakingApi_prefs_of", spending.signer.account)
    if commission is None and prefs is None:
        text = click.prompt("Commission in percent", default="0", err=True)
        commission = parse_commission(text)
    return bond, commission


def _confirm(output: Output, plan: Plan, public: bytes | None) -> None:
    for step in steps_of(plan, public, is_new_key=False, state=TO_DO):
        output.note(f"  {step.state:<6}{step.step}: {step.detail}")
    added = format_amount(plan.bonds_planck)
    if not click.confirm(f"Move {added} into the bond and go on?", err=True):
        refuse("Nothing was sent.")


def _check_genesis(client: Client, chain_name: str) -> None:
    spec = load_spec(chain_name)
    if spec.build().hash != client.genesis_hash:
        refuse(
            f"The node is of the chain 0x{client.genesis_hash.hex()}, which is not that of the "
            f"spec {spec.id!r}. Name the right spec with --chain."
        )


def _check_chain_of(client: Client, key: SessionKey) -> None:
    """Refuse a key that everybody knows on a chain with real money. Raises UsageError."""
    kind = client.call("system_chainType")
    if key.is_development and kind not in DEVELOPMENT_TYPES:
        refuse(
            f"{key.name} is a development key that everyone knows, and this chain is {kind}. "
            "Name a key of your own with --session-key."
        )
