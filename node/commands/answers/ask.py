"""`openledger ask`: one paid question, its answer, and the rows behind it."""

from __future__ import annotations

import secrets
from math import isfinite

import click

from genesis.amounts import parse_amount
from node.client import Client
from node.commands.answers.answer_documents import AnswerDocument, QuoteDocument
from node.commands.answers.asking import Asker
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.lookup import find_model
from node.commands.base.output import Output
from node.commands.base.transaction import Spending, transaction_options
from runtime.shared.receipts import MILLI, SEEDS, Sampling


@click.command("ask")
@click.argument("model")
@click.argument("question")
@click.option("--deposit", default="1OPEN", show_default=True, help="For a new channel.")
@click.option("--top-up", default="0", help="What may be added to a channel that runs out.")
@click.option(
    "--max-price", help="The most that an answer may cost; a quarter of the deposit by default."
)
@click.option("--server", help="The account that answers, where the node does not tell.")
@click.option(
    "--may-draw/--no-may-draw",
    default=None,
    help="Whether your questions may be drawn for references; remembered, at first not.",
)
@click.option("--max-tokens", type=click.IntRange(1, 4_096), default=64, show_default=True)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=0.0,
    show_default=True,
    help="0 for the most probable words; above, words are drawn by chance.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0.001, 1),
    default=1.0,
    show_default=True,
    help="Draw only from the most probable tokens of this probability together.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, SEEDS - 1),
    help="What chance begins with; the same gives the same answer. At random where not given.",
)
@command_output(AnswerDocument, QuoteDocument)
@pass_client
@transaction_options
def ask_command(
    output: Output,
    client: Client,
    model: str,
    question: str,
    deposit: str,
    top_up: str,
    max_price: str | None,
    server: str | None,
    may_draw: bool | None,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    spending: Spending,
) -> QuoteDocument | None:
    """Ask MODEL (number or name) a QUESTION, pay for the answer, and see what it was made from.

    A channel to the server is opened once and then reused; --dry-run only quotes the price. What
    is promised and spent is in books beside your keys (channels/), and no server's word counts; the
    salts there are what shows you the texts again. How words are chosen is part of what you sign:
    who has the model can repeat it.
    """
    asker = Asker(
        output=output,
        client=client,
        spending=spending,
        info=find_model(client, model),
        server=server,
        top_up_planck=parse_amount(top_up),
        may_draw=may_draw,
        sampling=_sampling(temperature, top_p, seed),
        max_price_planck=None if max_price is None else parse_amount(max_price),
    )
    question.encode()  # before a channel is opened for it: bytes that are no UTF-8 are refused
    if spending.is_dry_run:
        return asker.quote(question, max_tokens)
    with asker.prepared(parse_amount(deposit)):
        answer = asker.ask([{"role": "user", "content": question}], max_tokens)
    output.show(answer, hidden=["answer"])
    return None


def _sampling(temperature: float, top_p: float, seed: int | None) -> Sampling:
    """Return how words are chosen, in the thousandths that a voucher has. Raises UsageError."""
    milli = [value * MILLI for value in (temperature, top_p)]
    if not all(isfinite(value) and abs(value - round(value)) < 1e-6 for value in milli):
        refuse("Temperature and top-p are numbers of at most three decimals, such as 0.7.")
    return Sampling(
        temperature_milli=round(milli[0]),
        top_p_milli=round(milli[1]),
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
    )
