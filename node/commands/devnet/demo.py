"""`openledger demo`: the whole story on real rows, printed as it happens on nodes of its own.

The rows are the documentation of the user's own Python. Four contributors split it by module, a
fifth submits exact copies, a sixth shuffled noise. The chain trains a model, an asker pays for
answers, OPEN flows to the rows behind them, and every receipt is replayed. Nothing is prepared:
every line is read back from the chain.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.commands.base.command import command_output, refuse
from node.commands.base.documents import Planck
from node.commands.base.output import Output

if TYPE_CHECKING:
    from node.demo.story import Ending


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

    It takes two to four minutes.
    """
    from node.demo.stage import StoryFailedError
    from node.demo.story import Plan, run_story

    plan = Plan(rows=rows, questions=questions, epochs=epochs, seed=seed, nodes=nodes)
    print_line = output.note if output.as_json else output.say
    try:
        if keep is not None:
            return _document(run_story(plan, keep, print_line))
        with tempfile.TemporaryDirectory(prefix="openledger-demo-") as folder:
            return _document(run_story(plan, Path(folder), print_line))
    except StoryFailedError as error:
        refuse(str(error))


def _document(ending: Ending) -> DemoDocument:
    return DemoDocument(
        rows=ending.rows,
        base_loss_micronats=ending.base_loss_micronats,
        adapter_loss_micronats=ending.adapter_loss_micronats,
        questions=ending.questions,
        receipts_verified=ending.receipts_verified,
        contributors=tuple(
            DemoContributor(
                name=person.name,
                account=person.address,
                rows=person.rows,
                earned=Planck(person.earned_planck),
            )
            for person in ending.contributors
        ),
        commons=Planck(ending.commons_planck),
        issuance_is_conserved=ending.issuance_is_conserved,
        seconds=ending.seconds,
    )
