"""The doppelganger check: find out whether another node votes with this node's session key.

Two nodes that sign with one key contradict each other sooner or later and lose their stake. So a
validator listens before its first vote: it follows the chain by synchronization alone until it has
heard validators with more than a third of the stake in LISTEN_VIEWS views of the current epoch
each, so that the faulty ones alone cannot end the listening. A second node with its key would have
voted in these views. Every vote of its own key counts, in votes and inside certificates; one that
its signer never signed was signed elsewhere, and the node stops.

Rules: what a node hears before it has peers, or in an epoch that the network has left, tells it
nothing. A validator that has heard nobody does not vote, with two exceptions. Where nothing becomes
final, too few may vote to be heard, and somebody has to vote first: then that has to last as long
as those views would take, and no peer's word is asked. And a validator that is alone in the set has
nobody to hear.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from consensus.settings import EngineSettings
from node.keys.vote_signer import VoteSigner
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.finality import AuthoritySet, Vote

LISTEN_VIEWS: Final = 6
"""Views in which other validators are heard before the first vote."""
REFUSED_SECONDS_MAX: Final = 25.0
"""For so long peers may refuse this node's key: a dead link to it is found and dropped sooner."""


class DoppelgangerError(OpenLedgerError):
    """Another node votes, or is connected, with a key of this node."""

    exit_code = ExitCode.DOPPELGANGER


class Waiting(Enum):
    """What a listening validator waits for."""

    PEERS = "validators among its peers"
    SYNC = "the current epoch"
    VOTES = "votes of other validators"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a listening validator knows of its network."""

    is_alone: bool
    """Whether it is the only validator of the epoch."""
    validators: int
    """Connected peers that vote, by their own word."""
    is_current: bool
    """Whether no later epoch is known: of peers that bring no blocks, the height is their word."""
    height: int
    """The last final block here."""


class Listening:
    """Decides when a validator has heard enough to vote. Times are seconds on a steady clock."""

    def __init__(self, settings: EngineSettings) -> None:
        self._silence_seconds = LISTEN_VIEWS * settings.advance_ms / 1_000
        self._heard: dict[bytes, set[tuple[int, int]]] = {}
        """By session key: the epochs and views of its verified votes."""
        self._height = -1
        self._quiet_since: float | None = None
        self.waits_for: Waiting | None = Waiting.PEERS
        """None once the validator may vote."""

    def hear(self, vote: Vote, authorities: AuthoritySet) -> None:
        """Count a verified vote of another validator in the epoch of this node."""
        if self.waits_for is not Waiting.VOTES:
            return
        epoch, view = int(vote.ballot.epoch), int(vote.ballot.view)
        views = self._heard.setdefault(authorities.authorities[vote.voter].key, set())
        views.add((epoch, view))
        # An epoch may have fewer views than are needed, so the one before counts as well.
        views -= {other for other in views if other[0] < epoch - 1}
        heard = sum(
            authority.weight
            for authority in authorities.authorities
            if len(self._heard.get(authority.key, ())) >= LISTEN_VIEWS
        )
        if 3 * heard > authorities.total:
            self.waits_for = None

    def look(self, around: Surroundings, now: float) -> None:
        """Take notice of the network; called again and again until nothing is waited for."""
        if self.waits_for is None:
            return
        if around.is_alone:
            self.waits_for = None
        elif not around.validators:
            self.waits_for, self._quiet_since = Waiting.PEERS, None
            self._heard.clear()
        else:
            self.waits_for = Waiting.VOTES if around.is_current else Waiting.SYNC
            if not around.is_current:
                self._heard.clear()
            self._note_silence(around.height, now)

    def _note_silence(self, height: int, now: float) -> None:
        """Note for how long nothing became final; what peers claim beyond it was not proven."""
        if self._quiet_since is None or height != self._height:
            self._quiet_since, self._height = now, height
        elif now - self._quiet_since >= self._silence_seconds:
            self.waits_for = None


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


def check_identity(seconds_refused: float) -> None:
    """Check that peers take this node. Raises DoppelgangerError where its key is in use."""
    if seconds_refused > REFUSED_SECONDS_MAX:
        raise DoppelgangerError(
            "This node's bootnodes refuse it, because another node with the same peer key is "
            "connected to them: this data folder is a copy of one that is in use. Two validators "
            "with one session key lose their stake, so this node stops. Stop the other one, or "
            "give this one a data folder of its own."
        )
