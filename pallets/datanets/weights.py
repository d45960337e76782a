"""What the calls of Datanets weigh; those on batches grow with their rows.

Some read the state for it: the price is exact, and the owner pays nothing for a worst case that is
not his. Inside of one extrinsic that both contributes and withdraws, the second is priced too low;
writing the rows was paid for, so this at most halves the price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets.datanets.records import Verdict
from runtime.frame.pallet import cost
from runtime.types.primitives import Hash, Weight

if TYPE_CHECKING:
    from pallets.datanets import Datanets


def contribute(
    pallet: Datanets, datanet: int, blob: Hash, size_bytes: int, row_hashes: tuple[Hash, ...]
) -> Weight:
    """Return the weight of a contribution: each row is hashed, looked up and written."""
    rows = len(row_hashes)
    return cost(60 + 6 * rows, reads=6 + rows, writes=7 + rows)


def review(pallet: Datanets, datanet: int, batch: int, verdict: Verdict) -> Weight:
    """Return the weight of a review: a refused batch frees each of its rows."""
    if verdict is Verdict.Accept:
        return cost(60, reads=7, writes=9)
    return withdraw(pallet, datanet, batch)


def withdraw(pallet: Datanets, datanet: int, batch: int) -> Weight:
    """Return the weight of freeing each row of a batch."""
    rows = len(pallet.pending_rows.get((datanet, batch)))
    return cost(60 + rows, reads=7, writes=7 + rows)


def publish(pallet: Datanets, datanet: int) -> Weight:
    """Return the weight of a version: the root of each accepted batch is read and hashed."""
    batches = pallet.progress.get(datanet).accepted_batches
    return cost(50 + 6 * batches, reads=3 + 2 * batches, writes=2)
