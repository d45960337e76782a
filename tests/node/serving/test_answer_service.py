"""The answer service: what is refused comes before an answer begins, and costs next to nothing."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ml.api.service import (
    AnswerRefusedError,
    AnswerRequest,
    ContextExceededError,
    ServiceBusyError,
    VoucherMissingError,
    VoucherRefusedError,
)
from ml.engine.interface import (
    EngineClosedError,
    GenerationRequest,
    QueueFullError,
    RequestInvalidError,
)
from node.serving import answer_service as answer_service_module
from node.serving.answer_service import PaidAnswerService
from node.serving.vouchers import Offer
from node.storage.errors import DiskLowError
from pallets.attribution.records import Parameters
from runtime.shared.receipts import Sampling
from runtime.types.primitives import AccountId, Hash
from tests.node.support.paid_answers import CHANNEL, open_channel, voucher
from tests.node.support.small_node import run

REQUEST = AnswerRequest("model", (), "why?", 5, None, None, None, (), b"voucher", b"salt")
CONTEXT_TOKENS, LONGEST_TOKEN_BYTES = 10, 4
OWED = 1_000


class Refusing:
    """Engine, models and reader in one; the engine refuses everything."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal
        self.released = 0
        self.has_room = True
        self.is_bonded = True
        self.room: int | None = None
        self.open_receipts, self.running = 0, 1
        self.used: list[str] = []
        self.voucher = voucher()

    @contextmanager
    def at(self) -> Iterator[Any]:
        model = SimpleNamespace(id=1, model=SimpleNamespace(is_retired=False))
        inference = SimpleNamespace(
            is_bonded=lambda _: self.is_bonded,
            redeemable=lambda *_: self.room,
            channels={CHANNEL: open_channel()},
        )
        yield SimpleNamespace(
            models=SimpleNamespace(model_named=lambda _: model),
            inference=inference,
            attribution=SimpleNamespace(parameters=lambda: Parameters(receipts_maximum=3)),
        )

    async def start(self, _: trio.Nursery) -> Refusing:
        self.used.append("engine")
        return self

    @property
    def capabilities(self) -> Any:
        return SimpleNamespace(context_tokens=CONTEXT_TOKENS)

    async def get(self, _: int) -> Any:
        self.used.append("model")
        return SimpleNamespace(
            tokenizer=None,
            adapter_id="a",
            longest_token_bytes=LONGEST_TOKEN_BYTES,
            release=SimpleNamespace(train_job=1),
        )

    async def generate(self, _: GenerationRequest) -> AsyncGenerator[Any, None]:
        await trio.lowlevel.checkpoint()
        raise self.refusal
        yield

    def take(self, offer: Offer, *_: object) -> Any:
        if offer.voucher is None:
            raise VoucherMissingError("nothing pays")
        return SimpleNamespace(check_price=lambda *_: None, voucher=self.voucher)

    @property
    def promised_planck(self) -> int:
        return self.voucher.price_planck

    def release(self, _: object) -> None:
        self.released += 1

    def check_room(self) -> None:
        if not self.has_room:
            raise DiskLowError("0 MiB are free on the disk of /a/folder.")


@pytest.mark.parametrize(
    ("refusal", "raised"),
    [
        (RequestInvalidError("too long"), ContextExceededError),
        (QueueFullError("busy"), ServiceBusyError),
        (EngineClosedError("closing"), ServiceBusyError),
    ],
)
def test_a_refusal_of_the_engine_comes_before_the_first_event(
    refusal: Exception, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Refusing(refusal)
    threads = _ask_refused(fake, REQUEST, raised, monkeypatch)
    assert fake.released == 1
    assert threads, "the question was tokenized"
    assert threads[0] is not threading.current_thread(), "and not on the event loop"


def test_nothing_is_loaded_or_tokenized_without_a_voucher(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Refusing(QueueFullError("busy"))
    request = replace(REQUEST, prompt="why? " * 200_000, voucher=None)
    threads = _ask_refused(fake, request, VoucherMissingError, monkeypatch)
    assert (fake.used, threads) == ([], [])


def test_no_question_is_taken_whose_receipt_the_disk_may_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Refusing(QueueFullError("busy"))
    fake.has_room = False
    threads = _ask_refused(fake, REQUEST, ServiceBusyError, monkeypatch)
    assert (fake.used, threads) == ([], [])


def test_a_node_that_is_not_bonded_refuses_and_tells_its_operator_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Refusing(QueueFullError("busy"))
    fake.is_bonded = False
    threads = _ask_refused(fake, REQUEST, ServiceBusyError, monkeypatch, times=2)
    assert (fake.used, threads) == ([], [])
    assert caplog.text.count("openledger server register") == 1


def test_an_answer_for_which_the_bond_does_not_answer_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Refusing(QueueFullError("busy"))
    fake.room = OWED + fake.voucher.price_planck - 1
    threads = _ask_refused(fake, REQUEST, ServiceBusyError, monkeypatch, times=2)
    assert (fake.used, fake.released, threads) == ([], 2, [])
    assert caplog.text.count("openledger server add-bond") == 1
    fake.room += 1
    assert _ask_refused(fake, REQUEST, ServiceBusyError, monkeypatch), "it is tokenized"


@pytest.mark.parametrize(
    ("given", "room", "is_tokenized"), [(2, 10**6, True), (3, 10**6, False), (99, None, True)]
)
def test_no_more_answers_are_given_than_an_epoch_takes(
    given: int, room: int | None, is_tokenized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Refusing(QueueFullError("busy"))
    fake.open_receipts, fake.room = given, room
    threads = _ask_refused(fake, REQUEST, ServiceBusyError, monkeypatch)
    assert (bool(threads), fake.released) == (is_tokenized, 1)


@pytest.mark.parametrize(("excess", "is_tokenized"), [(0, True), (1, False)])
def test_a_text_beyond_any_context_is_refused_before_it_is_tokenized(
    excess: int, is_tokenized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Refusing(RequestInvalidError("too long"))
    longest = CONTEXT_TOKENS * LONGEST_TOKEN_BYTES
    request = replace(REQUEST, prompt="x" * (longest + excess))
    threads = _ask_refused(fake, request, ContextExceededError, monkeypatch)
    assert bool(threads) is is_tokenized


@pytest.mark.parametrize(
    "changes", [{"temperature": 0.7}, {"top_p": 0.9}, {"seed": -1}], ids=lambda it: str(*it)
)
def test_a_request_that_says_otherwise_than_its_voucher_is_refused_before_anything_is_loaded(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Refusing(QueueFullError("busy"))
    request = replace(REQUEST, **changes)
    threads = _ask_refused(fake, request, VoucherRefusedError, monkeypatch)
    assert (fake.used, fake.released, threads) == ([], 1, [])


def test_a_request_may_repeat_what_its_voucher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Refusing(QueueFullError("busy"))
    fake.voucher = voucher(sampling=Sampling(700, 900, 2**64 - 1))
    request = replace(REQUEST, temperature=0.7, top_p=0.9, seed=-1)
    assert _ask_refused(fake, request, ServiceBusyError, monkeypatch)


def test_a_voucher_for_another_training_is_refused_before_its_question_is_tokenized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Refusing(QueueFullError("busy"))
    fake.voucher = voucher(train_job=2)
    assert _ask_refused(fake, REQUEST, VoucherRefusedError, monkeypatch) == []


def _ask_refused(
    fake: Refusing,
    request: AnswerRequest,
    raised: type[AnswerRefusedError],
    monkeypatch: pytest.MonkeyPatch,
    times: int = 1,
) -> list[threading.Thread]:
    """Ask a service over the fake; return the threads in which questions were tokenized."""
    threads: list[threading.Thread] = []

    def tokenize(*_: object) -> Any:
        threads.append(threading.current_thread())
        return SimpleNamespace(prompt_tokens=(1,), stop_tokens=(), vocabulary=2, cut=lambda: False)

    monkeypatch.setattr(answer_service_module, "Transcript", tokenize)
    whole = cast(Any, fake)
    answers = _service(whole)
    answers._vouchers = whole

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            answers._nursery = nursery
            for _ in range(times):
                with pytest.raises(raised) as refusal:
                    await anext(answers.stream_answer(request))
            assert "/a/folder" not in str(refusal.value)

    run(scenario)
    return threads


def _service(whole: Any) -> PaidAnswerService:
    head = SimpleNamespace(number=1)
    chain: Any = SimpleNamespace(genesis_hash=Hash(bytes(32)), best=head)
    submitter: Any = SimpleNamespace(account=AccountId(bytes(32)))
    return PaidAnswerService(
        chain=chain,
        reader=whole,
        submitter=submitter,
        receipts=whole,
        models=whole,
        redeem_blocks=300,
        on_recorded=lambda _: None,
        owed_planck=lambda _: OWED,
        open_receipts=lambda _: whole.open_receipts,
    )


def test_a_node_that_does_not_serve_says_so() -> None:
    answers = _service(None)

    async def scenario() -> None:
        with pytest.raises(ServiceBusyError):
            await anext(answers.stream_answer(REQUEST))

    run(scenario)
