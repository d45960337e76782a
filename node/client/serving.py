"""Questions to a serving node: answers stream in, and end with their attribution.

The interface is OpenAI's chat completions with a voucher and its question's salt in headers; the
last event carries the attribution and the id of the receipt. Texts are shown again only to who
knows their salt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from node.client.errors import InsufficientFundsError, RequestRefusedError, UnreachableError
from node.client.transport_http import HttpTransport, json_of, refusal_of
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.codec.scale import DecodeError, codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.receipts import (
    Feedback,
    SignedFeedback,
    SignedReceipt,
    SignedVoucher,
    feedback_payload,
)
from runtime.types.primitives import AccountId, Ed25519, Hash, MultiSignature, Sr25519

VOUCHER_HEADER: Final = "x-openledger-voucher"
SALT_HEADER: Final = "x-openledger-salt"
ANSWER_TIMEOUT_SECONDS: Final = 600.0
_DATA: Final = "data:"
_PAYMENT_REQUIRED: Final = 402
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of an answer, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with its attribution and the id of its receipt, where it was paid."""

    text: str
    tokens_in: int
    tokens_out: int
    attribution: Mapping[str, Any]
    receipt: Hash | None


@dataclass(frozen=True, slots=True)
class ServedReceipt:
    """A receipt as its server stores it, with the server's details of it."""

    signed: SignedReceipt
    details: Mapping[str, Any]


class Serving:
    """The serving interface of a node. Raises RequestRefusedError, UnreachableError."""

    def __init__(self, http: HttpTransport) -> None:
        self._http = http

    def models(self) -> list[Mapping[str, Any]]:
        """Return the models that the node serves."""
        answer = self._http.request("GET", "/v1/models")
        listed = _checked(answer).get("data", [])
        return list(listed)

    def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        voucher: SignedVoucher | None = None,
        salt: bytes = b"",
        **settings: Any,
    ) -> Iterator[Text | Answer]:
        """Yield the pieces of the answer as they come, then the Answer."""
        body = {"model": model, "messages": list(messages), "stream": True, **settings}
        body["stream_options"] = {"include_usage": True}
        headers = {}
        if voucher is not None:
            headers = {VOUCHER_HEADER: _voucher_text(voucher), SALT_HEADER: to_hex(salt)}
        streaming = self._http.stream(
            "POST",
            "/v1/chat/completions",
            json=body,
            headers=headers,
            timeout=ANSWER_TIMEOUT_SECONDS,
        )
        with streaming as answer:
            if answer.status_code >= 400:
                answer.read()
                raise _refusal(answer)
            yield from _read_events(answer)

    def channel_receipt(self, channel: int) -> SignedReceipt | None:
        """Return the last receipt of a channel; None where its server has none."""
        answer = self._http.request("GET", f"/v1/channels/{channel}/receipt")
        if answer.status_code == _NOT_FOUND:
            return None
        try:
            return codec(SignedReceipt).decode(from_hex(_checked(answer)["signed_receipt"]))
        except (DecodeError, KeyError, ValueError) as error:
            raise UnreachableError(
                f"The node's answer about channel {channel} holds no receipt ({error})."
            ) from error

    def receipt(self, receipt: Hash, salt: bytes | None = None) -> ServedReceipt:
        """Return a receipt by its id; with the texts where this is their salt."""
        headers = {} if salt is None else {SALT_HEADER: to_hex(salt)}
        answer = self._http.request("GET", f"/v1/attributions/{receipt.hex()}", headers=headers)
        details = _checked(answer)
        try:
            signed = codec(SignedReceipt).decode(from_hex(details["signed_receipt"]))
        except (DecodeError, KeyError, ValueError) as error:
            raise UnreachableError(
                f"The node's answer about receipt {receipt.hex()} holds no receipt ({error})."
            ) from error
        return ServedReceipt(signed, details)

    def feedback(self, feedback: Feedback, pair: Keypair) -> None:
        """Sign and send a verdict on an answer, by the account that asked."""
        signature = signed_with(pair, feedback_payload(feedback))
        signed = SignedFeedback(feedback, AccountId(pair.account), signature)
        body = {"proof": to_hex(codec(SignedFeedback).encode(signed))}
        _checked(self._http.request("POST", "/v1/feedback", json=body))


def signed_with(pair: Keypair, payload: bytes) -> MultiSignature:
    """Return a key's signature over a payload, with its scheme."""
    signature = pair.sign(payload)
    return Ed25519(signature) if pair.kind is KeyKind.ED25519 else Sr25519(signature)


def _voucher_text(voucher: SignedVoucher) -> str:
    return to_hex(codec(SignedVoucher).encode(voucher))


def _read_events(answer: httpx.Response) -> Iterator[Text | Answer]:
    texts: list[str] = []
    usage: Mapping[str, Any] = {}
    attribution: Mapping[str, Any] = {}
    for line in answer.iter_lines():
        if not line.startswith(_DATA) or line[len(_DATA) :].strip() == "[DONE]":
            continue
        event = _event_of(line[len(_DATA) :])
        if "error" in event:
            raise RequestRefusedError(f"The answer broke off: {event['error']}")
        usage, attribution = event.get("usage") or usage, event.get("attribution") or attribution
        for choice in event.get("choices", []):
            piece = choice.get("delta", {}).get("content")
            if piece:
                texts.append(piece)
                yield Text(piece)
    yield _answer_of("".join(texts), usage, attribution)


def _answer_of(text: str, usage: Any, attribution: Any) -> Answer:
    try:
        receipt = attribution.get("receipt")
        return Answer(
            text=text,
            tokens_in=int(usage.get("prompt_tokens", 0)),
            tokens_out=int(usage.get("completion_tokens", 0)),
            attribution=attribution,
            receipt=None if receipt is None else Hash(from_hex(receipt)),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreachableError(f"The answer ends with what no node sends ({error}).") from error


def _event_of(text: str) -> Mapping[str, Any]:
    try:
        event = json.loads(text)
    except ValueError as error:
        raise UnreachableError(f"The answer holds an event that is no JSON ({error}).") from error
    return event if isinstance(event, dict) else {}


def _refusal(answer: httpx.Response) -> Exception:
    sentence = f"The node refused the question: {refusal_of(answer)}"
    if answer.status_code == _PAYMENT_REQUIRED:
        return InsufficientFundsError(sentence)
    return RequestRefusedError(sentence, answer.status_code)


def _checked(answer: httpx.Response) -> Any:
    if answer.status_code >= 400:
        raise _refusal(answer)
    return json_of(answer)
