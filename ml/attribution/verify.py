"""Verify a receipt offline, step by step, as far as the available material allows.

The receipt, the index commitments and the blobs suffice for signature, hashes, exact scores,
completeness and aggregates. With the texts, the rows and the model, the spans are searched again,
the shards built again and the gradients run again. A step without its material is reported as not
checked, never as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from transformers import PreTrainedTokenizerFast

from ml.attribution.index import (
    AGGREGATES,
    ROW_TOKENS_DEFAULT,
    SHARDS,
    QuerySketcher,
    ReadBlob,
    aggregated,
    aggregates_root,
    load_sketches,
    read_checked,
    read_shards,
    remainder_of,
    sketches_root,
    span_tokens,
    top_of,
)
from ml.attribution.influence import (
    PSI_DEVIATION_MAX,
    Integers,
    damping_of,
    gram_hash,
    largest_deviation,
    scores,
)
from ml.attribution.sketch import Sketches
from ml.attribution.sketch_tolerance import sketches_agree
from ml.attribution.spans import SpanIndex, build_shards
from ml.rows.row import Row
from ml.train.data import encode_row, encode_text
from runtime.crypto.keys import KeyKind, verify
from runtime.shared.documents import Indexed
from runtime.shared.receipts import (
    SignedReceipt,
    receipt_hash,
    salted_hash,
    voucher_payload,
)
from runtime.trie.merkle import blob_id
from runtime.types.primitives import AccountId
from runtime.types.signature import is_signed_by

ROWS_CHECKED: Final = 4
"""Top rows whose gradients are run again by default; each costs a pass of the model."""


@dataclass(frozen=True, slots=True)
class Check:
    """One step of a verification; `passed` is None when it could not be checked here."""

    name: str
    how: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Material:
    """The verifier's material beside the blobs; each part allows more steps to be checked."""

    question: str | None = None
    answer: str | None = None
    salt: bytes | None = None
    tokenizer: PreTrainedTokenizerFast | None = None
    max_tokens: int = ROW_TOKENS_DEFAULT
    sketcher: QuerySketcher | None = None
    rows: Sequence[Row] | None = None
    contributors: Sequence[AccountId] | None = None


def verify_receipt(
    signed: SignedReceipt,
    indexed: Indexed,
    read_blob: ReadBlob,
    material: Material = Material(),
    with_index: bool = True,
) -> list[Check]:
    """Check every step of a receipt; raises only the errors of `read_blob` for a lost blob.

    `with_index` checks the commitments that all receipts of an index share, nearly all of the
    work; leave it out for the second receipt.
    """
    replay = _Replay(signed, indexed, read_blob, material)
    return list(replay.checks(with_index))


_Step: TypeAlias = tuple[str, str, Callable[[], tuple[bool | None, str]]]


class _Replay:
    """The steps of one verification; data that several steps share are read once."""

    def __init__(
        self, signed: SignedReceipt, indexed: Indexed, read: ReadBlob, material: Material
    ) -> None:
        self.signed = signed
        self.receipt = signed.receipt
        self.evidence = signed.evidence
        self.signature = signed.signature
        self.indexed = indexed
        self.read = read
        self.material = material

    @cached_property
    def phi(self) -> Sketches:
        return load_sketches(self.indexed, self.indexed.phi, self.read)

    @cached_property
    def psi(self) -> Sketches:
        return load_sketches(self.indexed, self.indexed.psi, self.read)

    @cached_property
    def scores(self) -> Integers:
        query = np.frombuffer(self.evidence.phi, np.int8)
        return scores(self.psi.astype(np.float32), query)

    def checks(self, with_index: bool) -> Iterator[Check]:
        """Run every step in order; one that meets contradictory data fails with the reason."""
        of_index: tuple[_Step, ...] = (
            ("row sketches", "blob, Merkle root, Gram hash and damping again", self._row_sketches),
            ("inverse sketches", "exact integer residual of the linear system", self._inverse),
            ("aggregates", "sums of the inverse sketches per contributor", self._aggregates),
            ("span shards", "suffix arrays built again from the rows", self._shards),
        )
        of_receipt: tuple[_Step, ...] = (
            ("signature", "ed25519 over the receipt's hash", self._signature),
            ("voucher", "the asker's signature, the fee by its price list", self._voucher),
            ("texts", "blake2b-256 of salt, question and answer", self._texts),
            ("row gradients", "forward and backward of some rows again", self._row_gradients),
            ("answer sketch", "forward and backward of the answer again", self._answer_sketch),
            ("scores", "exact integer dot products", self._scores),
            ("completeness", "no row outside the list scores more", self._completeness),
            ("remainder", "absolute influence outside the list", self._remainder),
            ("spans", "longest matches of the answer searched again", self._spans),
        )
        for name, how, step in (*of_receipt, *(of_index if with_index else ())):
            try:
                passed, detail = step()
            except ValueError as error:
                # Every error of contradictory data in this folder is a ValueError with a sentence.
                passed, detail = False, str(error)
            yield Check(name, how, passed, detail)

    def _signature(self) -> tuple[bool, str]:
        identity = receipt_hash(self.receipt)
        good = verify(KeyKind.ED25519, self.signature, identity, self.receipt.server)
        return good, f"receipt {identity.hex()} by {self.receipt.server.hex()}"

    def _voucher(self) -> tuple[bool, str]:
        signed = self.signed
        if not signed.is_whole:
            return False, "the receipt is not for this voucher and evidence, or its fee is another"
        payload = voucher_payload(signed.voucher.voucher)
        good = is_signed_by(signed.asker, payload, signed.voucher.signature)
        return good, f"answer {signed.sequence} of channel {signed.channel}, {signed.asker.hex()}"

    def _texts(self) -> tuple[bool | None, str]:
        question, answer, salt = self.material.question, self.material.answer, self.material.salt
        if question is None or answer is None or salt is None:
            return None, "the texts of question and answer, or their salt, are not at hand"
        wrong = [
            name
            for name, text, expected in (
                ("question", question, self.signed.voucher.voucher.question),
                ("answer", answer, self.receipt.answer),
            )
            if salted_hash(salt, text) != expected
        ]
        return not wrong, f"other text: {', '.join(wrong)}" if wrong else "both hashes agree"

    def _row_sketches(self) -> tuple[bool, str]:
        good = (
            sketches_root(self.phi) == self.indexed.phi_root
            and damping_of(self.phi) == self.indexed.damping
            and gram_hash(self.phi) == self.indexed.gram_hash
        )
        return good, f"{self.indexed.rows} sketches of {self.indexed.sketch_size} numbers"

    def _inverse(self) -> tuple[bool, str]:
        if sketches_root(self.psi) != self.indexed.psi_root:
            return False, "the Merkle root is another"
        deviation = largest_deviation(self.phi, self.psi, self.indexed.damping)
        return deviation <= PSI_DEVIATION_MAX, f"rounded by at most {deviation:.6f} units"

    def _aggregates(self) -> tuple[bool, str]:
        aggregates = AGGREGATES.decode(read_checked(self.indexed.aggregates, self.read))
        if aggregates_root(aggregates) != self.indexed.aggregate_root:
            return False, "the Merkle root is another"
        if self.material.contributors is not None:
            good = aggregates == aggregated(self.psi, self.material.contributors)
            return good, f"{len(aggregates)} contributors, each sum again"
        total = np.sum([aggregate.psi_sum for aggregate in aggregates], axis=0, dtype=np.int64)
        rows = sum(aggregate.rows for aggregate in aggregates)
        good = rows == self.indexed.rows and bool(
            np.array_equal(total, self.psi.sum(axis=0, dtype=np.int64))
        )
        return good, f"{len(aggregates)} contributors in all; who owns which row is not at hand"

    def _row_gradients(self) -> tuple[bool | None, str]:
        sketcher, rows = self.material.sketcher, self.material.rows
        if sketcher is None or rows is None:
            return None, "the model or the rows are not at hand"
        checked = [row.row for row in self.evidence.top[:ROWS_CHECKED]]
        for at in checked:
            if not 0 <= at < min(len(rows), self.indexed.rows):
                return False, f"there is no row {at}"
            again = sketcher.sketch(rows[at].prompt, rows[at].completion)
            good, detail = sketches_agree(self.phi[at].tobytes(), again)
            if not good:
                return False, f"row {at}: {detail}"
        return True, f"rows {', '.join(map(str, checked))} agree"

    def _answer_sketch(self) -> tuple[bool | None, str]:
        sketcher = self.material.sketcher
        question, answer = self.material.question, self.material.answer
        if sketcher is None or question is None or answer is None:
            return None, "the model or the texts are not at hand"
        return sketches_agree(self.evidence.phi, sketcher.sketch(question, answer))

    def _scores(self) -> tuple[bool, str]:
        self._require_sketch_size()
        for row in self.evidence.top:
            if row.row >= self.indexed.rows:
                return False, f"there is no row {row.row}"
            if int(self.scores[row.row]) != row.score:
                return False, f"row {row.row} scores {self.scores[row.row]}, not {row.score}"
        return True, f"{len(self.evidence.top)} scores are exact"

    def _completeness(self) -> tuple[bool, str]:
        self._require_sketch_size()
        if not self.evidence.top and not np.any(self.scores):
            return True, "nothing has influence on an empty answer"
        expected = top_of(self.scores)
        if len(self.evidence.top) != len(expected):
            return False, f"{len(self.evidence.top)} rows are listed where {len(expected)} belong"
        for claimed, real in zip(self.evidence.top, expected, strict=True):
            if claimed.row != real.row:
                return False, f"row {real.row} with {real.score} is missing at its place"
        return True, f"no other of {self.indexed.rows} rows scores more"

    def _remainder(self) -> tuple[bool, str]:
        self._require_sketch_size()
        permille = remainder_of(self.scores, self.evidence.top)
        return permille == self.evidence.remainder_permille, f"{permille} permille"

    def _shards(self) -> tuple[bool | None, str]:
        rows, tokenizer = self.material.rows, self.material.tokenizer
        if rows is None or tokenizer is None:
            return None, "the rows or the tokenizer are not at hand"
        tokens = span_tokens([encode_row(row, tokenizer, self.material.max_tokens) for row in rows])
        again = tuple(blob_id(shard.to_bytes()) for shard in build_shards(tokens))
        is_same = blob_id(SHARDS.encode(again)) == self.indexed.span_shards
        return is_same, f"{len(again)} shards of {len(rows)} rows"

    def _spans(self) -> tuple[bool | None, str]:
        answer, tokenizer = self.material.answer, self.material.tokenizer
        if answer is None or tokenizer is None:
            return None, "the answer or the tokenizer is not at hand"
        index = SpanIndex(read_shards(self.indexed, self.read))
        again = index.spans(encode_text(answer, tokenizer))
        return again == self.evidence.spans, f"{len(again)} spans"

    def _require_sketch_size(self) -> None:
        if len(self.evidence.phi) != self.indexed.sketch_size:
            raise ValueError(
                f"the answer's sketch has {len(self.evidence.phi)} numbers, "
                f"the index {self.indexed.sketch_size}"
            )
