"""Shares of settled epochs: where an account has one that is not credited, and its proof.

The list of an epoch's shares is a file; the chain has its Merkle-sum root and a bit for each
position. The file is checked by its id, and the position and the sums on the way by the proof.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.client.blobs import Blobs
from node.client.queries import QueryClient
from pallets.attribution.records import Epoch, EpochState, Ledger
from runtime.codec.scale import codec
from runtime.shared.documents import EpochShares, Share
from runtime.trie.merkle import SumProof, sum_proof
from runtime.types.primitives import AccountId, Hash

EPOCHS_DEFAULT: Final = 64
"""The newest epochs of each model and server that are looked at."""
_shares = codec(EpochShares)


@dataclass(frozen=True, slots=True)
class UnclaimedShare:
    """A share that is not credited yet, with its proof."""

    model: int
    server: AccountId
    epoch: int
    share: Share
    proof: SumProof


@dataclass(frozen=True, slots=True)
class SettledEpoch:
    """A settled epoch with shares that are not all credited; `shares` is their file."""

    model: int
    server: AccountId
    epoch: int
    shares: Hash


def ledgers_of(client: QueryClient, model: int) -> list[tuple[AccountId, Ledger]]:
    """Return the ledgers of all servers of a model, by account: a runtime API lists but some."""
    return sorted(
        (server, ledger) for (_, server), ledger in client.entries("Attribution", "ledgers", model)
    )


def settled_epochs(
    client: QueryClient, models: Iterable[int], epochs_max: int
) -> Iterator[SettledEpoch]:
    """Yield the newest settled epochs of each server of these models."""
    for model in models:
        for server, ledger in ledgers_of(client, model):
            for number in range(max(ledger.epoch - epochs_max, 0), ledger.epoch):
                record: Epoch | None = client.api("AttributionApi_epoch", model, server, number)
                if (
                    record is not None
                    and record.state is EpochState.Settled
                    and record.shares is not None
                    and record.claimed_planck < record.shares_planck
                ):
                    yield SettledEpoch(model, server, number, record.shares)


def unclaimed_share(
    client: QueryClient, account: AccountId, settled: SettledEpoch
) -> UnclaimedShare | None:
    """Return an account's share of an epoch; None where it has none, or it is credited.

    Raises RequestRefusedError where the node has not the file of shares.
    """
    listed = _download(client.blobs, settled.shares)
    at = bisect_left(listed, account, key=lambda share: share.contributor)
    if at == len(listed) or listed[at].contributor != account:
        return None
    place = (settled.model, settled.server, settled.epoch)
    if client.api("AttributionApi_is_credited", *place, at):
        return None
    proof = sum_proof([(Hash(share.contributor), share.planck) for share in listed], at)
    return UnclaimedShare(*place, listed[at], proof)


def _download(blobs: Blobs, blob: Hash) -> Sequence[Share]:
    return _shares.decode(blobs.download(blob)).shares
