"""Every JSON document of the HTTP surface: OpenAI's shapes with a top-level `attribution` object.

No other module builds a document of an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ml.api.service import AnswerRefusedError, Finished, Json, ModelCard
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import codec
from runtime.crypto import ss58
from runtime.shared.receipts import SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
STREAM_END: Final = b"data: [DONE]\n\n"
"""The last event of OpenAI's streams."""

ROWS_SHOWN: Final = 8
PROMPT_SHOWN_CHARACTERS: Final = 160

JsonObject = Mapping[str, Json]
RowOf = Callable[[int], tuple[AccountId, str]]

_SIGNED_RECEIPT: Final = codec(SignedReceipt)


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """The fields that all documents of one answer share."""

    attribution_id: str
    model: str
    created: int
    is_chat: bool

    def body(self, text: str, finished: Finished) -> JsonObject:
        """Return the document of a whole answer."""
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
        """Return the first chunk of a chat, which has the role; plain completions have none."""
        if not self.is_chat:
            return None
        return self._chunk({"role": "assistant", "content": ""}, None)

    def delta(self, text: str) -> JsonObject:
        """Return a chunk with the next text."""
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


def model_list(cards: Iterable[ModelCard]) -> JsonObject:
    """Return the document of /v1/models."""
    return {"object": "list", "data": [model_object(card) for card in cards]}


def model_object(card: ModelCard) -> JsonObject:
    """Return the document of one model."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owner,
    }


def error_object(
    message: str, kind: str, code: str | None = None, parameter: str | None = None
) -> JsonObject:
    """Return the error document that OpenAI's clients parse."""
    return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


def refusal_object(refusal: AnswerRefusedError) -> JsonObject:
    """Return the error document of a refused question."""
    parameter = "model" if refusal.status == 404 else None
    return error_object(str(refusal), refusal.kind, refusal.code, parameter)


def invalid_request(message: str, code: str | None, parameter: str | None) -> JsonObject:
    """Return the error document of a request that is not valid."""
    return error_object(message, INVALID_REQUEST, code, parameter)


def server_failure() -> JsonObject:
    """Return the error document of a failure that is not the client's."""
    return error_object("The server failed to answer. Ask again, or another node.", SERVER_ERROR)


def stream_event(document: JsonObject) -> bytes:
    """Return a document as one server-sent event."""
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def attribution_document(
    identity: str, signed: SignedReceipt, row_of: RowOf | None, epoch: int | None = None
) -> JsonObject:
    """Return the attribution of an answer: what its receipt says, integers above 2^53 as texts.

    `row_of` gives the contributor and prompt of a row; None where the rows are not at hand. `epoch`
    is None until the receipt was closed with one.
    """
    receipt, evidence = signed.receipt, signed.evidence
    return {
        "id": identity,
        "receipt": to_hex(receipt_hash(receipt)),
        "signed_receipt": to_hex(_SIGNED_RECEIPT.encode(signed)),
        "model": signed.model,
        "adapter": to_hex(receipt.adapter),
        "epoch": epoch,
        "channel": signed.channel,
        "sequence": signed.sequence,
        "fee_planck": str(receipt.fee_planck),
        "tokens_in": receipt.tokens_in,
        "tokens_out": receipt.tokens_out,
        "remainder_permille": evidence.remainder_permille,
        "rows": [
            {
                "row": entry.row,
                "score": str(entry.score),
                **({} if row_of is None else _row_document(*row_of(entry.row))),
            }
            for entry in evidence.top[:ROWS_SHOWN]
        ],
        "spans": [
            {
                "start": span.start,
                "length": span.length,
                "row": span.row,
                "rarity_millinats": span.rarity_millinats,
            }
            for span in evidence.spans[:ROWS_SHOWN]
        ],
    }


def _row_document(contributor: AccountId, prompt: str) -> dict[str, Json]:
    return {
        "contributor": ss58.encode(contributor),
        "prompt": prompt[:PROMPT_SHOWN_CHARACTERS],
    }
