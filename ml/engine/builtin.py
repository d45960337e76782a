"""The built-in engine: continuous batching of many adapters over one base, on trio.

Answers wait in a bounded queue, are added to the batch between steps as lanes and slots allow, and
are removed when they end. Each step runs on a worker thread; the event loop only passes tokens on.
A closed or cancelled answer frees its lane, its keys and values, and its pin on the adapter before
the next step. Nothing spins: the loop sleeps until a request arrives.

Only `ml.engine.lora` decides how a batch applies its adapters (in segments of equal slots).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Protocol

import trio
from torch import nn
from transformers import PreTrainedModel

from ml.adapters.validation import check_adapter
from ml.base.limits import context_tokens
from ml.base.sampling import Sampler
from ml.engine.batch import Lane, RunningBatch
from ml.engine.interface import (
    AdapterExistsError,
    AdapterInUseError,
    AdaptersFullError,
    AdapterUnknownError,
    Capabilities,
    EngineClosedError,
    EngineStatistics,
    FinishReason,
    GenerationRequest,
    QueueFullError,
    RequestDuplicateError,
    TokenEvent,
    check_request,
)
from ml.engine.lora import RANK_BUCKETS, SLOTS_DEFAULT, Adapter, AdapterSlots, BatchPlan, install
from runtime.shared.documents import Recipe

LANES_DEFAULT: Final = 16
WAITING_DEFAULT: Final = 64
ADAPTERS_MAX: Final = 1024


class TaskStatus(Protocol):
    """The part of trio's TaskStatus that reports a started task as ready."""

    def started(self) -> None:
        """Let `nursery.start` return."""


@dataclass(slots=True, eq=False)
class _Answer:
    """A request with the channel to its client; `lane` is set once it is in the batch."""

    request: GenerationRequest
    adapter: Adapter | None
    events: trio.MemorySendChannel[TokenEvent]
    lane: Lane | None = None
    is_over: bool = False


class BuiltinEngine:
    """Serves one base; start `run` in a nursery before the first request."""

    def __init__(
        self,
        model: PreTrainedModel,
        lanes: int = LANES_DEFAULT,
        waiting: int = WAITING_DEFAULT,
        slots: int = SLOTS_DEFAULT,
    ) -> None:
        """Own the model from now on: its linear layers are replaced, its weights stay."""
        self._model: nn.Module = model
        self._model.train(False).requires_grad_(False)
        self._pretrained = model
        self._plan = BatchPlan()
        self._slots = AdapterSlots(install(model, self._plan, slots), slots)
        self._batch = RunningBatch(model, self._plan)
        self._lanes_max, self._waiting_max = lanes, waiting
        self._adapters: dict[str, Adapter] = {}
        self._answers: dict[str, _Answer] = {}
        self._waiting: deque[_Answer] = deque()
        self._wake = trio.Event()
        self._is_running = self._is_closing = False
        self._finished = self._aborted = self._tokens = self._steps = 0
        # One model, one thread at a time: steps and slot loads never overlap.
        self._worker = trio.CapacityLimiter(1)
        self._stopped = trio.Event()

    @property
    def capabilities(self) -> Capabilities:
        """The features and limits of this engine."""
        return Capabilities(
            mixed_adapter_batches=True,
            seeded_sampling=True,
            log_probabilities=True,
            rank_max=RANK_BUCKETS[-1],
            context_tokens=context_tokens(self._pretrained.config),
        )

    # ------------------------------------------------------------------------------------ adapters

    async def register(self, adapter_id: str, adapter: bytes, recipe: Recipe) -> None:
        """Check an adapter file and make it available.

        Raises AdapterRefusedError (ml.adapters), AdapterExistsError, AdaptersFullError.
        """
        self._require_new(adapter_id)
        tensors = await trio.to_thread.run_sync(check_adapter, adapter, recipe, self._pretrained)
        self._require_new(adapter_id)
        dtype = next(self._model.parameters()).dtype
        self._adapters[adapter_id] = Adapter(
            adapter_id,
            recipe.rank,
            recipe.alpha / recipe.rank,
            {name: tensor.to(dtype) for name, tensor in tensors.items()},
        )

    async def unregister(self, adapter_id: str) -> None:
        """Remove an adapter. Raises AdapterUnknownError, AdapterInUseError."""
        adapter = self._adapter(adapter_id)
        if any(answer.adapter is adapter for answer in self._answers.values()):
            raise AdapterInUseError(
                f"Answers are being made with {adapter_id}. Wait or abort them."
            )
        del self._adapters[adapter_id]
        # An answer that has just ended may have its pin until the next step, which then evicts.
        if adapter.pins == 0:
            self._slots.evict(adapter)

    def adapters(self) -> tuple[str, ...]:
        """Return the names of the registered adapters, sorted."""
        return tuple(sorted(self._adapters))

    def _adapter(self, adapter_id: str) -> Adapter:
        if adapter_id not in self._adapters:
            raise AdapterUnknownError(f"No adapter {adapter_id} is registered. Register it first.")
        return self._adapters[adapter_id]

    def _require_new(self, adapter_id: str) -> None:
        if adapter_id in self._adapters:
            raise AdapterExistsError(f"An adapter {adapter_id} is registered. Unregister it first.")
        if len(self._adapters) >= ADAPTERS_MAX:
            raise AdaptersFullError(
                f"{ADAPTERS_MAX} adapters are registered. Unregister one first."
            )

    # ------------------------------------------------------------------------------------- answers

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TokenEvent, None]:
        """Yield the tokens of an answer; closing the generator frees its resources.

        Raises RequestInvalidError, RequestDuplicateError, AdapterUnknownError, QueueFullError,
        EngineClosedError.
        """
        check_request(request, self.capabilities, self._pretrained.config.vocab_size)
        if self._is_closing or not self._is_running:
            raise EngineClosedError("The engine is not running. Start it and ask again.")
        if request.request_id in self._answers:
            raise RequestDuplicateError(
                f"The request {request.request_id} is already being answered."
            )
        if len(self._waiting) >= self._waiting_max:
            raise QueueFullError(f"{self._waiting_max} answers are waiting. Ask again in a moment.")
        adapter = None if request.adapter is None else self._adapter(request.adapter)
        # Room for every token and an abort: all answers of the batch share a step, so it must never
        # wait for one slow reader.
        sending, receiving = trio.open_memory_channel[TokenEvent](request.max_tokens + 1)
        answer = _Answer(request, adapter, sending)
        self._answers[request.request_id] = answer
        self._waiting.append(answer)
        self._wake.set()
        try:
            async with receiving:
                async for event in receiving:
                    yield event
        finally:
            self._end_answer(answer)

    def abort(self, request_id: str) -> None:
        """End an answer early with a last event ABORTED. An unknown id has already ended."""
        answer = self._answers.get(request_id)
        if answer is not None and not answer.is_over:
            answer.events.send_nowait(TokenEvent(0, 0.0, FinishReason.ABORTED))
            self._end_answer(answer)

    def statistics(self) -> EngineStatistics:
        """Return the counters of the engine."""
        return EngineStatistics(
            running=len(self._batch.lanes),
            waiting=len(self._waiting),
            adapters_registered=len(self._adapters),
            adapters_resident=self._slots.resident,
            adapter_loads=self._slots.loads,
            adapter_evictions=self._slots.evictions,
            requests_finished=self._finished,
            requests_aborted=self._aborted,
            tokens_generated=self._tokens,
            steps=self._steps,
        )

    async def close(self) -> None:
        """Abort all answers and free every resource."""
        self._is_closing = True
        for request_id in list(self._answers):
            self.abort(request_id)
        self._wake.set()
        if self._is_running:
            await self._stopped.wait()

    def _end_answer(self, answer: _Answer, is_finished: bool = False) -> None:
        """Remove an answer from the queue and the index; the next step removes its lane."""
        if answer.is_over:
            return
        answer.is_over = True
        answer.events.close()
        self._answers.pop(answer.request.request_id, None)
        if answer in self._waiting:
            self._waiting.remove(answer)
        self._finished += is_finished
        self._aborted += not is_finished
        self._wake.set()

    # ---------------------------------------------------------------------------------------- loop

    async def run(self, task_status: TaskStatus = trio.TASK_STATUS_IGNORED) -> None:
        """Decode answers until `close`."""
        if self._is_running or self._is_closing:
            raise EngineClosedError("An engine runs once. Make another one.")
        self._is_running = True
        task_status.started()
        running: list[_Answer] = []
        try:
            while not self._is_closing:
                await self._step(running)
        finally:
            self._is_closing = True
            for answer in list(self._answers.values()):
                self._end_answer(answer)
            for answer in running:
                self._release_adapter(answer)
            self._batch = RunningBatch(self._model, self._plan)
            self._is_running = False
            self._stopped.set()

    async def _step(self, running: list[_Answer]) -> None:
        # A fresh event before the state is read: a wake-up after this line is not lost.
        self._wake = trio.Event()
        ended = [answer for answer in running if answer.is_over]
        for answer in ended:
            self._release_adapter(answer)
            running.remove(answer)
        admitted = self._admit_waiting(len(running))
        if not running and not admitted:
            if ended:
                self._batch.remove_lanes(list(self._batch.lanes))
            await self._wake.wait()
            return
        removed = [answer.lane for answer in ended if answer.lane is not None]
        running.extend(admitted)
        events = await trio.to_thread.run_sync(
            self._compute_step, removed, admitted, limiter=self._worker
        )
        self._steps += 1
        self._send_events(running, events)

    def _admit_waiting(self, running: int) -> list[_Answer]:
        """Remove answers from the queue while lanes are free; skip those whose slots are pinned."""
        admitted: list[_Answer] = []
        for answer in list(self._waiting):
            if running + len(admitted) >= self._lanes_max:
                break
            slot = None
            if answer.adapter is not None:
                slot = self._slots.acquire(answer.adapter)
                if slot is None:
                    continue
            request = answer.request
            sampler = Sampler(request.sampling, request.vocabulary)
            answer.lane = Lane(request, answer.adapter, slot, sampler)
            self._waiting.remove(answer)
            admitted.append(answer)
        return admitted

    def _compute_step(self, removed: list[Lane], added: list[_Answer]) -> dict[int, TokenEvent]:
        """Remove lanes, decode, add lanes, on the worker thread; events by the id of the lane."""
        if removed:
            self._batch.remove_lanes(removed)
        self._slots.load_pending()
        events: dict[int, TokenEvent] = {}
        if self._batch.lanes:
            decoded = self._batch.step()
            events = {
                id(lane): event for lane, event in zip(self._batch.lanes, decoded, strict=True)
            }
        for answer in added:
            assert answer.lane is not None
            events[id(answer.lane)] = self._batch.add_lane(answer.lane)
        return events

    def _send_events(self, running: list[_Answer], events: dict[int, TokenEvent]) -> None:
        for answer in running:
            event = events.get(id(answer.lane))
            if event is None or answer.is_over:
                continue
            self._tokens += 1
            try:
                answer.events.send_nowait(event)
            except trio.BrokenResourceError:
                self._end_answer(answer)
                continue
            if event.finish_reason is not None:
                self._end_answer(answer, is_finished=True)

    def _release_adapter(self, answer: _Answer) -> None:
        adapter = answer.adapter
        if adapter is None or answer.lane is None:
            return
        self._slots.release(adapter)
        if adapter.pins == 0 and self._adapters.get(adapter.name) is not adapter:
            self._slots.evict(adapter)
