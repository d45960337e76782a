"""What was sent of an answer is owed, whoever ends it, at the price that was agreed to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ml.api.service import AnswerRequest, Delta, Finished, VoucherRefusedError
from ml.engine.interface import FinishReason, GenerationRequest, TokenEvent
from node.client.asker_ledger import is_signed
from node.serving import answer_service as answer_service_module
from node.serving.answer_service import PaidAnswerService
from node.storage.receipt_store import ReceiptStore
from runtime.codec.scale import Bytes64, codec
from runtime.shared.receipts import (
    Evidence,
    Rates,
    Sampling,
    SignedReceipt,
    SignedVoucher,
    receipt_hash,
    salted_hash,
)
from runtime.types.primitives import AccountId, Hash
from tests.ml.engine.test_transcript import transcript
from tests.node.support.paid_answers import (
    CHANNEL,
    GENESIS,
    RATES,
    SALT,
    SERVER,
    open_channel,
    signed,
    voucher,
)
from tests.node.support.small_node import run

MODEL, TOKENS = 3, 12
TEXT = "twelve bytes"
PRICE = RATES.fee(0, TOKENS)
SAMPLING = Sampling(700, 900, 2**64 - 1)
"""What a request with temperature 0.7004, top_p 0.9 and seed -1 says in whole numbers."""
EVIDENCE = Evidence(bytes(4), (), (), (), 0)


class FakeNode:
    """Chain state, models and engine of one served model that answers TEXT."""

    def __init__(self) -> None:
        self.rates = RATES
        self.channel = open_channel()
        self.breaks_after: int | None = None
        self.recorded: list[SignedReceipt] = []
        self.account = AccountId(SERVER.account)
        self.genesis_hash = GENESIS
        self.best = SimpleNamespace(number=50)
        self.release = SimpleNamespace(
            model=MODEL, train_job=1, index_job=1, adapter=Hash(bytes(32))
        )

    @contextmanager
    def at(self) -> Iterator[Any]:
        info = SimpleNamespace(id=MODEL, model=SimpleNamespace(is_retired=False))
        yield SimpleNamespace(
            models=SimpleNamespace(model_named=lambda _: info),
            inference=SimpleNamespace(
                rates=lambda _: self.rates,
                channels={CHANNEL: replace(self.channel, deposit_planck=PRICE)},
                is_bonded=lambda _: True,
                redeemable=lambda *_: None,
            ),
        )

    def sign(self, message: bytes) -> Bytes64:
        return Bytes64(SERVER.sign(message))

    async def start(self, _: trio.Nursery) -> FakeNode:
        return self

    async def get(self, _: int) -> Any:
        return SimpleNamespace(
            tokenizer=None,
            adapter_id="a",
            longest_token_bytes=100,
            release=self.release,
            rows=SimpleNamespace(contributors=(), rows=()),
            evidence=lambda question, answer: EVIDENCE,
        )

    @property
    def capabilities(self) -> Any:
        return SimpleNamespace(context_tokens=100)

    async def generate(self, _: GenerationRequest) -> AsyncGenerator[TokenEvent, None]:
        for at, token in enumerate(TEXT.encode()):
            if at == self.breaks_after:
                raise RuntimeError("the engine broke down")
            await trio.lowlevel.checkpoint()
            last = FinishReason.LENGTH if at == TOKENS - 1 else None
            yield TokenEvent(token, 0.0, last)


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


def service_of(
    node: FakeNode, receipts: ReceiptStore, monkeypatch: pytest.MonkeyPatch
) -> PaidAnswerService:
    """Return the answer service of a node whose answers are TEXT."""
    transcript()  # loads torch, which takes longer than an asker waits below
    monkeypatch.setattr(answer_service_module, "Transcript", lambda *_: transcript())
    whole = cast(Any, node)
    return PaidAnswerService(
        chain=whole,
        reader=whole,
        submitter=whole,
        receipts=receipts,
        models=whole,
        redeem_blocks=300,
        on_recorded=node.recorded.append,
        owed_planck=lambda _: 0,
        open_receipts=lambda _: 0,
    )


@pytest.fixture
def answers(
    node: FakeNode, receipts: ReceiptStore, monkeypatch: pytest.MonkeyPatch
) -> PaidAnswerService:
    return service_of(node, receipts, monkeypatch)


def request() -> AnswerRequest:
    promise = voucher(limit_planck=PRICE, question=salted_hash(SALT, ""), sampling=SAMPLING)
    raw = codec(SignedVoucher).encode(signed(promise))
    return AnswerRequest("model", (), "", TOKENS, 0.7004, 0.9, -1, (), raw, SALT)


def only_receipt(receipts: ReceiptStore) -> SignedReceipt:
    (made,) = receipts.epoch_receipts(MODEL, None, 0, 9)
    assert made.is_whole
    assert is_signed(made)
    return made


def read(answers: PaidAnswerService, pieces: int, how: str = "closes") -> str:
    """Read so many pieces of an answer and go away; returns what came."""
    texts: list[str] = []

    async def ask() -> None:
        async with aclosing(answers.stream_answer(request())) as events:
            async for event in events:
                if isinstance(event, Delta):
                    texts.append(event.text)
                if isinstance(event, Delta | Finished) and len(texts) >= pieces:
                    if how == "is cancelled":
                        await trio.sleep_forever()
                    return

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            answers._nursery = nursery
            with trio.move_on_after(0.2):
                await ask()

    run(scenario)
    return "".join(texts)


@pytest.mark.parametrize("how", ["closes", "is cancelled"])
@pytest.mark.parametrize("pieces", [1, 5, TOKENS])
def test_an_asker_who_hangs_up_owes_what_was_sent(
    answers: PaidAnswerService, receipts: ReceiptStore, node: FakeNode, pieces: int, how: str
) -> None:
    text = read(answers, pieces, how)
    assert text == TEXT[:pieces]
    made = only_receipt(receipts)
    assert made.receipt.tokens_out == pieces
    assert made.receipt.answer == salted_hash(SALT, text)
    assert made.receipt.fee_planck == RATES.fee(0, pieces)
    assert made.ends_planck == RATES.fee(0, pieces)
    shown = receipts.shown(receipt_hash(made.receipt))
    assert shown is not None
    assert (shown.answer, shown.tokens) == (text, tuple(text.encode()))
    assert node.recorded == [made]
    assert not answers._vouchers._busy


def test_an_answer_whose_channel_closes_ends_with_a_receipt_for_what_was_sent(
    answers: PaidAnswerService,
    receipts: ReceiptStore,
    node: FakeNode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_service_module, "LOOK_TOKENS", 4)
    generate = node.generate

    async def closes_meanwhile(request: GenerationRequest) -> AsyncGenerator[TokenEvent, None]:
        async with aclosing(generate(request)) as events:
            async for event in events:
                yield event
                node.channel = open_channel(closes_at=100)

    monkeypatch.setattr(node, "generate", closes_meanwhile)
    assert read(answers, TOKENS + 1) == TEXT[:4]
    assert only_receipt(receipts).receipt.tokens_out == 4


@pytest.mark.parametrize("name", ["att-", "hash"])
def test_texts_are_shown_only_to_who_knows_their_salt(
    answers: PaidAnswerService, receipts: ReceiptStore, name: str
) -> None:
    read(answers, TOKENS)
    identity = receipt_hash(only_receipt(receipts).receipt)
    stored = receipts.get(identity)
    assert stored is not None
    asked = identity.hex() if name == "hash" else stored.identity

    async def scenario() -> None:
        for wrong in (None, b"", bytes(32)):
            document = await answers.attribution(asked, wrong)
            assert document is not None
            assert "answer" not in document
            assert TEXT not in str(document)
        document = await answers.attribution(asked, SALT)
        assert document is not None
        assert (document["question"], document["answer"]) == ("", TEXT)
        last = await answers.channel_receipt(CHANNEL)
        assert last == codec(SignedReceipt).encode(only_receipt(receipts))
        assert await answers.channel_receipt(CHANNEL + 1) is None

    run(scenario)


def test_a_server_killed_between_signing_and_storing_has_sent_no_receipt(
    answers: PaidAnswerService, receipts: ReceiptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the voucher may be asked with again, and there is never a second receipt for it."""
    finished: list[Finished] = []

    async def ask() -> None:
        async with aclosing(answers.stream_answer(request())) as events:
            async for event in events:
                if isinstance(event, Finished):
                    finished.append(event)

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            answers._nursery = nursery
            with monkeypatch.context() as dying:
                dying.setattr(receipts, "record", died)
                with pytest.raises(OSError, match="died"):
                    await ask()
            await ask()
            with pytest.raises(VoucherRefusedError, match="given already"):
                await ask()

    def died(_: object) -> None:
        raise OSError("died")

    run(scenario)
    assert len(finished) == 1
    only_receipt(receipts)


def test_an_engine_that_breaks_down_leaves_a_receipt_for_what_was_sent(
    answers: PaidAnswerService, receipts: ReceiptStore, node: FakeNode
) -> None:
    node.breaks_after = 3
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError), flatten_subgroups=True):
        read(answers, TOKENS)
    made = only_receipt(receipts)
    assert (made.receipt.tokens_out, made.receipt.fee_planck) == (3, RATES.fee(0, 3))


def test_an_answer_without_a_word_costs_nothing(
    answers: PaidAnswerService, receipts: ReceiptStore, node: FakeNode
) -> None:
    node.breaks_after = 0
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError), flatten_subgroups=True):
        read(answers, TOKENS)
    assert receipts.last(CHANNEL) is None
    node.breaks_after = None
    read(answers, TOKENS)
    assert only_receipt(receipts).sequence == 1, "its voucher pays for another try"


@pytest.mark.parametrize("how", ["closes", "is cancelled"])
def test_rates_that_rise_while_an_answer_runs_are_for_later_answers(
    answers: PaidAnswerService, receipts: ReceiptStore, node: FakeNode, how: str
) -> None:
    generate = node.generate

    async def raising(wanted: GenerationRequest) -> AsyncGenerator[TokenEvent, None]:
        async with aclosing(generate(wanted)) as events:
            async for event in events:
                node.rates = Rates(10**30, 10**30, 10**30)
                yield event

    node.generate = raising  # type: ignore[method-assign]
    read(answers, TOKENS, how)
    assert only_receipt(receipts).receipt.fee_planck == PRICE
