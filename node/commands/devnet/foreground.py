"""The parts of `openledger devnet` that last until Ctrl-C: `up --foreground` and `logs -f`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from node.commands.base.output import Output
from node.commands.devnet.documents import DevnetUpDocument

if TYPE_CHECKING:
    from node.devnet.cluster import Cluster

LOOK_SECONDS: Final = 0.5
FOLLOW_BYTES: Final = 1 << 20


def take_down(cluster: Cluster, name: str, *, is_kept: bool) -> None:
    """Stop all nodes of a devnet; remove its folder and its name unless they are kept."""
    from node.devnet import folders

    cluster.down(purge=not is_kept)
    if not is_kept:
        folders.forget(name)


def stay(
    output: Output, cluster: Cluster, name: str, document: DevnetUpDocument, *, is_kept: bool
) -> None:
    """Show a devnet and print nodes that die; then take it down, whatever ended this.

    That is Ctrl-C, SIGTERM or a closed terminal, which may also show as a failing write.
    """
    try:
        output.show(document)
        removed = "" if is_kept else " and removes its chain"
        output.note(f"Ctrl-C takes the devnet down{removed}.")
        _print_deaths(output, cluster)
    except (KeyboardInterrupt, OSError):
        output.note("Taking the devnet down.")
    finally:
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the rest is short, and must not be cut off
        take_down(cluster, name, is_kept=is_kept)


def _print_deaths(output: Output, cluster: Cluster) -> NoReturn:
    from node.devnet.member import Condition
    from node.devnet.process import until

    printed: set[int] = set()

    def dead() -> list[tuple[int, str]]:
        return [
            (member.number, member.process.cause_of_end())
            for member in cluster.members
            if member.condition is Condition.DEAD and member.number not in printed
        ]

    while True:
        until(lambda: bool(dead()), LOOK_SECONDS)
        cluster.reload()
        for number, cause in dead():
            output.note(f"Node {number} {cause}.")
            printed.add(number)


def follow_log(output: Output, file: Path, start: int) -> None:
    """Print a file's new bytes, until Ctrl-C."""
    from node.devnet.process import until

    until(file.exists, LOOK_SECONDS)
    with file.open("rb") as log:
        log.seek(start)
        while True:
            until(lambda: file.stat().st_size > log.tell(), LOOK_SECONDS)
            output.say(log.read(FOLLOW_BYTES).decode(errors="replace"), newline=False)
