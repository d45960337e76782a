"""Every command with the documents it prints; writes their JSON Schemas to node/commands/schemas.

`python -m node.commands.catalogue` writes the files again after a document has changed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from node import commands as commands_package
from node.commands.base.documents import schema_of
from node.commands.base.output import ErrorDocument

FOLDER: Final = Path(__file__).parent / "schemas"
ROOTS: Final = (
    "account", "ask", "chain", "channel", "claim", "completion", "config", "datanet", "demo", "dev",
    "devnet", "earnings", "executor", "key", "model", "node", "receipt", "server", "signer",
    "stake", "status", "tx", "validator", "verify",
)  # fmt: skip
"""The commands that `openledger` has."""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command by its words, such as `account balance`; groups are left out."""
    by_root: dict[str, click.Command] = {}
    for file in pkgutil.walk_packages(commands_package.__path__, f"{commands_package.__name__}."):
        module = importlib.import_module(file.name)
        for root in ROOTS:
            member = getattr(module, f"{root}_command", None)
            if isinstance(member, click.Command):
                by_root[root] = member
    for root in ROOTS:
        yield from _walk(root, by_root[root])


def _walk(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None, "listed commands exist"
        yield from _walk(f"{words} {name}", inner)


def schemas() -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of each command that prints a document; all of `tx` share one."""
    by_name: dict[str, Mapping[str, Any]] = {"error": schema_of(ErrorDocument)}
    for words, command in commands():
        documents = getattr(command.callback, "documents", ())
        if documents:
            name = "tx" if words.startswith("tx ") else words.replace(" ", "-")
            by_name[name] = schema_of(*documents)
    return by_name


def main() -> None:
    """Write all schemas; files of commands that are gone are removed."""
    FOLDER.mkdir(exist_ok=True)
    by_name = schemas()
    for path in FOLDER.glob("*.json"):
        if path.stem not in by_name:
            path.unlink()
    for name, schema in by_name.items():
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
