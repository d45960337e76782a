"""Weights of the calls of Datanets whose work grows with rows or batches.

Some read the state for it: the price is exact, and the owner pays nothing for a worst case that is
not his. Inside of one extrinsic that both contributes and withdraws, the second is priced too low;
writing the rows was paid for, so this at most halves the price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets import weights
from pallets.datanets.records import Verdict
from runtime.types.primitives import Hash, Weight

if TYPE_CHECKING:
    from pallets.datanets import Datanets


def contribute(
    pallet: Datanets, datanet: int, blob: Hash, size_bytes: int, row_hashes: tuple[Hash, ...]
) -> Weight:
    """Return the weight of a contribution: each row is hashed, looked up and written."""
    return weights.datanets_contribute(len(row_hashes))


def review(pallet: Datanets, datanet: int, batch: int, verdict: Verdict) -> Weight:
    """Return the weight of a review: a refused batch frees each of its rows."""
    if verdict is Verdict.Accept:
        return weights.DATANETS_REVIEW_ACCEPT
    return weights.datanets_review_refuse(_pending_rows(pallet, datanet, batch))


def withdraw(pallet: Datanets, datanet: int, batch: int) -> Weight:
    """Return the weight of freeing each row of a batch."""
    return weights.datanets_withdraw(_pending_rows(pallet, datanet, batch))


def publish(pallet: Datanets, datanet: int) -> Weight:
    """Return the weight of a version: the root of each accepted batch is read and hashed."""
    return weights.datanets_publish(pallet.progress.get(datanet).accepted_batches)


def _pending_rows(pallet: Datanets, datanet: int, batch: int) -> int:
    return len(pallet.pending_rows.get((datanet, batch)))
