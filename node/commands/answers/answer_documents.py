"""The documents of answers: what was said, what it cost, and the rows that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from node.client.serving import ServedReceipt
from node.commands.base.documents import Planck
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.codec.scale import codec
from runtime.shared.receipts import SignedReceipt, receipt_hash


@dataclass(frozen=True, slots=True)
class InfluenceRow:
    """A row that shaped the answer: its exact influence score and who gave it."""

    ROWS_SHOWN: ClassVar[int] = 8

    row: int
    score: str
    contributor: str | None
    prompt: str | None


@dataclass(frozen=True, slots=True)
class SpanRow:
    """Words of the answer that stand verbatim in a row, counted in tokens."""

    row: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class AnswerDocument:
    """An answer, what it cost, and the rows it was made from."""

    answer: str
    model: int
    receipt: str
    tokens_in: int
    tokens_out: int
    fee_planck: Planck
    remainder_permille: int
    rows: tuple[InfluenceRow, ...]
    spans: tuple[SpanRow, ...]


@dataclass(frozen=True, slots=True)
class ChatDocument:
    """The answers of a conversation, in order."""

    answers: tuple[AnswerDocument, ...]


@dataclass(frozen=True, slots=True)
class QuoteDocument:
    """What a question would cost at most, and the channel that would pay for it."""

    model: int
    price_at_most_planck: Planck
    channel: int | None
    channel_left_planck: Planck
    """What the asker's own books leave of the deposit."""
    free_before_planck: Planck


def read_receipt(text: str) -> SignedReceipt:
    """Return the receipt that 0x hex of SCALE stands for. Raises DecodeError."""
    return codec(SignedReceipt).decode(from_hex(text))


def answer_document(text: str, stored: ServedReceipt) -> AnswerDocument:
    """Return an answer with its attribution, its numbers only from the signed receipt."""
    receipt, evidence = stored.signed.receipt, stored.signed.evidence
    row_texts: dict[int, Mapping[str, Any]] = {
        int(row["row"]): row for row in stored.details.get("rows", []) if "row" in row
    }
    return AnswerDocument(
        answer=text,
        model=stored.signed.model,
        receipt=to_hex(receipt_hash(receipt)),
        tokens_in=receipt.tokens_in,
        tokens_out=receipt.tokens_out,
        fee_planck=Planck(receipt.fee_planck),
        remainder_permille=evidence.remainder_permille,
        rows=tuple(
            InfluenceRow(
                entry.row,
                str(entry.score),
                row_texts.get(entry.row, {}).get("contributor"),
                row_texts.get(entry.row, {}).get("prompt"),
            )
            for entry in evidence.top
        ),
        spans=tuple(SpanRow(span.row, span.start, span.length) for span in evidence.spans),
    )
