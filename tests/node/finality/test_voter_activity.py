"""What votes tell of their voter: a sample is verified, and who votes for no block stands out."""

from __future__ import annotations

from node.finality.voter_activity import (
    RECENT_VIEWS,
    SKIPPING_VIEWS_MIN,
    VERIFY_AGAIN_SECONDS,
    VoterActivity,
)
from runtime.shared.finality import NO_DIGEST, Ballot, Kind, Vote
from runtime.types.primitives import Hash

BLOCK = Hash(bytes([5]) * 32)


def vote(view: int, kind: Kind) -> Vote:
    return Vote(
        Ballot(0, view, int(kind), NO_DIGEST if kind == Kind.NULLIFY else BLOCK), 1, bytes(64)
    )


def test_one_vote_of_each_sort_is_verified_in_a_while() -> None:
    activity = VoterActivity()
    assert activity.is_news(vote(3, Kind.NULLIFY), 10.0)
    activity.add(vote(3, Kind.NULLIFY), 10.0)
    soon, later = 10.0 + VERIFY_AGAIN_SECONDS / 2, 10.0 + VERIFY_AGAIN_SECONDS
    assert not activity.is_news(vote(4, Kind.NULLIFY), soon)
    assert activity.is_news(vote(4, Kind.NOTARIZE), soon)
    assert activity.is_news(vote(4, Kind.NULLIFY), later)


def test_an_old_vote_tells_nothing() -> None:
    activity = VoterActivity()
    activity.add(vote(7, Kind.NOTARIZE), 10.0)
    assert not activity.is_news(vote(6, Kind.NOTARIZE), 100.0)


def test_a_validator_that_votes_for_blocks_in_most_views_does_not_skip() -> None:
    activity = VoterActivity()
    for view in range(1, 30):
        activity.add(vote(view, Kind.NULLIFY), view)
        if view % 5:
            activity.add(vote(view, Kind.NOTARIZE), view)
        assert not activity.is_skipping


def test_a_validator_that_votes_for_blocks_only_in_its_own_views_skips() -> None:
    activity = VoterActivity()
    for view in range(1, 3 * RECENT_VIEWS):
        activity.add(vote(view, Kind.NULLIFY if view % 5 else Kind.NOTARIZE), view)
        assert activity.is_skipping == (view >= SKIPPING_VIEWS_MIN)
