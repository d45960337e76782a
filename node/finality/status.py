"""The status of finality: whether it makes progress, who votes, and what a quorum needs.

The sentence that operators read of it is node/finality/explanation.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import trio

from genesis.devnet import validator_uri
from node.chain.chain import Chain
from node.finality.participant import Participant
from node.keys.node_keys import DEVELOPMENT_TYPES
from runtime.crypto import ss58
from runtime.crypto.keys import Keypair

NAMED_MAX: Final = 32
"""Validators of development networks that are called by their //Name."""


@dataclass(frozen=True, slots=True)
class ValidatorState:
    """One validator as this node sees it. `last_vote_seconds_ago` is None for never.

    `account` is its address, or its //Name on development networks.
    """

    index: int
    account: str
    weight: int
    is_me: bool
    is_silent: bool
    is_skipping: bool
    """Whether it votes, but in most views for no block."""
    last_view: int
    last_vote_seconds_ago: float | None


@dataclass(frozen=True, slots=True)
class FinalityStatus:
    """The state of consensus at this node. Weights are planck of stake."""

    epoch: int
    view: int
    finalized_number: int
    finalized_seconds_ago: float
    is_standing: bool
    last_number_of_epoch: int
    total_weight: int
    active_weight: int
    needed_weight: int
    is_voting: bool
    is_halted: bool
    validators: tuple[ValidatorState, ...]


def finality_status(chain: Chain, participant: Participant) -> FinalityStatus:
    """Return the votes that finality has and the stake that it still needs."""
    epoch, me, now = participant.epoch, participant.me, trio.current_time()
    is_development = chain.spec.chain_type in DEVELOPMENT_TYPES
    names = _development_names() if is_development else {}
    states = []
    for index, authority in enumerate(epoch.authorities.authorities):
        activity = participant.activity.get(index)
        ago = None if activity is None else round(now - activity.at_seconds, 1)
        is_silent = index != me and (ago is None or ago > participant.silent_seconds)
        states.append(
            ValidatorState(
                index=index,
                account=names.get(authority.account) or ss58.encode(authority.account),
                weight=authority.weight,
                is_me=index == me,
                is_silent=is_silent,
                is_skipping=not is_silent and activity is not None and activity.is_skipping,
                last_view=participant.view
                if index == me
                else 0
                if activity is None
                else activity.view,
                last_vote_seconds_ago=0.0 if index == me else ago,
            )
        )
    total = epoch.authorities.total
    active_weight = sum(state.weight for state in states if not state.is_silent)
    needed = 2 * total // 3 + 1
    return FinalityStatus(
        epoch=epoch.number,
        view=participant.view,
        finalized_number=chain.finalized.number,
        finalized_seconds_ago=round(participant.seconds_without_finality, 1),
        is_standing=participant.is_standing,
        last_number_of_epoch=epoch.last_number,
        total_weight=total,
        active_weight=active_weight,
        needed_weight=needed,
        is_voting=me is not None,
        is_halted=participant.is_halted,
        validators=tuple(states),
    )


@cache
def _development_names() -> dict[bytes, str]:
    uris = [validator_uri(index) for index in range(NAMED_MAX)]
    return {Keypair.from_uri(uri).account: uri for uri in uris}
