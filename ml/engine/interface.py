"""The interface of an engine: adapters in, tokens out. It does not know texts, money or the chain.

Tokens are ids; the caller owns the tokenizer. The stop token that ended an answer arrives as the
last event with finish reason STOP and is not part of the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from runtime.shared.documents import Recipe
from runtime.shared.receipts import GREEDY, TEMPERATURE_MILLI_MAX, Sampling

ANSWER_TOKENS_MAX: Final = 4096
STOP_TOKENS_MAX: Final = 16


class FinishReason(StrEnum):
    """The cause of the end of an answer."""

    STOP = "stop"
    LENGTH = "length"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate; `adapter` None is the base model itself."""

    request_id: str
    prompt_tokens: tuple[int, ...]
    max_tokens: int
    adapter: str | None = None
    sampling: Sampling = GREEDY
    stop_tokens: tuple[int, ...] = ()
    vocabulary: int | None = None
    """Only tokens below this number are chosen: many models have rows for more than their tokenizer
    can spell. None for all."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One token with its log probability under the model; the last one has the finish reason."""

    token: int
    log_probability: float
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features and limits of an engine beyond greedy answers of its base."""

    mixed_adapter_batches: bool
    seeded_sampling: bool
    log_probabilities: bool
    rank_max: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Counters of an engine since its start; the first four are of the moment."""

    running: int
    waiting: int
    adapters_registered: int
    adapters_resident: int
    adapter_loads: int
    adapter_evictions: int
    requests_finished: int
    requests_aborted: int
    tokens_generated: int
    steps: int


class EngineError(Exception):
    """An engine refused a request; the subclass names the cause."""


class AdapterUnknownError(EngineError):
    """No adapter of that name is registered."""


class AdapterExistsError(EngineError):
    """Another adapter of that name is registered."""


class AdapterInUseError(EngineError):
    """An adapter cannot be removed while answers use it."""


class AdaptersFullError(EngineError):
    """No more adapters can be registered."""


class QueueFullError(EngineError):
    """The queue of waiting answers is full."""


class RequestInvalidError(EngineError):
    """A request that no engine can serve."""


class RequestDuplicateError(EngineError):
    """The request id is that of an unfinished answer."""


class EngineClosedError(EngineError):
    """The engine is shutting down or was never started."""


class Engine(Protocol):
    """Serves answers of one base with any of its registered adapters."""

    @property
    def capabilities(self) -> Capabilities:
        """The features and limits of this engine."""

    async def register(self, adapter_id: str, adapter: bytes, recipe: Recipe) -> None:
        """Check an adapter file and make it available.

        Raises AdapterRefusedError (ml.adapters), AdapterExistsError, AdaptersFullError.
        """

    async def unregister(self, adapter_id: str) -> None:
        """Remove an adapter. Raises AdapterUnknownError, AdapterInUseError."""

    def adapters(self) -> tuple[str, ...]:
        """Return the names of the registered adapters, sorted."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[TokenEvent, None]:
        """Yield the tokens of an answer; closing the generator frees its resources.

        Raises RequestInvalidError, RequestDuplicateError, AdapterUnknownError, QueueFullError,
        EngineClosedError.
        """

    def abort(self, request_id: str) -> None:
        """End an answer early with a last event ABORTED. An unknown id has already ended."""

    def statistics(self) -> EngineStatistics:
        """Return the counters of the engine."""

    async def close(self) -> None:
        """Abort all answers and free every resource."""


def check_request(request: GenerationRequest, capabilities: Capabilities, vocabulary: int) -> None:
    """Refuse a request outside the limits. Raises RequestInvalidError."""
    if not request.prompt_tokens:
        raise RequestInvalidError("The prompt has no token. Ask something.")
    if not all(0 <= token < vocabulary for token in request.prompt_tokens):
        raise RequestInvalidError("The prompt has a token that the model does not know.")
    if not 1 <= request.max_tokens <= ANSWER_TOKENS_MAX:
        raise RequestInvalidError(f"An answer has 1 to {ANSWER_TOKENS_MAX} tokens at most.")
    if len(request.prompt_tokens) + request.max_tokens > capabilities.context_tokens:
        raise RequestInvalidError(
            f"Prompt ({len(request.prompt_tokens)}) and answer ({request.max_tokens}) exceed the "
            f"model's context of {capabilities.context_tokens} tokens. Shorten one of them."
        )
    if not request.sampling.is_allowed:
        raise RequestInvalidError(
            f"The temperature lies between 0 and {TEMPERATURE_MILLI_MAX / 1000:g}, top_p above 0 "
            "and at most 1."
        )
    if len(request.stop_tokens) > STOP_TOKENS_MAX:
        raise RequestInvalidError(f"There can be {STOP_TOKENS_MAX} stop tokens at most.")
