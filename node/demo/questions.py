"""The story's questions: an asker pays for answers by vouchers and gets a receipt for each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from genesis.amounts import format_amount
from node.client.answer_events import Answer
from node.client.asker_ledger import AskerLedger
from node.client.promises import rates_of, sign_promise
from node.client.token_counts import tokens_in_at_most
from node.demo.contributors import HONEST, Contributor
from node.demo.stage import ASKER, StoryFailedError, StoryStage, event_of
from node.demo.training import MODEL_NAME, Model
from pallets.inference import DEPOSIT_MIN
from runtime.crypto.keys import Keypair
from runtime.types.primitives import AccountId, Hash, Id

ANSWER_TOKENS: Final = 32
SERVER: Final = AccountId(Keypair.from_uri("//Alice").account)


def ask(stage: StoryStage, model: Model, questions: Sequence[str]) -> list[Hash]:
    """Ask all questions over one payment channel; return the receipts of the answers."""
    stage.print_line("\n4. Zoe (sr25519) opens a channel and asks; each answer leaves a receipt")
    rates = rates_of(stage.client, model.number)
    prices = [rates.fee(tokens_in_at_most(question), ANSWER_TOKENS) for question in questions]
    included = stage.send(
        ASKER,
        "Inference",
        "open_channel",
        model=model.number,
        server=Id(SERVER),
        deposit=max(DEPOSIT_MIN, sum(prices)),
    )
    channel = int(event_of(included, "ChannelOpened").channel)
    asker = AccountId(ASKER.account)
    ledger = AskerLedger(stage.keys_folder, stage.client.genesis_hash, asker)
    ledger.begin(channel, SERVER, model.number)
    return [_ask_question(stage, ledger, channel, question) for question in questions]


def choose_questions(people: Sequence[Contributor], count: int, seed: int) -> list[str]:
    """Return the prompts of rows of the honest contributors in turn."""
    source = random.Random(seed)  # noqa: S311 - a choice of questions
    honest = people[: len(HONEST)]
    return [source.choice(honest[number % len(honest)].rows).prompt for number in range(count)]


def _ask_question(stage: StoryStage, ledger: AskerLedger, channel: int, question: str) -> Hash:
    """Pay for one answer, check its receipt and print both; returns the receipt's id."""
    client, book = stage.client, ledger.get(channel)
    assert book is not None, "opened for these questions"
    promise = sign_promise(
        client,
        ASKER,
        number=channel,
        channel=client.api("InferenceApi_channel", channel),
        book=book,
        question=question,
        max_tokens=ANSWER_TOKENS,
        may_draw=False,
    )
    ledger.promise(channel, promise)
    messages = [{"role": "user", "content": question}]
    for piece in client.serving.chat(
        MODEL_NAME,
        messages,
        promise.signed,
        promise.salt,
        max_tokens=ANSWER_TOKENS,
    ):
        if isinstance(piece, Answer):
            assert piece.receipt is not None, "a paid answer has a receipt"
            ledger.settle(channel, client.serving.receipt(piece.receipt).signed)
            _print_answer(stage, question, piece)
            return piece.receipt
    raise StoryFailedError("The answer ended without its last event.")


def _print_answer(stage: StoryStage, question: str, answer: Answer) -> None:
    first = " ".join(question.split())[:72]
    text = " ".join(answer.text.split())[:100]
    fee = format_amount(int(answer.attribution["fee_planck"]))
    stage.print_line(f"   Q {first}\n     {text}")
    rows = answer.attribution["rows"][:2]
    for row in rows:
        name = " ".join(str(row.get("prompt", "")).split())[:56]
        stage.print_line(f"     <- row {row['row']:>5}  score {int(row['score']):>9,}  {name}")
    stage.print_line(f"     {fee}, receipt {answer.attribution['receipt'][:18]}...")
