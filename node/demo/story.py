"""The story that `openledger demo` prints: every step uses a real node's public interface.

It signs with keys derived from the development phrase, uploads, submits, waits for finality and
reads back the chain's state. It asserts nothing that it does not print.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from node.client import Client
from node.demo.contributors import Contributor, gather
from node.demo.datanet import contribute, fund, open_datanet
from node.demo.node_process import NodeFailedError, NodeProcess
from node.demo.payouts import Earned, pay_out, settle
from node.demo.proof import check_issuance, verify
from node.demo.questions import ask, choose_questions
from node.demo.stage import ASKER, OWNER, PrintLine, StoryFailedError, StoryStage
from node.demo.training import create_model, train


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of the story and its seed."""

    rows: int
    questions: int
    epochs: int
    seed: int
    noise_rows: int = 150
    copied_rows: int = 100
    chain: str = "dev"
    nodes: int = 1
    """More than one form a cluster of validators, on a chain of their own."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The state of the chain at the end of the story."""

    rows: int
    base_loss_micronats: int
    adapter_loss_micronats: int
    questions: int
    receipts_verified: int
    contributors: tuple[Earned, ...]
    commons_planck: int
    issuance_is_conserved: bool
    seconds: int


def run_story(plan: Plan, folder: Path, print_line: PrintLine) -> Ending:
    """Start nodes in a folder, run the story on them, and stop them. Raises StoryFailedError."""
    began = time.monotonic()
    start_nodes = _one_node if plan.nodes == 1 else _cluster
    with start_nodes(plan, folder, print_line) as (url, *others):
        return run_story_at(url=url, plan=plan, print_line=print_line, began=began, others=others)


def run_story_at(
    url: str, plan: Plan, print_line: PrintLine, began: float, others: Sequence[str] = ()
) -> Ending:
    """Run the story on a development chain, at the node of //Alice, who serves the answers.

    `others` are the URLs of nodes that may compute its jobs and report their progress.
    """
    with ExitStack() as clients:
        client, *more = (clients.enter_context(Client(node_url)) for node_url in (url, *others))
        chain = client.info().chain
        print_line(f"  {chain} at {url}, genesis 0x{client.genesis_hash.hex()[:16]}...")
        books = Path(clients.enter_context(TemporaryDirectory(prefix="openledger-books-")))
        return _run_steps(plan, StoryStage(client, print_line, more, books), began)


@contextmanager
def _one_node(plan: Plan, folder: Path, print_line: PrintLine) -> Iterator[list[str]]:
    print_line("Starting a development node ...")
    try:
        with NodeProcess(folder, chain=plan.chain) as node:
            yield [node.url]
    except NodeFailedError as error:
        raise StoryFailedError(str(error)) from error


@contextmanager
def _cluster(plan: Plan, folder: Path, print_line: PrintLine) -> Iterator[list[str]]:
    from node.devnet.cluster import Cluster
    from node.devnet.errors import DevnetError

    print_line(
        f"Starting {plan.nodes} validators, each an executor; two of them answer each job ..."
    )
    try:
        cluster = Cluster.up(
            folder / "devnet", "demo", plan.nodes, say=lambda line: print_line("  " + line)
        )
    except DevnetError as error:
        raise StoryFailedError(str(error)) from error
    try:
        yield [cluster.url(number) for number in cluster.nodes]
    finally:
        cluster.down(purge=False)


def _run_steps(plan: Plan, stage: StoryStage, began: float) -> Ending:
    contributors = _gather(plan, stage)
    fund(stage, [OWNER, ASKER, *(person.pair for person in contributors)])
    datanet = open_datanet(stage)
    accepted = contribute(stage, datanet, contributors)
    model = create_model(stage, datanet)
    trained = train(stage, model, epochs=plan.epochs, seed=plan.seed)
    receipts = ask(stage, model, choose_questions(contributors, plan.questions, plan.seed))
    settle(stage, model)
    earned, commons = pay_out(stage, model, contributors, accepted)
    verified = verify(stage, receipts)
    is_conserved = check_issuance(stage)
    seconds = int(time.monotonic() - began)
    stage.print_line(f"\nThe end, after {seconds // 60} min {seconds % 60} s.")
    return Ending(
        rows=sum(accepted.values()),
        base_loss_micronats=trained.base_loss_micronats,
        adapter_loss_micronats=trained.adapter_loss_micronats,
        questions=len(receipts),
        receipts_verified=verified,
        contributors=earned,
        commons_planck=commons,
        issuance_is_conserved=is_conserved,
        seconds=seconds,
    )


def _gather(plan: Plan, stage: StoryStage) -> list[Contributor]:
    stage.print_line(
        "\n1. Rows: the documentation of your own Python, one row per function or class"
    )
    people = gather(plan.rows, plan.copied_rows, plan.noise_rows, plan.seed)
    for person in people:
        stage.print_line(f"   {person.name:<24} {len(person.rows):>5} rows")
    return people
