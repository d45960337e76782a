"""Feedback on answers: POST /v1/feedback with the asker's signature over a Feedback document.

{"proof": 0x SCALE SignedFeedback}; other members are ignored. Feedback moves no money: one verdict
of a cheap answer once cut the best earner to nothing. It is shown with the receipt.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Final

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.storage.errors import DiskLowError
from node.storage.receipt_store import ReceiptStore
from runtime.codec.hexadecimal import from_hex
from runtime.codec.scale import codec
from runtime.shared.receipts import SignedFeedback, feedback_payload
from runtime.types.primitives import MultiSignature
from runtime.types.signature import is_signed_by

BODY_BYTES_MAX: Final = 4_096
_signature = codec(MultiSignature)
_signed = codec(SignedFeedback)


class FeedbackRefusedError(Exception):
    """Feedback that does not count; carries the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def feedback_routes(receipts: ReceiptStore) -> list[Route]:
    """Return the route over a receipt store."""

    async def post(request: Request) -> Response:
        body = b""
        try:
            async with aclosing(request.stream()) as stream:
                async for part in stream:
                    body += part
                    if len(body) > BODY_BYTES_MAX:
                        return JSONResponse({"error": "The body is too large."}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            await trio.to_thread.run_sync(take, receipts, body)
        except FeedbackRefusedError as refusal:
            return JSONResponse({"error": str(refusal)}, refusal.status)
        return JSONResponse({"status": "recorded"})

    return [Route("/v1/feedback", post, methods=["POST"])]


def take(receipts: ReceiptStore, body: bytes) -> None:
    """Check and store feedback. Raises FeedbackRefusedError."""
    try:
        proof = _signed.decode(from_hex(json.loads(body)["proof"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FeedbackRefusedError(
            400, 'The body is JSON: {"proof": 0x SignedFeedback}.'
        ) from error
    feedback = proof.feedback
    stored = receipts.get(feedback.receipt)
    if stored is None:
        raise FeedbackRefusedError(404, "This node made no answer with this receipt.")
    if not is_signed_by(stored.signed.asker, feedback_payload(feedback), proof.signature):
        raise FeedbackRefusedError(403, "Only the asker of an answer may judge it.")
    try:
        signature = _signature.encode(proof.signature)
        receipts.put_feedback(feedback.receipt, feedback.negative, signature)
    except DiskLowError as error:
        raise FeedbackRefusedError(507, "This node's disk has no room now.") from error
