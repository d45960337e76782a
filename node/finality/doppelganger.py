"""The doppelganger check: find out whether another node votes with this node's session key.

Two nodes that sign with one key contradict each other sooner or later and lose their stake. So a
validator listens before it votes for the first time, and checks every verified vote of its own key:
one that its signer never signed was signed elsewhere, and the node stops.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from node.keys.vote_signer import VoteSigner
from runtime.errors import OpenLedgerError
from runtime.shared.finality import Vote

LISTEN_SECONDS: Final = 10.0
"""How long a validator listens before its first vote: several views of a healthy network."""

logger = logging.getLogger(__name__)


class DoppelgangerError(OpenLedgerError):
    """Another node votes with this node's session key."""


async def listen_before_voting(seconds: float) -> None:
    """Wait, while the votes of peers are received and checked; 0 seconds skip the check."""
    if seconds:
        logger.info("doppelganger-listening seconds=%.0f", seconds)
        await trio.sleep(seconds)


def check_own_vote(signer: VoteSigner, vote: Vote) -> None:
    """Check that a verified vote of the signer's key was signed here. Raises DoppelgangerError."""
    ballot = vote.ballot
    if signer.is_foreign(ballot):
        raise DoppelgangerError(
            f"Another node votes with the session key of this one: a vote of epoch "
            f"{ballot.epoch}, view {ballot.view} was not signed here. Two nodes with "
            "one key lose their stake, so this node stops. Stop the other one, or give this "
            "one a key of its own."
        )
