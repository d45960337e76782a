"""Feedback on answers: POST /v1/feedback with the asker's signature over a Feedback document.

{"receipt": 0x hash, "negative": true, "signature": 0x SCALE MultiSignature}. Feedback counts until
the receipt's epoch is sealed; negative turns the sign of the answer's scores in settlement.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.receipts import ReceiptStore
from runtime.documents import Feedback, feedback_payload
from runtime.keys import KeyKind, verify
from runtime.primitives import AccountId, Ed25519, Hash, MultiSignature, Sr25519
from runtime.scale import codec

BODY_BYTES_MAX: Final = 4_096
_signature = codec(MultiSignature)


class FeedbackRefused(Exception):
    """Feedback that does not count; carries the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def feedback_routes(receipts: ReceiptStore) -> list[Route]:
    """Return the route over a receipt store."""

    async def post(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES_MAX:
                return JSONResponse({"error": "The body is too large."}, 413)
        try:
            take(receipts, body)
        except FeedbackRefused as refusal:
            return JSONResponse({"error": str(refusal)}, refusal.status)
        return JSONResponse({"status": "recorded"})

    return [Route("/v1/feedback", post, methods=["POST"])]


def take(receipts: ReceiptStore, body: bytes) -> None:
    """Check and store feedback. Raises FeedbackRefused."""
    try:
        data: Any = json.loads(body)
        receipt = Hash(_unhex(data["receipt"]))
        signature = _signature.decode(_unhex(data["signature"]))
        negative = data["negative"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FeedbackRefused(
            400, 'The body is JSON: {"receipt": 0x, "negative": bool, "signature": 0x}.'
        ) from error
    if not isinstance(negative, bool) or len(receipt) != 32:
        raise FeedbackRefused(400, "`negative` is true or false, `receipt` has 32 bytes.")
    stored = receipts.get(receipt)
    if stored is None:
        raise FeedbackRefused(404, "This node made no answer with this receipt.")
    document = stored.signed.receipt
    if document.epoch < receipts.open_epoch(document.model):
        raise FeedbackRefused(409, "The epoch of this answer is closed; feedback comes too late.")
    if not _is_signed(feedback_payload(Feedback(receipt, negative)), signature, document.asker):
        raise FeedbackRefused(403, "Only the asker of an answer may judge it.")
    receipts.put_feedback(receipt, negative, _signature.encode(signature))


def _is_signed(payload: bytes, signature: MultiSignature, asker: AccountId) -> bool:
    if isinstance(signature, Ed25519):
        return verify(KeyKind.ED25519, signature.signature, payload, asker)
    if isinstance(signature, Sr25519):
        return verify(KeyKind.SR25519, signature.signature, payload, asker)
    return False


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
