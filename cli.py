"""The command line `openledger`: finds the command, loads its file, and nothing else.

Nothing heavy is imported here, and no command file before its command is asked for, so that help
and completion answer at once. The table below is the one list of commands.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from node.commands.base.command_group import CommandGroup
from runtime.errors import ExitCode

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "dev": ("node.commands.node.dev", "Start a development node: instant blocks, funded accounts."),
    "demo": (
        "node.commands.devnet.demo",
        "Run the whole story on real rows, from data to payouts.",
    ),
    "status": ("node.commands.chain.status", "Show what the node and its chain are doing."),
    "account": ("node.commands.wallet.account", "Balances and transfers."),
    "key": ("node.commands.wallet.key", "Make, keep, use and exchange keys."),
    "datanet": (
        "node.commands.datanet.datanet",
        "Create datanets, contribute and review rows, publish.",
    ),
    "model": (
        "node.commands.model.model",
        "Create, train, watch and publish models; chat with them.",
    ),
    "ask": (
        "node.commands.answers.ask",
        "Ask a model a question and see which rows shaped the answer.",
    ),
    "channel": (
        "node.commands.answers.channel",
        "Payment channels: their books, lost books, false receipts.",
    ),
    "server": ("node.commands.answers.server", "Bond the account of a serving node."),
    "receipt": ("node.commands.answers.receipt", "Show and list the receipts of answers."),
    "verify": (
        "node.commands.answers.verify",
        "Replay everything behind a receipt and say what holds.",
    ),
    "claim": ("node.commands.datanet.claim", "Pay out what your rows have earned."),
    "earnings": ("node.commands.datanet.claim", "Show what an account's rows have earned."),
    "executor": (
        "node.commands.executor.executor",
        "Train for others: profile of this machine, registration, who else does.",
    ),
    "stake": ("node.commands.staking.stake", "Put OPEN behind validators, or take it back."),
    "validator": ("node.commands.staking.validator", "Become a validator and see how it does."),
    "tx": ("node.commands.wallet.tx", "Send any call of the chain."),
    "chain": (
        "node.commands.chain.chain",
        "Inspect, export, import, check, copy and purge a chain.",
    ),
    "devnet": (
        "node.commands.devnet.devnet",
        "Run a cluster of nodes here; kill, cut and heal them.",
    ),
    "node": (
        "node.commands.node.node",
        "Start a node for a chain spec; show a running one and its peers.",
    ),
    "config": (
        "node.commands.node.config",
        "Make, show and check a file of a node's settings.",
    ),
    "signer": (
        "node.commands.staking.vote_signer",
        "Sign a validator's votes in a process of its own.",
    ),
    "completion": ("node.commands.completion", "Print the completion script of a shell."),
}


class LazyGroup(CommandGroup):
    """A group whose commands are loaded when they are needed, its help from the table."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; click's own refusals and Ctrl-C end as those of commands do.

        Click alone says "Aborted!" with exit code 1 for Ctrl-C, and prints no JSON for --json.
        """
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        words = sys.argv[1:] if args is None else list(args)
        try:
            ended = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort as abort:
            _fail_aborted(abort, words)
        except click.ClickException as error:
            error.show()
            _print_error(words, type(error).__name__, error.format_message())
            sys.exit(ExitCode.USAGE)
        sys.exit(ended if isinstance(ended, int) else ExitCode.OK)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; its file holds it under its own name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


def _fail_aborted(abort: click.Abort, words: Sequence[str]) -> NoReturn:
    """End after Ctrl-C, or where a question was not answered because input is at its end."""
    cause = abort.__cause__ or abort.__context__
    if not isinstance(cause, EOFError):
        click.echo("Stopped.", err=True)
        _print_error(words, "Stopped", "Stopped.", ExitCode.STOPPED)
        sys.exit(ExitCode.STOPPED)
    sentence = "A question was not answered, so nothing was done. Run it on a terminal."
    click.echo(f"\nError: {sentence}", err=True)
    _print_error(words, "Unanswered", sentence)
    sys.exit(ExitCode.USAGE)


def _print_error(
    words: Sequence[str], kind: str, sentence: str, exit_code: ExitCode = ExitCode.USAGE
) -> None:
    """Print an error's document where JSON was asked for: click had no time to read --json."""
    options = words[: words.index("--")] if "--" in words else words
    if "--json" not in options:
        return
    import json

    error = {"kind": kind, "message": sentence, "exit_code": int(exit_code)}
    click.echo(json.dumps({"error": error}, indent=2, ensure_ascii=False))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the version, the commit and Python's version, and exit."""
    if not value or ctx.resilient_parsing:
        return
    import platform

    from node.operations.version import commit, version

    known = commit()
    of_commit = f", commit {known}" if known else ""
    click.echo(f"openledger {version()}{of_commit} (Python {platform.python_version()})")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show version and commit.",
)
def root() -> None:
    """The AI chain that remembers who contributed.

    Commands talk to the node at --url, else OPENLEDGER_URL, else ws://127.0.0.1:9944. Amounts are
    written 1.5OPEN, 20mOPEN or as planck; accounts as addresses, //Alice, or names of your keys.
    """


def main() -> None:
    """Run the command line."""
    root(prog_name="openledger")


if __name__ == "__main__":
    main()
