"""The JSON shapes of OpenAI's API, with our top-level `attribution` object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ml.api.service import AnswerRefusedError, Finished, Json, ModelCard

JsonObject = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """What all bodies and chunks of one answer share."""

    attribution_id: str
    model: str
    created: int
    is_chat: bool

    def body(self, text: str, finished: Finished) -> JsonObject:
        """Return the whole answer at once."""
        choice: dict[str, Json] = {
            "index": 0,
            "finish_reason": finished.reason,
            "logprobs": None,
        }
        if self.is_chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        return {
            **self._head("chat.completion", "text_completion"),
            "choices": [choice],
            "usage": usage(finished),
            "attribution": finished.attribution,
        }

    def opening(self) -> JsonObject | None:
        """Return the chunk that names the role; plain completions have none."""
        if not self.is_chat:
            return None
        return self._chunk({"role": "assistant", "content": ""}, None)

    def delta(self, text: str) -> JsonObject:
        """Return a chunk with more text."""
        return self._chunk({"content": text} if self.is_chat else text, None)

    def closing(self, finished: Finished, wants_usage: bool) -> list[JsonObject]:
        """Return the last chunks; the very last one carries the attribution."""
        end = self._chunk({} if self.is_chat else "", finished.reason)
        attribution = {"attribution": finished.attribution}
        if not wants_usage:
            return [{**end, **attribution}]
        head = self._head("chat.completion.chunk", "text_completion")
        return [end, {**head, "choices": [], "usage": usage(finished), **attribution}]

    def _chunk(self, content: Json, reason: str | None) -> JsonObject:
        choice: dict[str, Json] = {"index": 0, "finish_reason": reason, "logprobs": None}
        choice["delta" if self.is_chat else "text"] = content
        return {**self._head("chat.completion.chunk", "text_completion"), "choices": [choice]}

    def _head(self, chat: str, plain: str) -> dict[str, Json]:
        return {
            "id": f"{'chatcmpl' if self.is_chat else 'cmpl'}-{self.attribution_id}",
            "object": chat if self.is_chat else plain,
            "created": self.created,
            "model": self.model,
        }


def usage(finished: Finished) -> JsonObject:
    """Return the token counts of an answer."""
    return {
        "prompt_tokens": finished.tokens_in,
        "completion_tokens": finished.tokens_out,
        "total_tokens": finished.tokens_in + finished.tokens_out,
    }


def model_object(card: ModelCard) -> JsonObject:
    """Return one model as /v1/models lists it."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owner,
    }


def error_object(
    message: str, kind: str, code: str | None = None, parameter: str | None = None
) -> JsonObject:
    """Return an error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


def refusal_object(refusal: AnswerRefusedError) -> JsonObject:
    """Return the error of a refused question."""
    parameter = "model" if refusal.status == 404 else None
    return error_object(str(refusal), refusal.kind, refusal.code, parameter)
