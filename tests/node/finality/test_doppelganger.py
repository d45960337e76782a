"""The doppelganger check: a vote of this node's key that was signed elsewhere stops the node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from consensus.settings import EngineSettings
from node.finality import voter_activity
from node.finality.doppelganger import (
    LISTEN_VIEWS,
    REFUSED_SECONDS_MAX,
    DoppelgangerError,
    Listening,
    Surroundings,
    Waiting,
)
from node.keys.vote_signer import REMEMBERED_VIEWS, ConflictingBallotError, RecentBallots
from runtime.codec.scale import codec
from runtime.errors import ExitCode
from runtime.shared.finality import (
    NO_DIGEST,
    Authority,
    AuthoritySet,
    Ballot,
    Certificate,
    Kind,
    Vote,
)
from runtime.types.primitives import AccountId, Hash
from tests.node.support.seat import (
    HONEST,
    HOSTILE,
    OTHER,
    FakeService,
    Peer,
    Seat,
    replace_signature,
    seated,
)
from tests.node.support.small_node import run

ANY = Hash(bytes([5]) * 32)


async def settle() -> None:
    """Let everything that was said be taken."""
    await trio.testing.wait_all_tasks_blocked(0.02)


def raised_by(scenario: object) -> BaseException:
    """The first cause of what a scenario raises."""
    try:
        run(scenario)  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - looked at by the test
        found: BaseException = error
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        return found
    raise AssertionError("nothing was raised")


def test_old_votes_that_are_said_again_stop_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            me = made.participant.me
            assert me is not None
            await made.until(lambda: len(made.service.own_votes) >= 1)
            for view in range(1, 6):
                made.hear(HONEST, made.certificate(Ballot(0, view, Kind.NULLIFY, NO_DIGEST)))
            await made.until(lambda: made.participant.view >= 6)
            await made.until(lambda: any(one.view >= 6 for one in made.service.own_votes))
            for ballot in made.service.own_votes:
                made.hear(HOSTILE, made.vote(me, ballot))
            await settle()
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            for ballot in made.service.own_votes:
                made.hear(HOSTILE, made.vote(me, ballot))
            await settle()
            assert made.service.blamed == []

    run(scenario)


def test_a_forged_vote_in_this_nodes_name_stops_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0) as made:
            me = made.participant.me
            assert me is not None
            vote = made.vote(me, Ballot(0, 2, Kind.NOTARIZE, ANY))
            made.hear(HOSTILE, replace_signature(vote))
            made.hear(HOSTILE, made.vote(me, Ballot(9, 2, Kind.NOTARIZE, ANY)))
            await settle()
            await made.until(lambda: made.participant.view > 0)

    run(scenario)


@pytest.mark.parametrize("is_listening_first", [False, True])
@pytest.mark.parametrize("is_certified", [False, True])
def test_a_vote_that_was_signed_elsewhere_stops_the_node(
    tmp_path: Path, is_listening_first: bool, is_certified: bool
) -> None:
    """Also one that comes only inside a certificate."""
    said_by_this: list[Ballot] = []

    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=is_listening_first) as made:
            me = made.participant.me
            assert me is not None
            foreign = Ballot(0, 1, Kind.NOTARIZE, ANY)
            if is_certified:
                made.hear(HOSTILE, made.certificate(foreign, (me, (me + 1) % 4, (me + 2) % 4)))
            else:
                made.hear(HOSTILE, made.vote(me, foreign))
            try:
                await trio.sleep(10)
            finally:
                said_by_this.extend(made.service.own_votes)

    error = raised_by(scenario)
    assert isinstance(error, DoppelgangerError)
    assert error.exit_code == ExitCode.DOPPELGANGER == 7
    assert "not signed here" in str(error)
    if is_listening_first:
        assert said_by_this == [], "it had not voted yet"


def test_a_forged_certificate_in_this_nodes_name_stops_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=True) as made:
            me = made.participant.me
            assert me is not None
            certificate = made.certificate(Ballot(0, 1, Kind.NOTARIZE, ANY), (me,))
            forged = replace(certificate, votes=((me, bytes(64)),))
            made.hear(HOSTILE, forged)
            await trio.sleep(0.3)

    run(scenario)


def hear_views(made: Seat, first: int, last: int, validators: int = 2) -> None:
    """Let other validators, each with a quarter of the stake, be heard in views."""
    others = [voter for voter in range(4) if voter != made.participant.me][:validators]
    for view in range(first, last + 1):
        for other in others:
            made.hear(HONEST, made.vote(other, Ballot(0, view, Kind.NULLIFY, NO_DIGEST)))


def test_a_validator_that_hears_others_in_enough_views_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_activity, "VERIFY_AGAIN_SECONDS", 0.0)

    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=True) as made:
            await made.until(lambda: made.participant.waits_for is Waiting.VOTES)
            hear_views(made, 1, LISTEN_VIEWS - 1)
            hear_views(made, LISTEN_VIEWS, 3 * LISTEN_VIEWS, validators=1)
            await trio.sleep(0.5)
            assert made.participant.view == 0, "a quarter of the stake may be faulty"
            hear_views(made, 3 * LISTEN_VIEWS, 3 * LISTEN_VIEWS)
            await made.until(lambda: bool(made.service.own_votes))

    run(scenario)


def test_a_validator_without_peers_never_votes(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = FakeService(connected=())
        options = {"is_listening_first": True, "delay_ms": 10, "service": service}
        async with seated(tmp_path, 4, me=0, **options) as made:
            await trio.sleep(1.5)
            assert made.participant.waits_for is Waiting.PEERS
            assert made.service.own_votes == []

    run(scenario)


def test_a_validator_that_peers_have_left_behind_hears_nothing_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_activity, "VERIFY_AGAIN_SECONDS", 0.0)

    async def scenario() -> None:
        service = FakeService(connected=(Peer(HONEST), Peer(OTHER)))
        options = {"is_listening_first": True, "service": service}
        async with seated(tmp_path, 4, me=0, **options) as made:
            made.fetcher.highest_final = 99
            await made.until(lambda: made.participant.waits_for is Waiting.SYNC)
            hear_views(made, 1, 2 * LISTEN_VIEWS)
            await trio.sleep(1.0)
            assert made.participant.waits_for is Waiting.SYNC
            made.fetcher.highest_final = 0
            await made.until(lambda: made.participant.waits_for is Waiting.VOTES)
            hear_views(made, 2 * LISTEN_VIEWS, 4 * LISTEN_VIEWS)
            await made.until(lambda: bool(made.service.own_votes))

    run(scenario)


def test_any_number_of_peers_that_only_claim_a_later_epoch_delay_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_activity, "VERIFY_AGAIN_SECONDS", 0.0)

    async def scenario() -> None:
        liars = tuple(Peer(peer, finalized=10**9) for peer in (HOSTILE, OTHER))
        service = FakeService(connected=(Peer(HONEST), *liars))
        options = {"is_listening_first": True, "service": service}
        async with seated(tmp_path, 4, me=0, **options) as made:
            await made.until(lambda: made.participant.waits_for is Waiting.VOTES)
            hear_views(made, 1, 2 * LISTEN_VIEWS)
            await made.until(lambda: bool(made.service.own_votes))

    run(scenario)


def test_where_the_whole_network_stands_still_somebody_votes_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=True, delay_ms=40) as made:
            began = trio.current_time()
            await made.until(lambda: bool(made.service.own_votes))
            assert trio.current_time() - began >= LISTEN_VIEWS * 3 * 0.040

    run(scenario)


def test_a_validator_that_is_alone_in_the_set_votes_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = FakeService(connected=())
        async with seated(tmp_path, 1, me=0, is_listening_first=True, service=service) as made:
            await made.until(lambda: bool(made.service.own_votes))

    run(scenario)


BOOTNODE = Peer(HONEST)


def test_a_later_epoch_that_a_bootnode_knows_of_keeps_a_copy_silent_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where no block of it can be brought, and old votes of the others are said again."""
    monkeypatch.setattr(voter_activity, "VERIFY_AGAIN_SECONDS", 0.0)

    async def scenario() -> None:
        ahead = Peer(HONEST, finalized=10**6)
        service = FakeService(
            connected=(ahead, Peer(OTHER)), configured=(ahead,), has_configured_peers=True
        )
        options = {"is_listening_first": True, "delay_ms": 40, "service": service}
        async with seated(tmp_path, 4, me=0, **options) as made:
            await made.until(lambda: made.participant.waits_for is Waiting.SYNC)
            hear_views(made, 1, 3 * LISTEN_VIEWS)
            await trio.sleep(2 * LISTEN_VIEWS * 3 * 0.040)
            assert made.participant.waits_for is Waiting.SYNC
            assert made.service.own_votes == []

    run(scenario)


@pytest.mark.parametrize("case", ["no bootnode", "a bootnode that moves on", "refused"])
def test_a_stranger_who_says_that_he_votes_ends_no_listening(tmp_path: Path, case: str) -> None:
    """Silence proves nothing to a copy that only a stranger takes."""

    async def scenario() -> None:
        service = FakeService(connected=(Peer(HOSTILE),), has_configured_peers=True)
        service.refused_seconds = 3.0 if case == "refused" else 0.0
        options = {"is_listening_first": True, "delay_ms": 40, "service": service}
        async with seated(tmp_path, 4, me=0, **options) as made:
            for height in range(40):
                if case == "a bootnode that moves on":
                    service.configured = (replace(BOOTNODE, finalized=height),)
                await trio.sleep(2 * LISTEN_VIEWS * 3 * 0.040 / 40)
            assert made.participant.waits_for is not None
            assert made.service.own_votes == []

    run(scenario)


def test_where_a_bootnode_stands_still_as_well_somebody_votes_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = FakeService(
            connected=(BOOTNODE,), configured=(BOOTNODE,), has_configured_peers=True
        )
        options = {"is_listening_first": True, "delay_ms": 40, "service": service}
        async with seated(tmp_path, 4, me=0, **options) as made:
            await made.until(lambda: bool(made.service.own_votes))

    run(scenario)


def test_a_validator_whose_place_another_node_takes_later_ends_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0) as made:
            await made.until(lambda: bool(made.service.own_votes))
            made.service.refused_seconds = REFUSED_SECONDS_MAX + 1
            await trio.sleep(10)

    assert isinstance(raised_by(scenario), DoppelgangerError)


def test_a_copy_of_a_data_folder_that_every_peer_refuses_ends_with_its_own_exit_code(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        service = FakeService(connected=())
        async with seated(tmp_path, 4, me=0, is_listening_first=True, service=service) as made:
            service.refused_seconds = REFUSED_SECONDS_MAX
            await trio.sleep(0.3)
            assert made.participant.waits_for is Waiting.PEERS
            service.refused_seconds = REFUSED_SECONDS_MAX + 1
            await trio.sleep(10)

    error = raised_by(scenario)
    assert isinstance(error, DoppelgangerError)
    assert "data folder is a copy" in str(error)


def test_an_epoch_that_ends_while_a_validator_listens_is_followed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=True, epoch_blocks=2) as made:
            await made.until(lambda: made.participant.waits_for is Waiting.VOTES)
            parent = made.chain.genesis_hash
            for view in (1, 2):
                built = await made.block(view, parent)
                made.chain.add(built)
                ballot = Ballot(0, view, Kind.FINALIZE, built.hash)
                justification = codec(Certificate).encode(made.certificate(ballot))
                await made.chain.finalize(built.hash, justification)
                parent = built.hash
            await made.until(lambda: made.participant.epoch.number == 1)
            assert made.participant.view == 0

    run(scenario)


WEIGHTS = (1, 2, 3, 4)
KEYS = [bytes([index]) * 32 for index in range(4)]


class LifeOfAListener(RuleBasedStateMachine):
    """Whatever a network does, a validator votes only after enough views, or enough silence."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = Listening(EngineSettings(1_000))
        self.now = 0.0
        self.heard: dict[int, set[tuple[int, int]]] = {}
        self.heights: tuple[int, ...] | None = None
        self.unchanged_since: float | None = None

    @precondition(lambda self: self.listening.waits_for is not None)
    @rule(
        is_refused=st.sampled_from([False, False, True]),
        validators=st.integers(0, 3),
        is_current=st.booleans(),
        heights=st.none() | st.tuples(st.integers(0, 1), st.integers(0, 1)),
    )
    def look(
        self,
        is_refused: bool,
        validators: int,
        is_current: bool,
        heights: tuple[int, ...] | None,
    ) -> None:
        around = Surroundings(
            is_alone=False,
            is_refused=is_refused,
            validators=validators,
            is_current=is_current,
            heights=heights,
        )
        may_hear = validators and is_current and not is_refused
        if not may_hear:
            self.heard.clear()
        if not may_hear or heights is None or heights != self.heights:
            self.unchanged_since = self.now if may_hear and heights is not None else None
            self.heights = heights if may_hear else None
        self.listening.look(around, self.now)
        if self.listening.waits_for is None:
            assert self.unchanged_since is not None
            assert self.now - self.unchanged_since >= LISTEN_VIEWS * 3

    @rule(seconds=st.floats(0.1, 8.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.listening.waits_for is not None)
    @rule(
        voter=st.integers(0, 3),
        epoch=st.integers(0, 2),
        views=st.lists(st.integers(1, 9), max_size=9, unique=True),
    )
    def hear(self, voter: int, epoch: int, views: list[int]) -> None:
        members = tuple(
            Authority(AccountId(key), key, weight)
            for key, weight in zip(KEYS, WEIGHTS, strict=True)
        )
        authorities = AuthoritySet(epoch, bytes(32), members)
        for view in views:
            if self.listening.waits_for is Waiting.VOTES:
                self.heard.setdefault(voter, set()).add((epoch, view))
            ballot = Ballot(epoch, view, int(Kind.NULLIFY), NO_DIGEST)
            self.listening.hear(Vote(ballot, voter, bytes(64)), authorities)
            if self.listening.waits_for is None:
                enough = [who for who, known in self.heard.items() if len(known) >= LISTEN_VIEWS]
                assert 3 * sum(WEIGHTS[who] for who in enough) > sum(WEIGHTS)
                return


LifeOfAListener.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
test_random_lives_of_a_listener = LifeOfAListener.TestCase


def test_a_mark_that_was_lost_stops_the_node_before_it_votes_anew(tmp_path: Path) -> None:
    """Its own former votes are then as good as foreign: what else was signed nobody knows."""
    votes: list[Ballot] = []

    async def before() -> None:
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            await made.until(lambda: bool(made.service.own_votes))
            votes.extend(made.service.own_votes)

    async def after() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=True) as made:
            me = made.participant.me
            assert me is not None
            made.hear(HOSTILE, made.vote(me, votes[0]))
            await trio.sleep(10)

    run(before)
    (tmp_path / "history").unlink()
    (tmp_path / "log").unlink()
    error = raised_by(after)
    assert isinstance(error, DoppelgangerError)
    assert "signing history is empty" in str(error)
    assert "start this one again when epoch 0 is over" in str(error)


def test_a_node_that_has_signed_learns_that_another_one_votes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            me = made.participant.me
            assert me is not None
            await made.until(lambda: bool(made.service.own_votes))
            made.hear(HOSTILE, made.vote(me, Ballot(0, 90, Kind.NOTARIZE, ANY)))
            await trio.sleep(10)

    error = raised_by(scenario)
    assert isinstance(error, DoppelgangerError)
    assert "give this one a key of its own" in str(error)


ballots = st.builds(
    Ballot,
    st.integers(0, 3),
    st.integers(1, 3 * REMEMBERED_VIEWS),
    st.sampled_from([int(kind) for kind in Kind]),
    st.sampled_from([NO_DIGEST, ANY, Hash(bytes(31) + b"\1")]),
)


@given(st.lists(ballots, max_size=60))
def test_nothing_that_was_ever_signed_here_is_foreign(tried: list[Ballot]) -> None:
    window, signed = RecentBallots(), []
    for ballot in tried:
        try:
            window.check(ballot)
        except ConflictingBallotError:
            continue
        window.add(ballot)
        signed.append(ballot)
        assert not any(map(window.is_foreign, signed))
