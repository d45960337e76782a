"""Whatever comes, in whatever order: the engine raises nothing and never contradicts itself."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import Engine
from consensus.messages import (
    BlockExecuted,
    BlockFinalized,
    BlockUnavailable,
    Built,
    CertificateRequest,
    Event,
    Execute,
    Message,
    Persist,
    Proposal,
    Propose,
    Received,
    Sign,
    Signed,
    Start,
    TimedOut,
    Timer,
    TimerKind,
)
from consensus.round import VIEWS_AHEAD, VIEWS_BEHIND
from consensus.settings import EngineSettings
from runtime.shared.finality import NO_DIGEST, Ballot, Claim, Kind, Vote, conflict
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    GENESIS,
    ROOT,
    certificate,
    header_of,
    proposal_of,
    set_of,
    sign,
)

SET = set_of([2, 1, 1, 1])
LAST = 4
FAR = (1 << 64) - 1
KINDS = (Kind.NOTARIZE, Kind.NULLIFY, Kind.FINALIZE)

# A chain, a branch beside it, and its boundary: 1 - 2 - 3 - 4 and 1 - 2'.
FIRST = proposal_of(SET, 1)
CERTIFIED = [certificate([0, 1, 2], Kind.NOTARIZE, 1, FIRST.header.hash)]
CHAIN = [FIRST]
for _view in (2, 3, 4):
    CHAIN.append(proposal_of(SET, _view, CERTIFIED[-1], number=_view))
    CERTIFIED.append(certificate([0, 1, 3], Kind.NOTARIZE, _view, CHAIN[-1].header.hash))
SKIPS = [certificate([0, 2, 3], Kind.NULLIFY, view) for view in range(1, 7)]
BESIDE = proposal_of(SET, 3, CERTIFIED[0], (SKIPS[1],), number=2, mark=b"beside")
TWIN = proposal_of(SET, 2, CERTIFIED[0], number=2, mark=b"twin")
AGAIN = replace(
    proposal_of(SET, 5, CERTIFIED[-1], number=4),
    header=CHAIN[-1].header,
    vote=sign(1, Ballot(0, 5, Kind.NOTARIZE, CHAIN[-1].header.hash)),
)
PROPOSALS = [*CHAIN, BESIDE, TWIN, AGAIN]
HEADERS = [one.header for one in PROPOSALS] + [header_of(ROOT, 9, Claim(0, 1, NO_DIGEST))]
DIGESTS = [NO_DIGEST, *(header.hash for header in HEADERS[:6])]

views = st.one_of(st.integers(0, 7), st.integers(0, 40), st.sampled_from([1 << 20, FAR]))
kinds = st.one_of(st.sampled_from(KINDS), st.integers(0, 255))
ballots = st.builds(Ballot, st.sampled_from([0, 0, 0, 1]), views, kinds, st.sampled_from(DIGESTS))
real_votes = st.builds(
    lambda voter, view, kind, digest: sign(
        voter, Ballot(0, view, kind, NO_DIGEST if kind == Kind.NULLIFY else digest)
    ),
    st.integers(0, 3),
    st.integers(1, 7),
    st.sampled_from(KINDS),
    st.sampled_from(DIGESTS[1:]),
)
votes = st.one_of(
    real_votes, real_votes, st.builds(Vote, ballots, st.integers(0, 65535), st.just(bytes(64)))
)
certificates = st.one_of(
    st.sampled_from(CERTIFIED + SKIPS),
    st.builds(
        certificate,
        st.sampled_from([[0, 1, 2], [0, 1], [1, 2, 3], [0, 0, 1]]),
        st.sampled_from(KINDS),
        st.integers(1, 7),
        st.sampled_from(DIGESTS),
    ),
)
proposals = st.one_of(
    st.sampled_from(PROPOSALS),
    st.builds(
        Proposal,
        st.sampled_from(HEADERS),
        votes,
        st.none() | certificates,
        st.lists(certificates, max_size=3).map(tuple),
    ),
)
asks = st.builds(CertificateRequest, st.just(0), views, views)
messages: st.SearchStrategy[Message] = st.one_of(proposals, votes, certificates, asks)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Received, st.integers(0, 5), messages),
    st.builds(Received, st.integers(0, 5), messages),
    st.builds(Received, st.integers(0, 5), messages),
    st.builds(TimedOut, st.builds(Timer, st.integers(0, 7), st.sampled_from(TimerKind))),
    st.builds(Built, views, st.none() | st.sampled_from(HEADERS)),
    st.builds(BlockExecuted, st.sampled_from(DIGESTS), st.booleans()),
    st.builds(BlockUnavailable, st.sampled_from(DIGESTS)),
    st.builds(Signed, votes),
    st.builds(BlockFinalized, st.sampled_from(HEADERS)),
    st.builds(Start),
)
RESTART = "restart"


class Caller:
    """Keeps the log, answers as a caller would, and watches what is signed."""

    def __init__(self, me: int | None) -> None:
        self.me = me
        self.log: list[bytes] = []
        self.said: dict[Ballot, None] = {}
        self.dies_at: int | None = None
        self.engine = self.fresh()

    def fresh(self) -> Engine:
        return Engine(
            genesis=GENESIS,
            authorities=SET,
            me=self.me,
            root=ROOT,
            last_number=LAST,
            settings=EngineSettings(),
        )

    def restart(self) -> None:
        self.engine = self.fresh()
        self.take(Start(tuple(self.log)))

    def take(self, event: Event) -> None:
        answers: list[Event] = [event]
        for _ in range(200):
            if not answers:
                return
            for action in self.engine.step(answers.pop()):
                if isinstance(action, Persist):
                    self.log.append(action.record)
                    if len(self.log) == self.dies_at:
                        self.restart()
                        return
                elif isinstance(action, Sign):
                    self.say(action.ballot)
                    assert self.me is not None
                    answers.append(Signed(sign(self.me, action.ballot)))
                elif isinstance(action, Propose):
                    header = header_of(action.parent, 1, action.claim, b"mine")
                    answers.append(Built(action.view, header))
                elif isinstance(action, Execute):
                    answers.append(BlockExecuted(action.header.hash, True))
        raise AssertionError("one event led to more than 200 answers")

    def say(self, ballot: Ballot) -> None:
        for other in self.said:
            assert not conflict(ballot, other), (ballot, other)
            pair = {ballot.kind, other.kind}
            is_same_view = ballot.view == other.view
            assert not (is_same_view and pair == {Kind.NOTARIZE} and ballot != other)
        self.said[ballot] = None


@given(
    st.sampled_from([None, 0, 1, 3]),
    st.lists(st.one_of(events, events, events, st.just(RESTART)), max_size=40),
)
@settings(max_examples=150)
def test_any_events_raise_nothing_and_contradict_nothing(
    me: int | None, sequence: list[Event | str]
) -> None:
    caller = Caller(me)
    for event in sequence:
        if isinstance(event, str):
            caller.restart()
        else:
            caller.take(event)


@given(st.integers(0, 3), st.lists(events, max_size=60), st.integers(1, 30))
@settings(max_examples=100)
def test_a_death_after_any_record_contradicts_nothing(
    me: int, sequence: list[Event], dies_at: int
) -> None:
    """The process dies within a step: what came before in it is durable, the rest never was."""
    caller = Caller(me)
    caller.dies_at = dies_at
    caller.take(Start())
    for event in sequence:
        caller.take(event)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 300), st.binary(min_size=32, max_size=32)),
        max_size=300,
    )
)
@settings(max_examples=20)
def test_forged_votes_fill_no_memory(flood: list[tuple[int, int, bytes]]) -> None:
    engine = Engine(
        genesis=GENESIS,
        authorities=SET,
        me=0,
        root=ROOT,
        last_number=LAST,
        settings=EngineSettings(),
    )
    engine.step(Start())
    for voter, view, digest in flood:
        forged = Vote(Ballot(0, view, Kind.NOTARIZE, Hash(digest)), voter, bytes(64))
        engine.step(Received(1, forged))
    rounds = engine.state.rounds._rounds
    assert len(rounds) <= VIEWS_AHEAD + VIEWS_BEHIND + 2
    for one in rounds.values():
        assert len(one.tally._places) <= 3 * 4
        assert len(one.tally._by_ballot) <= len(one.tally._places)
        assert one.tally._weights.keys() == one.tally._by_ballot.keys()
