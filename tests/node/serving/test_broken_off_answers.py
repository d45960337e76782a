"""What was sent of an answer is owed, whoever ends it, at the price that was agreed to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ml.api.service import AnswerRequest, Delta, Finished
from ml.engine.interface import FinishReason, GenerationRequest, TokenEvent
from node.serving import answer_service as answer_service_module
from node.serving.answer_service import PaidAnswerService
from node.serving.served_models import Evidence
from node.storage.receipt_store import ReceiptStore
from pallets.inference import Channel
from pallets.inference.records import Rates
from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.shared.receipts import SignedVoucher, Voucher, voucher_payload
from runtime.shared.shares import PERMILLE
from runtime.types.primitives import AccountId, Bytes64, Ed25519, Hash
from tests.ml.engine.test_transcript import transcript
from tests.node.support.small_node import run

ASKER, SERVER = Keypair.from_uri("//Asker"), Keypair.from_uri("//Server")
GENESIS = Hash(b"g" * 32)
MODEL, CHANNEL, TOKENS = 1, 7, 12
TEXT = "twelve bytes"
RATES = Rates(rate_in_planck=0, rate_out_planck=2_000, platform_fee_planck=5)
PRICE = RATES.fee(0, TOKENS)


class FakeNode:
    """Chain state, models and engine of one served model that answers TEXT."""

    def __init__(self) -> None:
        self.rates = RATES
        self.breaks_after: int | None = None
        self.account = AccountId(SERVER.account)
        self.genesis_hash = GENESIS
        self.release = SimpleNamespace(
            model=MODEL, train_job=0, index_job=1, adapter=Hash(bytes(32))
        )

    @contextmanager
    def at(self) -> Iterator[Any]:
        channel = Channel(AccountId(ASKER.account), self.account, MODEL, PRICE, 0, None)
        info = SimpleNamespace(id=MODEL, model=SimpleNamespace(is_retired=False))
        yield SimpleNamespace(
            models=SimpleNamespace(model_named=lambda _: info),
            inference=SimpleNamespace(
                rates=lambda _: self.rates,
                channels={CHANNEL: channel},
                current_parameters=lambda: SimpleNamespace(contributors_permille=500),
            ),
            attribution=SimpleNamespace(pool=lambda _: SimpleNamespace(epoch=0)),
        )

    def sign(self, message: bytes) -> Bytes64:
        return Bytes64(SERVER.sign(message))

    async def start(self, _: trio.Nursery) -> FakeNode:
        return self

    async def get(self, _: int) -> Any:
        evidence = Evidence(bytes(4), (), (), 0)
        return SimpleNamespace(
            tokenizer=None,
            adapter_id="a",
            longest_token_bytes=100,
            release=self.release,
            rows=SimpleNamespace(contributors=(), rows=()),
            evidence=lambda question, answer: evidence,
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


@pytest.fixture
def answers(
    node: FakeNode, receipts: ReceiptStore, monkeypatch: pytest.MonkeyPatch
) -> PaidAnswerService:
    monkeypatch.setattr(answer_service_module, "Transcript", lambda *_: transcript())
    whole = cast(Any, node)
    return PaidAnswerService(whole, whole, whole, receipts, whole)


def request() -> AnswerRequest:
    promise = Voucher(GENESIS, CHANNEL, PRICE)
    signed = SignedVoucher(
        promise, AccountId(ASKER.account), Ed25519(ASKER.sign(voucher_payload(promise)))
    )
    raw = codec(SignedVoucher).encode(signed)
    return AnswerRequest("model", (), "", TOKENS, 0.0, 1.0, 1, (), raw)


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
    answers: PaidAnswerService, receipts: ReceiptStore, pieces: int, how: str
) -> None:
    text = read(answers, pieces, how)
    assert text == TEXT[:pieces]
    (signed,) = receipts.receipts(MODEL, 0)
    assert signed.receipt.tokens_out == pieces
    assert signed.receipt.answer == blake2b_256(text.encode())
    assert signed.receipt.fee_planck == RATES.fee(0, pieces)
    record = receipts.channel(CHANNEL)
    assert record is not None
    assert record.spent_planck == RATES.fee(0, pieces)
    assert answers._vouchers._reserved == {}


def test_an_engine_that_breaks_down_leaves_a_receipt_for_what_was_sent(
    answers: PaidAnswerService, receipts: ReceiptStore, node: FakeNode
) -> None:
    node.breaks_after = 3
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError), flatten_subgroups=True):
        read(answers, TOKENS)
    (signed,) = receipts.receipts(MODEL, 0)
    assert (signed.receipt.tokens_out, signed.receipt.fee_planck) == (3, RATES.fee(0, 3))


def test_an_answer_without_a_word_costs_nothing(
    answers: PaidAnswerService, receipts: ReceiptStore, node: FakeNode
) -> None:
    node.breaks_after = 0
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError), flatten_subgroups=True):
        read(answers, TOKENS)
    assert receipts.receipts(MODEL, 0) == ()
    assert receipts.channel(CHANNEL) is None


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
    (signed,) = receipts.receipts(MODEL, 0)
    assert signed.receipt.fee_planck == PRICE
    assert signed.receipt.contributor_fee_planck == PRICE * 500 // PERMILLE
