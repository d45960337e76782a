"""The answer service: a refusal of the engine comes before an answer begins, and costs nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ml.api.service import AnswerRequest, ContextExceededError, ServiceBusyError
from ml.engine.interface import (
    EngineClosedError,
    GenerationRequest,
    QueueFullError,
    RequestInvalidError,
)
from node.serving import answer_service as answer_service_module
from node.serving.answer_service import PaidAnswerService
from runtime.types.primitives import AccountId, Hash
from tests.node.support.small_node import run

REQUEST = AnswerRequest("model", (), "why?", 5, 0.0, 1.0, 1, (), None)


class Refusing:
    """Engine, models and reader in one; the engine refuses everything."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal
        self.released = 0

    @contextmanager
    def at(self) -> Iterator[Any]:
        model = SimpleNamespace(id=1, model=SimpleNamespace(is_retired=False))
        inference = SimpleNamespace(quote=lambda *_: 5)
        yield SimpleNamespace(
            models=SimpleNamespace(model_named=lambda _: model), inference=inference
        )

    async def start(self, _: trio.Nursery) -> Refusing:
        return self

    async def get(self, _: int) -> Any:
        return SimpleNamespace(tokenizer=None, adapter_id="a")

    async def generate(self, _: GenerationRequest) -> AsyncGenerator[Any, None]:
        await trio.lowlevel.checkpoint()
        raise self.refusal
        yield

    def reserve(self, *_: object) -> object:
        return object()

    def release(self, _: object) -> None:
        self.released += 1


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
    framed = SimpleNamespace(prompt_tokens=(1,), stop_tokens=())
    monkeypatch.setattr(answer_service_module, "Transcript", lambda *_: framed)
    fake = cast(Any, Refusing(refusal))
    chain: Any = SimpleNamespace(genesis_hash=Hash(bytes(32)))
    submitter: Any = SimpleNamespace(account=AccountId(bytes(32)))
    answers = PaidAnswerService(chain, fake, submitter, cast(Any, None), fake)
    answers._vouchers = fake

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            answers._nursery = nursery
            with pytest.raises(raised):
                await anext(answers.stream_answer(REQUEST))

    run(scenario)
    assert fake.released == 1


def test_a_node_that_does_not_serve_says_so() -> None:
    chain: Any = SimpleNamespace(genesis_hash=Hash(bytes(32)))
    submitter: Any = SimpleNamespace(account=AccountId(bytes(32)))
    answers = PaidAnswerService(chain, cast(Any, None), submitter, cast(Any, None), cast(Any, None))

    async def scenario() -> None:
        with pytest.raises(ServiceBusyError):
            await anext(answers.stream_answer(REQUEST))

    run(scenario)
