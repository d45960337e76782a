"""Engines broken on purpose, each in one way: every one must break an invariant.

A mutant replaces a method of the real engine while it runs. `seeds` are few and known to show it;
`simulation` is the kind of run in which it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

from consensus import engine as engine_module
from consensus import messages as m
from consensus.blocks import Status
from consensus.engine import Engine
from consensus.messages import Action, Event, Executed, Propose, Sign
from consensus.progress import SILENT_VIEWS, Progress
from consensus.proposals import OtherSkipsError, check_form
from consensus.round import Round
from consensus.signatures import Signatures
from consensus.wal import encode_record
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Claim, Kind, Vote
from runtime.types.primitives import Hash
from tests.simulation.disk import Disk

Change = tuple[Any, str, Any]
"""An object, the name of one of its attributes, what it is replaced by."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault of the engine, and the seeds that show it."""

    story: str
    changes: tuple[Change, ...]
    invariants: tuple[str, ...]
    """Those that may break first."""
    seeds: tuple[int, ...]
    simulation: str = "chaos"

    def changed(self) -> AbstractContextManager[None]:
        """Break the engine for a while."""
        return _changed(self.changes)


@contextmanager
def _changed(changes: tuple[Change, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for target, name, value in changes:
            stack.enter_context(patch.object(target, name, value))
        yield


def _voting(may: Callable[[Round, Kind], bool]) -> Callable[..., None]:
    """Return `Progress._vote` with another rule of what may still be said."""

    def vote(self: Progress, kind: Kind, one: Round, digest: Hash) -> None:
        if self._me is None or self.is_halted or self.is_finished or not may(one, kind):
            return
        ballot = Ballot(self.epoch, one.view, int(kind), digest)
        if one.own.get(kind) == ballot:
            return
        one.own[kind] = ballot
        self._persist(ballot)
        self._effects.append(Sign(ballot))

    return vote


def _may_finalize_always(one: Round, kind: Kind) -> bool:
    is_barred = (kind == Kind.NULLIFY and Kind.FINALIZE in one.own) or (
        kind == Kind.NOTARIZE and Kind.NULLIFY in one.own
    )
    return kind not in one.own and not is_barred


def _may_nullify_always(one: Round, kind: Kind) -> bool:
    return kind not in one.own and (kind == Kind.NULLIFY or Kind.NULLIFY not in one.own)


def _may_notarize_again(one: Round, kind: Kind) -> bool:
    if kind == Kind.NOTARIZE:
        return Kind.NULLIFY not in one.own
    return _may_finalize_always(one, kind) and not (
        kind == Kind.FINALIZE and Kind.NULLIFY in one.own
    )


_take_proposal = Engine._take_proposal
_decide = Progress._decide


def _take_every_proposal(
    self: Engine, source: Hashable, proposal: m.Proposal, is_certified: bool
) -> None:
    self._rounds.at(int(proposal.vote.ballot.view)).proposal = None
    _take_proposal(self, source, proposal, is_certified)


def _decide_again(self: Progress, one: Round) -> None:
    """Vote on the proposal at hand, whatever was voted for before."""
    _decide(self, one)
    if one.proposal is not None and self._leader(one.view) != self._me:
        digest = one.proposal.vote.ballot.digest
        if self._blocks.is_valid(digest):
            self._vote(Kind.NOTARIZE, one, digest)


_adopt = Progress._adopt


def _adopt_unlogged(self: Progress, certificate: Certificate) -> None:
    count = len(self._records)
    _adopt(self, certificate)
    unwanted = encode_record(certificate)
    self._records[count:] = [one for one in self._records[count:] if one.record != unwanted]


_is_proven = Engine._is_proven


def _skips_are_proven(self: Engine, certificate: Certificate) -> bool:
    return certificate.ballot.kind == Kind.NULLIFY or _is_proven(self, certificate)


def _names_are_enough(self: Signatures, certificate: Certificate) -> bool:
    voters = [voter for voter, _ in certificate.votes if voter < len(self.weights)]
    return self.is_well_formed(certificate.ballot) and self.is_quorum(
        sum(self.weights[voter] for voter in voters)
    )


def _any_vote_is_real(self: Signatures, *_: object) -> bool:
    return True


def _half_is_enough(self: Signatures, weight: int) -> bool:
    return 2 * weight > self._total


_lead = Progress._lead


def _lead_past_boundary(self: Progress, one: Round) -> None:
    last, self._last_number = self._last_number, 1 << 40
    _lead(self, one)
    self._last_number = last


_step = Engine.step


def _step_without_skips(self: Engine, event: Event) -> list[Action]:
    return [
        replace(one, claim=Claim(one.claim.epoch, one.claim.view, NO_DIGEST))
        if isinstance(one, Propose)
        else one
        for one in _step(self, event)
    ]


def _on_built_unchecked(self: Engine, event: m.Built) -> None:
    one = self._rounds.find(event.view)
    if event.header is None or one is None or one.plan is None or event.view != self.view:
        return
    if Kind.NULLIFY in one.own or Kind.NOTARIZE in one.own:
        return
    block = self._blocks.add(event.header, event.view, None)
    block.status = Status.VALID
    self._log_header(block)
    one.draft = event.header
    self._vote(Kind.NOTARIZE, one, event.header.hash)


def _check_form_without_skips(proposal: m.Proposal, *rest: Any) -> None:
    try:
        check_form(proposal, *rest)
    except OtherSkipsError:
        return


def _silent_at_once(self: Progress, voter: int) -> bool:
    return voter != self._me


def _silent_when_late(self: Progress, voter: int) -> bool:
    """Hear nobody whose votes come after the quorum: what the engine once did."""
    return voter != self._me and self.view - self._heard[voter] > SILENT_VIEWS


def _halt_never(self: Progress, first: Certificate, second: Certificate) -> None:
    """Take no notice."""


def _say_nothing_again(self: Engine, one: Round) -> None:
    """Let what was lost be lost."""


_count = Progress._count


def _skip_with_others(self: Progress, vote: Vote, source: Hashable) -> None:
    """Join whoever gives a view up, though FINALIZE was signed in it."""
    _count(self, vote, source)
    if vote.ballot.kind == Kind.NULLIFY and vote.voter != self._me:
        one = self._rounds.at(vote.ballot.view)
        if Kind.FINALIZE in one.own:
            self._vote(Kind.NULLIFY, one, NO_DIGEST)


_on_executed = Engine._on_executed


def _all_is_valid(self: Engine, event: Executed) -> None:
    _on_executed(self, Executed(event.block, True))


_read = Disk.read


def _read_half(self: Disk) -> tuple[bytes, ...]:
    """After a start, the last writes are not there: nothing had made them durable."""
    self.records = self.records[: len(self.records) // 2]
    return _read(self)


def _restore_nothing_signed(self: Engine, one: Round) -> None:
    one.own.clear()


MUTANTS: Final[dict[str, Mutant]] = {
    "lost-log": Mutant(
        "The log is not synced: a crash loses the half of it.",
        ((Disk, "read", _read_half),),
        ("durability",),
        (6,),
    ),
    "finalize-after-nullify": Mutant(
        "FINALIZE is signed in a view that was given up.",
        ((Progress, "_vote", _voting(_may_finalize_always)),),
        ("durability",),
        (0,),
    ),
    "nullify-after-finalize": Mutant(
        "A view is given up in which FINALIZE was signed.",
        (
            (Progress, "_vote", _voting(_may_nullify_always)),
            (Progress, "_count", _skip_with_others),
        ),
        ("durability",),
        (0,),
    ),
    "notarize-twice": Mutant(
        "The second proposal of a leader is voted for too.",
        (
            (Progress, "_vote", _voting(_may_notarize_again)),
            (Progress, "_decide", _decide_again),
            (Engine, "_take_proposal", _take_every_proposal),
        ),
        ("durability",),
        (112,),
    ),
    "votes-forgotten": Mutant(
        "Ballots in the log are not taken up after a start.",
        ((Engine, "_restore_votes", _restore_nothing_signed),),
        ("durability",),
        (6,),
    ),
    "certificates-unlogged": Mutant(
        "Certificates are acted on without being durable.",
        ((Progress, "_adopt", _adopt_unlogged),),
        ("durability", "liveness"),
        (0,),
    ),
    "skips-unchecked": Mutant(
        "The NULLIFICATIONS in a proposal are believed.",
        ((Engine, "_is_proven", _skips_are_proven),),
        ("accountability", "validity", "agreement"),
        (1, 2, 13),
    ),
    "quorum-forged": Mutant(
        "A certificate with enough names is believed, whatever its signatures.",
        ((Signatures, "is_certified", _names_are_enough),),
        ("validity", "agreement", "accountability"),
        (1, 11),
    ),
    "signatures-unchecked": Mutant(
        "Every vote is believed to be its voter's.",
        ((Signatures, "_check", _any_vote_is_real),),
        ("validity", "agreement", "accountability"),
        (1, 11),
    ),
    "quorum-of-half": Mutant(
        "Half of the weight is a quorum.",
        ((Signatures, "is_quorum", _half_is_enough),),
        ("validity", "agreement"),
        (0,),
    ),
    "boundary-not-again": Mutant(
        "Blocks are built beyond the boundary instead of proposing it again.",
        ((Progress, "_lead", _lead_past_boundary),),
        ("accountability", "liveness", "validity"),
        (14,),
    ),
    "skips-uncommitted": Mutant(
        "Headers do not commit to the skips before them.",
        (
            (Engine, "step", _step_without_skips),
            (Engine, "_on_built", _on_built_unchecked),
            (engine_module, "check_form", _check_form_without_skips),
        ),
        ("validity",),
        (0,),
    ),
    "silent-at-once": Mutant(
        "Every leader is taken for silent.",
        ((Progress, "_is_silent", _silent_at_once),),
        ("responsiveness", "liveness"),
        (1,),
    ),
    "silent-when-late": Mutant(
        "A leader whose votes are always late is taken for silent.",
        ((Progress, "_is_silent", _silent_when_late),),
        ("responsiveness",),
        (1013,),
    ),
    "fork-ignored": Mutant(
        "A conflicting FINALIZATION is no reason to stop.",
        ((Progress, "_halt", _halt_never),),
        ("agreement",),
        (9,),
        "fork",
    ),
    "retry-missing": Mutant(
        "Nothing is said again.",
        ((Engine, "_retry", _say_nothing_again),),
        ("liveness",),
        (11,),
    ),
    "invalid-voted": Mutant(
        "An invalid block is voted for.",
        ((Engine, "_on_executed", _all_is_valid),),
        ("validity",),
        (2,),
    ),
}
