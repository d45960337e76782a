"""Questions to a serving node: answers stream in, and end with their attribution.

The interface is OpenAI's chat completions with a voucher and its question's salt in headers; the
last event carries the attribution and the id of the receipt. Texts are shown again only to who
knows their salt. A server may be hostile: whatever it sends, the asker gets it in its type or as
one error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from node.client.answer_events import Answer, Text, is_count, is_unicode, read_events
from node.client.errors import InsufficientFundsError, RequestRefusedError, UnreachableError
from node.client.transport_http import HttpTransport, json_of, read_bounded, refusal_of
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
_PAYMENT_REQUIRED: Final = 402
_NOT_FOUND: Final = 404


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
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise UnreachableError("The node's list of models is none. Check the address.")
        return listed

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
                raise _refusal(read_bounded(answer))
            yield from read_events(answer.iter_bytes())

    def channel_receipt(self, channel: int) -> SignedReceipt | None:
        """Return the last receipt of a channel; None where its server has none."""
        answer = self._http.request("GET", f"/v1/channels/{channel}/receipt")
        if answer.status_code == _NOT_FOUND:
            return None
        return _signed_in(_checked(answer), f"channel {channel}")

    def receipt(self, receipt: Hash, salt: bytes | None = None) -> ServedReceipt:
        """Return a receipt by its id; with the texts where this is their salt."""
        headers = {} if salt is None else {SALT_HEADER: to_hex(salt)}
        answer = self._http.request("GET", f"/v1/attributions/{receipt.hex()}", headers=headers)
        details = _checked(answer)
        what = f"receipt {receipt.hex()}"
        return ServedReceipt(_signed_in(details, what), _checked_details(details, what))

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


def _signed_in(document: Mapping[str, Any], what: str) -> SignedReceipt:
    try:
        return codec(SignedReceipt).decode(from_hex(document["signed_receipt"]))
    except (DecodeError, KeyError, ValueError, AttributeError) as error:
        raise UnreachableError(
            f"The node's answer about {what} holds no receipt ({error!s:.200})."
        ) from error


def _checked_details(details: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Return the details of a receipt, each of the type that a node gives it."""
    rows, epoch = details.get("rows", []), details.get("epoch")
    texts = [details.get(name) for name in ("question", "answer")]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        rows, epoch = [], "none"
    for row in rows:
        texts += [row.get("contributor"), row.get("prompt")]
    if (
        not all(text is None or is_unicode(text) for text in texts)
        or not all(is_count(row.get("row")) for row in rows)
        or not (epoch is None or is_count(epoch))
    ):
        raise UnreachableError(f"The node's answer about {what} holds what no node sends.")
    return details


def _refusal(answer: httpx.Response) -> Exception:
    sentence = f"The node refused the question: {refusal_of(answer)}"
    if answer.status_code == _PAYMENT_REQUIRED:
        return InsufficientFundsError(sentence)
    return RequestRefusedError(sentence, answer.status_code)


def _checked(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.status_code >= 400:
        raise _refusal(answer)
    document = json_of(answer)
    if not isinstance(document, dict):
        raise UnreachableError("The node's answer is no JSON object. Check the address.")
    return document
