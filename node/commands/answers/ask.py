"""`openledger ask`: one paid question, its answer, and the rows behind it."""

from __future__ import annotations

import click

from genesis.amounts import parse_amount
from node.client import Client
from node.commands.answers.asking import AnswerDocument, Asker, QuoteDocument
from node.commands.base.command import command_output, pass_client
from node.commands.base.lookup import find_model
from node.commands.base.output import Output
from node.commands.base.transaction import Spending, transaction_options


@click.command("ask")
@click.argument("model")
@click.argument("question")
@click.option("--deposit", default="1OPEN", show_default=True, help="For a new channel.")
@click.option("--server", help="The account that answers, where the node does not tell.")
@click.option("--max-tokens", type=click.IntRange(1, 4_096), default=64, show_default=True)
@command_output(AnswerDocument, QuoteDocument)
@pass_client
@transaction_options
def ask_command(
    output: Output,
    client: Client,
    model: str,
    question: str,
    deposit: str,
    server: str | None,
    max_tokens: int,
    spending: Spending,
) -> QuoteDocument | None:
    """Ask MODEL (number or name) a QUESTION, pay for the answer, and see what it was made from.

    A channel to the server is opened once and then reused; --dry-run only quotes the price.
    """
    asker = Asker(
        output=output,
        client=client,
        spending=spending,
        info=find_model(client, model),
        server=server,
    )
    if spending.is_dry_run:
        return asker.quote(question, max_tokens)
    amount = parse_amount(deposit)
    asker.prepare(amount)
    answer = asker.ask([{"role": "user", "content": question}], max_tokens, amount)
    output.show(answer, hidden=["answer"])
    return None
