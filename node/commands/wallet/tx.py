"""`openledger tx`: every call of the chain as a command, made from the pallets' declarations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from node.client import Client
from node.commands.base.account_signer import account_of
from node.commands.base.command import command_output, pass_client
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.commands.base.values import example_of, parse_text
from pallets import PALLETS
from runtime.frame.dispatch import Root, Signed
from runtime.frame.pallet import CallSpec, Pallet

_PLAIN: Final = ("int", "Annotated", "MultiAddress")


def command_name(name: str) -> str:
    """Return the name of a pallet or call on the command line: `transfer-keep-alive`."""
    letters = [
        f"-{letter.lower()}" if letter.isupper() else letter for letter in name.replace("_", "-")
    ]
    return "".join(letters).strip("-")


class PalletsGroup(CommandGroup):
    """One group for each pallet with calls that accounts may send."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the pallets' names."""
        return list(_pallets())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the group of a pallet."""
        pallet = _pallets().get(cmd_name)
        return None if pallet is None else CallsGroup(pallet)


class CallsGroup(CommandGroup):
    """The calls of one pallet."""

    def __init__(self, pallet: type[Pallet]) -> None:
        words = " ".join((pallet.__doc__ or "").split())
        super().__init__(command_name(pallet.name), help=words)
        self._pallet = pallet
        self._calls = {command_name(spec.name): spec for spec in _calls(pallet)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the calls' names in the order of declaration."""
        return list(self._calls)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of a call."""
        spec = self._calls.get(cmd_name)
        return None if spec is None else _command(self._pallet.name, spec)


@click.group("tx", cls=PalletsGroup)
def tx_command() -> None:
    """Send any call of the chain.

    Amounts are written 1.5OPEN or as planck; lists, tuples, options and structs as JSON.
    """


@functools.cache
def _pallets() -> dict[str, type[Pallet]]:
    return {command_name(pallet.name): pallet for pallet in PALLETS if _calls(pallet)}


def _calls(pallet: type[Pallet]) -> list[CallSpec]:
    return [spec for spec in pallet.call_specs.values() if spec.origin in (Signed, Root)]


def _command(pallet: str, spec: CallSpec) -> click.Command:
    @command_output(*SPENDING_DOCUMENTS)
    @pass_client
    @transaction_options
    def run(output: Output, client: Client, spending: Spending, **texts: str) -> Spent:
        read_account = functools.partial(account_of, keystore=spending.signer.keystore)
        values = {
            name: parse_text(
                machine=client.machine,
                hint=hint,
                text=texts[name],
                read_account=read_account,
                place=_option(name),
            )
            for name, hint in spec.arguments
        }
        return spend(output, client, spending, client.make_call(pallet, spec.name, **values))

    callback: Callable[..., Any] = run
    for name, hint in reversed(spec.arguments):
        callback = click.option(
            _option(name), name, required=True, metavar=example_of(hint), help=_kind_of(hint)
        )(callback)
    words = spec.documentation
    if spec.origin is Root:
        words += "\n\nOnly governance may call this: wrap it in `tx sudo sudo` on a devnet."
    return click.command(command_name(spec.name), help=words)(callback)


def _option(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")


def _kind_of(hint: Any) -> str:
    name = getattr(hint, "__name__", None)
    return name if isinstance(name, str) and name not in _PLAIN else ""
