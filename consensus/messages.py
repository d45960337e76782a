"""The interface of the engine: messages between engines, events in, actions out.

Messages travel between engines as SCALE in the network's envelopes. Events go into
`Engine.step(event) -> list[Action]`; the caller carries the actions out **in their order**, and a
Persist is durable before anything after it is sent. The engine knows headers, never bodies: the
caller finds the body of a block, and has it in the log before what is persisted for its vote.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum

from runtime.codec.scale import scale, u64
from runtime.shared.finality import Ballot, Certificate, Claim, Equivocation, Vote
from runtime.types.primitives import Hash, Header

# ---------------------------------------------------------------------------------- messages


@scale
class Proposal:
    """A leader's block for a view, proven to be allowed there.

    `vote` is the leader's NOTARIZE of the header's hash in this view: it signs the proposal.
    `parent` is the NOTARIZATION (or FINALIZATION) of the parent in this epoch, None on the epoch's
    root. `skips` are the NULLIFICATIONS of every view between the parent's and this one. A boundary
    block that is proposed again has the header of its first proposal, `parent` its own
    NOTARIZATION, and `skips` for the views since.
    """

    header: Header
    vote: Vote
    parent: Certificate | None
    skips: tuple[Certificate, ...]


@scale
class CertificateRequest:
    """A request for the certificates of views `first` to `last` of an epoch, both included."""

    epoch: u64
    first: u64
    last: u64


Message = Proposal | Vote | Certificate | CertificateRequest

# ------------------------------------------------------------------------------------ events


class TimerKind(IntEnum):
    """What a timer of a view is for."""

    LEADER = 0
    ADVANCE = 1
    RETRY = 2


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer of one view; a later one of the same kind replaces it."""

    view: int
    kind: TimerKind


@dataclass(frozen=True, slots=True)
class Start:
    """Begin with the records of this epoch from the write-ahead log, oldest first."""

    records: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in from a peer; only the caller knows what `source` names."""

    source: Hashable
    message: Message


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A timer that was set has run out."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Built:
    """The answer to Propose: the header of a block that is executed, its body next in the log.

    None where no block could be built; the view then runs into its timer.
    """

    view: int
    header: Header | None


@dataclass(frozen=True, slots=True)
class BlockExecuted:
    """The answer to Execute: executing the block gave its state root, or did not.

    The body of a valid block goes into the log no later than what this event makes the engine
    persist.
    """

    block: Hash
    is_valid: bool


@dataclass(frozen=True, slots=True)
class BlockUnavailable:
    """The other answer to Execute: whether the block is valid cannot be known yet.

    Its body or an ancestor did not arrive, or its timestamp is ahead of the clock.
    """

    block: Hash


@dataclass(frozen=True, slots=True)
class Signed:
    """The answer to Sign."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class BlockFinalized:
    """Sync brought a final block, executed and on the final branch, without the engine."""

    header: Header


Event = (
    Start | Received | TimedOut | Built | BlockExecuted | BlockUnavailable | Signed | BlockFinalized
)

# ----------------------------------------------------------------------------------- actions


@dataclass(frozen=True, slots=True)
class Persist:
    """Append a record to the write-ahead log, durably, before anything after it is done."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign a ballot, of which the log has the record; answer Signed, or nothing if refused."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send a message to every peer."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to one peer."""

    target: Hashable
    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Answer TimedOut after a time."""

    timer: Timer
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Propose:
    """Build a block on `parent` with `claim` in its digest; answer Built."""

    view: int
    parent: Hash
    claim: Claim


@dataclass(frozen=True, slots=True)
class Execute:
    """After a pause, fetch the body where it is missing and execute the block.

    Answer BlockExecuted, or BlockUnavailable after one attempt with every peer asked in turn:
    the engine decides whether there is another one.
    """

    header: Header
    source: Hashable
    pause_ms: int = 0


@dataclass(frozen=True, slots=True)
class Notarized:
    """A block has its NOTARIZATION: it is the one to build on (best)."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Commit:
    """A block and its ancestors are final. The block may be unknown here: then fetch it."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class ReportEquivocation:
    """A voter equivocated: it signed two conflicting votes."""

    evidence: Equivocation


@dataclass(frozen=True, slots=True)
class Report:
    """A peer sent what no honest peer sends."""

    source: Hashable
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Two certificates finalize different branches: more than a third of the weight is faulty.

    The engine signs nothing from now on; both certificates are evidence.
    """

    first: Certificate
    second: Certificate


Action = (
    Persist
    | Sign
    | Broadcast
    | Send
    | SetTimer
    | Propose
    | Execute
    | Notarized
    | Commit
    | ReportEquivocation
    | Report
    | Halt
)
