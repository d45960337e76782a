"""The interface between the HTTP surface and a service of answers; the node implements it.

An answer is a stream: first `Begun` with the id of its attribution, then text, then `Finished` with
the attribution. Refusals are raised before `Begun`; each has its HTTP status and error code.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

FinishReason: TypeAlias = Literal["stop", "length"]
Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that is served: its id, its publication time (Unix seconds), and its owner."""

    id: str
    created: int
    owner: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A checked question: either `messages` of a chat or a plain `prompt`.

    `temperature`, `top_p` and `seed` are None where the client sent none: the voucher says how
    tokens are chosen. `voucher` is the SCALE of the payment and `salt` that of the question, both
    unverified.
    """

    model: str
    messages: tuple[Message, ...]
    prompt: str
    max_tokens: int
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    voucher: bytes | None
    salt: bytes | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer is accepted and paid for; its attribution will have this id."""

    attribution_id: str


@dataclass(frozen=True, slots=True)
class Delta:
    """The next text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer, with its attribution."""

    reason: FinishReason
    tokens_in: int
    tokens_out: int
    attribution: Mapping[str, Json]


AnswerEvent: TypeAlias = Begun | Delta | Finished


class AnswerRefusedError(Exception):
    """A question is not answered; the message is for the client."""

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None


class ModelUnknownError(AnswerRefusedError):
    """The model does not exist or the client may not use it; a response does not say which."""

    status = 404
    code = "model_not_found"


class VoucherMissingError(AnswerRefusedError):
    """The model has a price and the request no voucher, or no salt of its question."""

    status = 402
    kind = "payment_required"
    code = "voucher_missing"


class VoucherRefusedError(AnswerRefusedError):
    """The voucher does not pay for this answer; the message says why."""

    status = 402
    kind = "payment_required"
    code = "voucher_refused"


class ChannelBusyError(VoucherRefusedError):
    """The channel pays for another answer now."""

    status = 409
    code = "channel_busy"


class ContextExceededError(AnswerRefusedError):
    """Question and answer do not fit the model's context."""

    code = "context_length_exceeded"


class ServiceBusyError(AnswerRefusedError):
    """Too many answers are waiting."""

    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class AnswerService(Protocol):
    """The answers of a node."""

    async def models(self) -> Sequence[ModelCard]:
        """Return the models that are served."""

    def stream_answer(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent, None]:
        """Yield Begun, any number of Delta, then Finished. Raises AnswerRefusedError before Begun.

        The generator is closed when the client disconnects; it must then free its resources.
        """

    async def attribution(
        self, attribution_id: str, salt: bytes | None
    ) -> Mapping[str, Json] | None:
        """Return the attribution of an answer, or None when there is none of that id.

        The texts are in it only where `salt` is the one that the answer was asked with.
        """

    async def channel_receipt(self, channel: int) -> bytes | None:
        """Return the SCALE of a channel's last receipt, or None when it has none here."""
