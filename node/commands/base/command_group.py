"""Groups of commands: help that cuts no sentence, and the name that is probably meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

import click

SENTENCE_LENGTH_MAX: Final = 1_000


class CommandGroup(click.Group):
    """A group as all groups of `openledger` are."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole first sentence; click would cut it at a line's end."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(SENTENCE_LENGTH_MAX)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none, name the one that is probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            word = args[0].lower().replace("_", "-")
            close = get_close_matches(word, self.list_commands(ctx), n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]}?", ctx) from error
