"""The doppelganger check: find out whether another node votes with this node's session key.

Two nodes that sign with one key contradict each other sooner or later and lose their stake. So a
validator listens before its first vote, and follows the chain by synchronization alone:

    waits for   until                                                            then
    PEERS       a validator is connected, and no configured peer refuses its key SYNC
    SYNC        the network is in no later epoch                                 VOTES
    VOTES       validators with more than a third of the stake were heard in     it votes
                LISTEN_VIEWS views each, or the whole network stands still

Peers are free to lie, so what a stranger says lets nobody vote and keeps nobody from voting:
- More than a third of the stake is heard by its signatures. A second node with this key would have
  voted in those views; its votes count in certificates too, and one that the signer never signed
  stops the node. Views of the epoch before count as well, for an epoch may have fewer than needed.
- A later epoch is known from a peer that has brought blocks (node/sync/block_sync.py), or from a
  configured peer: a bootnode or reserved peer, which the operator chose.
- Where the whole network stands still nobody is heard, and somebody has to vote first. That it
  stands is believed when its last final block does not change, here and at the configured peers
  that are connected (at least one, where any are configured), for as long as those views take.
- That its key is in use elsewhere is heard from configured peers only, at any time, and while none
  of them takes this node it does not vote.

A validator that is alone in the set votes at once: it has nobody to hear.
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
    is_refused: bool
    """Whether configured peers refuse this node, because its key is in use, and none takes it."""
    validators: int
    """Connected peers that vote, by their own word."""
    is_current: bool
    """Whether no later epoch is known."""
    heights: tuple[int, ...] | None
    """The last final blocks here and at the connected configured peers; None where they prove
    nothing, because peers are configured and none is connected."""


class Listening:
    """Decides when a validator has heard enough to vote. Times are seconds on a steady clock."""

    def __init__(self, settings: EngineSettings) -> None:
        self._silence_seconds = LISTEN_VIEWS * settings.advance_ms / 1_000
        self._heard: dict[bytes, set[tuple[int, int]]] = {}
        """By session key: the epochs and views of its verified votes."""
        self._heights: tuple[int, ...] | None = None
        self._unchanged_since = 0.0
        self.waits_for: Waiting | None = Waiting.PEERS
        """None once the validator may vote."""

    def hear(self, vote: Vote, authorities: AuthoritySet) -> None:
        """Count a verified vote of another validator in the epoch of this node."""
        if self.waits_for is not Waiting.VOTES:
            return
        epoch, view = int(vote.ballot.epoch), int(vote.ballot.view)
        views = self._heard.setdefault(authorities.authorities[vote.voter].key, set())
        views.add((epoch, view))
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
        self.waits_for = _obstacle(around)
        if self.waits_for is not Waiting.VOTES:
            self._heard.clear()
            self._heights = None
        elif around.heights is None or around.heights != self._heights:
            self._heights, self._unchanged_since = around.heights, now
        elif now - self._unchanged_since >= self._silence_seconds:
            self.waits_for = None


def _obstacle(around: Surroundings) -> Waiting | None:
    """Return what a validator has to wait for in these surroundings."""
    if around.is_alone:
        return None
    if around.is_refused or not around.validators:
        return Waiting.PEERS
    return Waiting.VOTES if around.is_current else Waiting.SYNC


def check_own_vote(signer: VoteSigner, vote: Vote) -> None:
    """Check that a verified vote of the signer's key was signed here. Raises DoppelgangerError."""
    ballot = vote.ballot
    if not signer.is_foreign(ballot):
        return
    heard = f"a vote of epoch {ballot.epoch}, view {ballot.view} was not signed here"
    if signer.has_signed:
        raise DoppelgangerError(
            f"Another node votes with the session key of this one: {heard}. Two nodes with one key "
            "lose their stake, so this node stops. Stop the other one, or give this one a key of "
            "its own."
        )
    raise DoppelgangerError(
        f"The session key of this node has voted, and this node's signing history is empty: "
        f"{heard}. Either another node uses the key, or the history was lost with a data folder. "
        "Two nodes with one key lose their stake, and so does one that contradicts votes it does "
        "not know of, so this node stops. Stop the other node or bring its folder back; if neither "
        f"exists any more, start this one again when epoch {ballot.epoch} is over."
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
