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
from consensus.blocks import BlockStatus
from consensus.catchup import Catchup
from consensus.engine import Engine
from consensus.messages import Action, BlockExecuted, Event, Propose, Sign
from consensus.proposals import OtherSkipsError, check_form
from consensus.round import Round
from consensus.signatures import Signatures
from consensus.state import SILENT_VIEWS_MAX, ConsensusState
from consensus.write_ahead_log import encode_record
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
    """Return `ConsensusState.cast_vote` with another rule of which votes are still allowed."""

    def cast_vote(self: ConsensusState, kind: Kind, round: Round, digest: Hash) -> None:
        if self.me is None or self.is_halted or self.is_finished or not may(round, kind):
            return
        ballot = Ballot(self.epoch, round.view, int(kind), digest)
        if round.own.get(kind) == ballot:
            return
        round.own[kind] = ballot
        self._persist(ballot)
        self._actions.emit(Sign(ballot))

    return cast_vote


def _may_finalize_always(round: Round, kind: Kind) -> bool:
    is_barred = (kind == Kind.NULLIFY and Kind.FINALIZE in round.own) or (
        kind == Kind.NOTARIZE and Kind.NULLIFY in round.own
    )
    return kind not in round.own and not is_barred


def _may_nullify_always(round: Round, kind: Kind) -> bool:
    return kind not in round.own and (kind == Kind.NULLIFY or Kind.NULLIFY not in round.own)


def _may_notarize_again(round: Round, kind: Kind) -> bool:
    if kind == Kind.NOTARIZE:
        return Kind.NULLIFY not in round.own
    return _may_finalize_always(round, kind) and not (
        kind == Kind.FINALIZE and Kind.NULLIFY in round.own
    )


_add_proposal = Engine._add_proposal
_vote_on_proposal = Engine._vote_on_proposal


def _add_every_proposal(
    self: Engine, source: Hashable, proposal: m.Proposal, is_certified: bool
) -> None:
    self.state.rounds.at(int(proposal.vote.ballot.view)).proposal = None
    _add_proposal(self, source, proposal, is_certified)


def _vote_again(self: Engine, round: Round) -> None:
    """Vote on the proposal at hand, whatever was voted for before."""
    _vote_on_proposal(self, round)
    if round.proposal is not None and self.state.leader_of(round.view) != self.state.me:
        digest = round.proposal.vote.ballot.digest
        if self.state.blocks.is_valid(digest):
            self.state.cast_vote(Kind.NOTARIZE, round, digest)


_adopt = ConsensusState.adopt


def _adopt_unlogged(self: ConsensusState, certificate: Certificate) -> None:
    records = self._actions.records
    count = len(records)
    _adopt(self, certificate)
    unwanted = encode_record(certificate)
    records[count:] = [persist for persist in records[count:] if persist.record != unwanted]


_is_proven = ConsensusState.is_proven


def _skips_are_proven(self: ConsensusState, certificate: Certificate) -> bool:
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


_propose = Engine._propose


def _propose_past_boundary(self: Engine, round: Round) -> None:
    last, self.state.last_number = self.state.last_number, 1 << 40
    _propose(self, round)
    self.state.last_number = last


_step = Engine.step


def _step_without_skips(self: Engine, event: Event) -> list[Action]:
    return [
        replace(action, claim=Claim(action.claim.epoch, action.claim.view, NO_DIGEST))
        if isinstance(action, Propose)
        else action
        for action in _step(self, event)
    ]


def _on_built_unchecked(self: Engine, built: m.Built) -> None:
    state, header = self.state, built.header
    round = state.rounds.find(built.view)
    if header is None or round is None or round.plan is None or built.view != state.view:
        return
    if Kind.NULLIFY in round.own or Kind.NOTARIZE in round.own:
        return
    block = state.blocks.add(header, built.view, None)
    block.status = BlockStatus.VALID
    state.log_header(block)
    round.draft = header
    state.cast_vote(Kind.NOTARIZE, round, header.hash)


def _check_form_without_skips(proposal: m.Proposal, *rest: Any) -> None:
    try:
        check_form(proposal, *rest)
    except OtherSkipsError:
        return


def _silent_at_once(self: ConsensusState, voter: int) -> bool:
    return voter != self.me


def _silent_when_late(self: ConsensusState, voter: int) -> bool:
    """Leave out votes that come after their quorum: what the engine once did."""
    return voter != self.me and self.view - self.last_active_view[voter] > SILENT_VIEWS_MAX


def _halt_never(self: ConsensusState, first: Certificate, second: Certificate) -> None:
    """Take no notice."""


def _repeat_nothing(self: Catchup, round: Round) -> None:
    """Leave lost messages lost."""


_record_vote = ConsensusState.record_vote


def _nullify_with_others(self: ConsensusState, vote: Vote, source: Hashable) -> None:
    """Join every voter that nullifies a view, though FINALIZE was signed in it."""
    _record_vote(self, vote, source)
    if vote.ballot.kind == Kind.NULLIFY and vote.voter != self.me:
        round = self.rounds.at(vote.ballot.view)
        if Kind.FINALIZE in round.own:
            self.cast_vote(Kind.NULLIFY, round, NO_DIGEST)


_on_block_executed = Engine._on_block_executed


def _all_is_valid(self: Engine, event: BlockExecuted) -> None:
    _on_block_executed(self, BlockExecuted(event.block, True))


def _unavailable_for_good(self: Engine, digest: Hash) -> None:
    """Leave a block whose body did not come EXECUTING."""


_read = Disk.read


def _read_half(self: Disk) -> tuple[bytes, ...]:
    """After a start, the last writes are not there: nothing had made them durable."""
    self.records = self.records[: len(self.records) // 2]
    return _read(self)


def _restore_nothing_signed(self: ConsensusState, round: Round) -> None:
    round.own.clear()


MUTANTS: Final[dict[str, Mutant]] = {
    "lost-log": Mutant(
        "The log is not synced: a crash loses the half of it.",
        ((Disk, "read", _read_half),),
        ("durability",),
        (6,),
    ),
    "finalize-after-nullify": Mutant(
        "FINALIZE is signed in a view that was given up.",
        ((ConsensusState, "cast_vote", _voting(_may_finalize_always)),),
        ("durability",),
        (0,),
    ),
    "nullify-after-finalize": Mutant(
        "A view is given up in which FINALIZE was signed.",
        (
            (ConsensusState, "cast_vote", _voting(_may_nullify_always)),
            (ConsensusState, "record_vote", _nullify_with_others),
        ),
        ("durability",),
        (1,),
    ),
    "notarize-twice": Mutant(
        "The second proposal of a leader is voted for too.",
        (
            (ConsensusState, "cast_vote", _voting(_may_notarize_again)),
            (Engine, "_vote_on_proposal", _vote_again),
            (Engine, "_add_proposal", _add_every_proposal),
        ),
        ("durability",),
        (112,),
    ),
    "votes-forgotten": Mutant(
        "Ballots in the log are not taken up after a start.",
        ((ConsensusState, "_restore_ballots", _restore_nothing_signed),),
        ("durability",),
        (6,),
    ),
    "certificates-unlogged": Mutant(
        "Certificates are acted on without being durable.",
        ((ConsensusState, "adopt", _adopt_unlogged),),
        ("durability", "liveness"),
        (0,),
    ),
    "skips-unchecked": Mutant(
        "The NULLIFICATIONS in a proposal are believed.",
        ((ConsensusState, "is_proven", _skips_are_proven),),
        ("accountability", "validity", "agreement"),
        (43, 49),
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
        ((Engine, "_propose", _propose_past_boundary),),
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
        ((ConsensusState, "is_silent", _silent_at_once),),
        ("responsiveness", "liveness"),
        (1,),
    ),
    "silent-when-late": Mutant(
        "A leader whose votes are always late is taken for silent.",
        ((ConsensusState, "is_silent", _silent_when_late),),
        ("responsiveness",),
        (1572,),
    ),
    "fork-ignored": Mutant(
        "A conflicting FINALIZATION is no reason to stop.",
        ((ConsensusState, "_halt", _halt_never),),
        ("agreement",),
        (9,),
        "fork",
    ),
    "retry-missing": Mutant(
        "Nothing is said again.",
        ((Catchup, "repeat", _repeat_nothing),),
        ("liveness",),
        (11,),
    ),
    "body-given-up": Mutant(
        "A certified block whose body did not come is not tried again.",
        ((Engine, "_on_block_unavailable", _unavailable_for_good),),
        ("liveness",),
        (16442,),
    ),
    "invalid-voted": Mutant(
        "An invalid block is voted for.",
        ((Engine, "_on_block_executed", _all_is_valid),),
        ("validity",),
        (2,),
    ),
}
