"""Shares of a settled epoch: credited at once for the largest, by a proof for everybody else.

The list of shares is in no block: an epoch stores its Merkle-sum root, so that neither contributors
nor blocks have a maximum. Each position of the list is credited once; a bit says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets.attribution.records import Earning, EpochKey, EpochState
from runtime.shared.documents import Share
from runtime.trie.merkle import SumProof, verify_sum
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from pallets.attribution import Attribution

BITS: Final = 128
"""Positions of one word of the bitmap."""


def claim(attribution: Attribution, key: EpochKey, share: Share, proof: SumProof) -> None:
    """Credit a share that was not credited yet. Raises NotSettled, BadProof, AlreadyCredited."""
    record = attribution.epochs.get(key)
    if record is None or record.state is not EpochState.Settled or record.shares_root is None:
        raise attribution.NotSettled
    is_proven = proof.count == record.shares_count and verify_sum(
        root=record.shares_root,
        total=record.shares_planck,
        leaf=Hash(share.contributor),
        amount=share.planck,
        proof=proof,
    )
    if not is_proven:
        raise attribution.BadProof
    if is_credited(attribution, key, proof.index):
        raise attribution.AlreadyCredited
    claimed = record.claimed_planck + share.planck
    if claimed > record.shares_planck:  # what was paid at once was no part of the list
        raise attribution.BadProof
    mark_claimed(attribution, key, proof.index)
    attribution.epochs.put(key, replace(record, claimed_planck=claimed))
    credit(attribution, key, share)


def mark_claimed(attribution: Attribution, key: EpochKey, position: int) -> None:
    """Note that a position is credited."""
    word = (*key, position // BITS)
    attribution.claimed.put(word, attribution.claimed.get(word) | 1 << position % BITS)


def is_credited(attribution: Attribution, key: EpochKey, position: int) -> bool:
    """Return whether the share at a position is credited."""
    word = attribution.claimed.get((*key, position // BITS))
    return bool(word >> position % BITS & 1)


def credit(attribution: Attribution, key: EpochKey, share: Share) -> None:
    """Add a share to what its contributor can claim."""
    if not share.planck:
        return
    earning = attribution.earned.get(share.contributor)
    credited = Earning(earning.claimable + share.planck, earning.lifetime + share.planck)
    attribution.earned.put(share.contributor, credited)
    model, server, epoch = key
    attribution.emit(
        attribution.Earned(
            model=model,
            server=server,
            epoch=epoch,
            contributor=share.contributor,
            amount=share.planck,
        )
    )
