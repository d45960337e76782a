"""Epochs of a server's answers in a workshop: funded, closed, settled on shares or on faults.

earn(workshop, ...)                 # the pool of MODEL and SERVER, half of what was redeemed
job = close(workshop)               # by SERVER, of all that was redeemed
workshop.answer(job, shared(...))
"""

from __future__ import annotations

from collections.abc import Sequence

from pallets.attribution import ATTRIBUTION_POT
from pallets.attribution.records import Epoch
from pallets.inference.records import Channel
from pallets.inference.servers import count_channel
from pallets.jobs.job import FailureReason
from runtime.codec.scale import codec
from runtime.shared.documents import (
    EpochShares,
    Fault,
    FaultKind,
    LargestShare,
    Settled,
    Share,
)
from runtime.trie.merkle import SumProof, blob_id, sum_proof, sum_root
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.pallets.support.ledger import ALICE, BOB
from tests.pallets.support.workshop import EXECUTORS, SERVER, Workshop, indexed

MODEL = 0
FEES, POOL = 100 * OPEN, 50 * OPEN
RECEIPTS = [(Hash(bytes((at,)) * 32), FEES // 5) for at in range(1, 6)]
ROOT, _ = sum_root(RECEIPTS)
INDEX_JOB = 3
ZERO = Hash(bytes(32))


def open_gate(workshop: Workshop, model: int = MODEL, rows: int = 2_000) -> None:
    """Record an index of a model."""
    workshop.attribution.record_indexed(model, INDEX_JOB + model, indexed(rows=rows))


def earn(
    workshop: Workshop,
    redeemed: int = FEES,
    part: int = POOL,
    *,
    model: int = MODEL,
    server: AccountId = SERVER,
) -> None:
    """Fund a pool as a redemption does."""
    workshop.balances.transfer(BOB, ATTRIBUTION_POT, part)
    workshop.attribution.fund(model, server, redeemed, part)


def paid_channel(
    workshop: Workshop, asker: AccountId = ALICE, paid: int = FEES, server: AccountId = SERVER
) -> int:
    """Store a channel of which all was redeemed; returns its number."""
    inference = workshop.inference
    number = inference.next_id.get()
    inference.next_id.put(number + 1)
    record = Channel(asker, server, MODEL, deposit_planck=paid, redeemed_planck=paid)
    inference.channels.put(number, record)
    inference.memberships.put((asker, number), True)
    inference.memberships.put((server, number), True)
    count_channel(inference, server, 1)
    return number


def close(
    workshop: Workshop,
    name: str = "close_epoch",
    *,
    server: AccountId = SERVER,
    **changed: object,
) -> int:
    """Close an epoch of all fees; returns its settle job."""
    job = workshop.jobs.next_job.get()
    arguments = {
        "model": MODEL,
        "receipts_root": ROOT,
        "receipts": len(RECEIPTS),
        "fees_planck": FEES,
        "receipts_blob": ROOT,
        **changed,
    }
    if name == "close_epoch":
        arguments.setdefault("missing_planck", 0)
    workshop.sign(server, "Attribution", name, **arguments)
    return job


def show_texts(
    workshop: Workshop,
    job: int,
    attempt: int = 0,
    *,
    server: AccountId = SERVER,
    content: Hash = ZERO,
) -> None:
    """Name a file of texts of the drawn receipts for the executors of an attempt."""
    named = {"job": job, "attempt": attempt, "blob": ZERO, "content": content}
    workshop.sign(server, "Attribution", "show_texts", **named)


def settle(
    workshop: Workshop, output: Settled, name: str = "close_epoch", **changed: object
) -> int:
    """Close an epoch and let its executors agree on an output."""
    job = close(workshop, name, **changed)  # type: ignore[arg-type]
    workshop.next_block()
    workshop.answer(job, output)
    return job


def epoch(workshop: Workshop, number: int = 0, model: int = MODEL) -> Epoch:
    found = workshop.attribution.epoch(model, SERVER, number)
    assert found is not None
    return found


def claimable(workshop: Workshop, who: AccountId) -> int:
    return workshop.attribution.earnings(who).claimable


def pool_of(workshop: Workshop, model: int = MODEL) -> tuple[int, int]:
    ledger = workshop.attribution.pool(model, SERVER)
    return ledger.pool, ledger.redeemed_planck


def bond_of(workshop: Workshop) -> int:
    return workshop.inference.bond_of(SERVER)


def fail(workshop: Workshop, job: int) -> None:
    """Let the executor say that it cannot settle."""
    workshop.next_block()
    reason = FailureReason.MissingBlob
    workshop.sign(EXECUTORS[0], "Jobs", "report_failure", job=job, attempt=0, reason=reason)


# ------------------------------------------------------------------------------------------ outputs


def shares_of(*parts: tuple[AccountId, int]) -> tuple[Share, ...]:
    """Return shares, ascending by account."""
    return tuple(Share(who, planck) for who, planck in sorted(parts))


def leaves(shares: Sequence[Share]) -> list[tuple[Hash, int]]:
    return [(Hash(share.contributor), share.planck) for share in shares]


def shared(shares: Sequence[Share], pushed: int = 64) -> Settled:
    """Return what honest executors answer for shares: the largest `pushed` are paid at once."""
    root, total = sum_root(leaves(shares))
    ranked = sorted(range(len(shares)), key=lambda at: (-shares[at].planck, at))[:pushed]
    return Settled(
        receipts_root=ROOT,
        faults=(),
        shares=blob_id(codec(EpochShares).encode(EpochShares(tuple(shares)))),
        shares_root=root,
        shares_count=len(shares),
        shares_planck=total,
        largest=tuple(LargestShare(at, shares[at]) for at in sorted(ranked)),
    )


def proof_of(shares: Sequence[Share], position: int) -> SumProof:
    return sum_proof(leaves(shares), position)


def faulty(*faults: Fault) -> Settled:
    """Return what executors answer for false receipts."""
    return Settled(ROOT, faults, ZERO, ZERO, 0, 0, ())


def fault(kind: FaultKind, fee: int, channel: int | None = None) -> Fault:
    return Fault(kind, 0, channel, fee)
