"""The story's questions: an asker pays for answers by vouchers and gets a receipt for each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from genesis.amounts import format_amount
from node.client.serving import Answer, signed_with
from node.demo.contributors import HONEST, Contributor
from node.demo.stage import ASKER, StoryFailedError, StoryStage, event_of
from node.demo.training import MODEL_NAME, Model
from pallets.inference import DEPOSIT_MIN
from runtime.crypto.keys import Keypair
from runtime.shared.receipts import SignedVoucher, Voucher, voucher_payload
from runtime.types.primitives import AccountId, Hash, Id

ANSWER_TOKENS: Final = 32
SERVER: Final = AccountId(Keypair.from_uri("//Alice").account)


def ask(stage: StoryStage, model: Model, questions: Sequence[str]) -> list[Hash]:
    """Ask all questions over one payment channel; return the receipts of the answers."""
    stage.print_line("\n4. Zoe (sr25519) opens a channel and asks; each answer leaves a receipt")
    price = stage.client.api("InferenceApi_quote", model.number, 256, ANSWER_TOKENS)
    deposit = max(DEPOSIT_MIN, price * (len(questions) + 1))
    included = stage.send(
        ASKER,
        "Inference",
        "open_channel",
        model=model.number,
        server=Id(SERVER),
        deposit=deposit,
    )
    channel = int(event_of(included, "ChannelOpened").channel)
    spent = 0
    receipts: list[Hash] = []
    for question in questions:
        answer = _ask_question(stage, channel, question, spent + price)
        spent += int(answer.attribution["fee_planck"])
        assert answer.receipt is not None, "a paid answer has a receipt"
        receipts.append(answer.receipt)
        _print_answer(stage, question, answer)
    return receipts


def choose_questions(people: Sequence[Contributor], count: int, seed: int) -> list[str]:
    """Return the prompts of rows of the honest contributors in turn."""
    source = random.Random(seed)  # noqa: S311 - a choice of questions
    honest = people[: len(HONEST)]
    return [source.choice(honest[number % len(honest)].rows).prompt for number in range(count)]


def _ask_question(stage: StoryStage, channel: int, question: str, cumulative: int) -> Answer:
    voucher = Voucher(stage.client.genesis_hash, channel, cumulative)
    signed = SignedVoucher(
        voucher, AccountId(ASKER.account), signed_with(ASKER, voucher_payload(voucher))
    )
    messages = [{"role": "user", "content": question}]
    for piece in stage.client.serving.chat(
        MODEL_NAME, messages, signed, max_tokens=ANSWER_TOKENS, temperature=0
    ):
        if isinstance(piece, Answer):
            return piece
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
