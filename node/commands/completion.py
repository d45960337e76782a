"""`openledger completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

PLACES: Final = {
    "bash": 'add `eval "$(openledger completion bash)"` to ~/.bashrc',
    "zsh": 'add `eval "$(openledger completion zsh)"` to ~/.zshrc',
    "fish": "write it to ~/.config/fish/completions/openledger.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(PLACES)))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL (bash, zsh or fish)."""
    completion = get_completion_class(shell)
    assert completion is not None, "click completes these three shells"
    script = completion(ctx.find_root().command, {}, "openledger", "_OPENLEDGER_COMPLETE")
    click.echo(f"# To use it: {PLACES[shell]}")
    # click's bash class runs bash to learn its version; the script itself does not need it.
    click.echo(script.source_template % script.source_vars())
