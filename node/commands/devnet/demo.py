"""`openledger demo`: the whole story on real rows, told as it happens on nodes of its own.

The rows are the documentation of the user's own Python. Four contributors split it by module, a
fifth submits exact copies, a sixth shuffled noise. The chain trains a model, an asker pays for
answers, OPEN flows to the rows behind them, and every receipt is replayed. Nothing is prepared:
what is printed is what the chain says.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from node.commands.base.command import command_output, refuse
from node.commands.base.documents import Planck
from node.commands.base.output import Output


@dataclass(frozen=True, slots=True)
class DemoContributor:
    """What one contributor brought and earned."""

    name: str
    account: str
    rows: int
    earned: Planck


@dataclass(frozen=True, slots=True)
class DemoDocument:
    """What the demo showed."""

    rows: int
    base_loss_micronats: int
    adapter_loss_micronats: int
    questions: int
    receipts_verified: int
    contributors: tuple[DemoContributor, ...]
    commons: Planck
    issuance_is_conserved: bool
    seconds: int


@click.command("demo")
@click.option("--rows", default=1_700, show_default=True, help="Honest rows, in all.")
@click.option("--questions", default=40, show_default=True, type=click.IntRange(1, 200))
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option("--seed", default=7, show_default=True, help="Seed of training and of the noise.")
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1, 16))
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the node's data here.")
@command_output(DemoDocument)
def demo_command(
    output: Output,
    rows: int,
    questions: int,
    epochs: int,
    seed: int,
    nodes: int,
    keep: Path | None,
) -> DemoDocument:
    """Run the whole story on real rows: contribute, train, ask, pay, verify.

    It takes about three minutes.
    """
    from node.demo.story import Plan, StoryFailedError, tell

    plan = Plan(rows, questions, epochs, seed, nodes=nodes)
    say = output.note if output.as_json else output.say
    try:
        if keep is not None:
            return _document(tell(plan, keep, say))
        with tempfile.TemporaryDirectory(prefix="openledger-demo-") as folder:
            return _document(tell(plan, Path(folder), say))
    except StoryFailedError as error:
        refuse(str(error))


def _document(ending: object) -> DemoDocument:
    from node.demo.story import Ending

    assert isinstance(ending, Ending), "a story ends"
    return DemoDocument(
        ending.rows,
        ending.base_loss_micronats,
        ending.adapter_loss_micronats,
        ending.questions,
        ending.receipts_verified,
        tuple(
            DemoContributor(each.name, each.address, each.rows, Planck(each.earned_planck))
            for each in ending.contributors
        ),
        Planck(ending.commons_planck),
        ending.issuance_is_conserved,
        ending.seconds,
    )
