"""The status of finality: which validators vote, and how much stake a quorum still needs.

`FinalityStatus.sentence` is the sentence about finality that operators read.
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
SILENT_SECONDS: Final = 5.0
"""A validator without a verified vote for so long counts as silent."""


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
    last_view: int
    last_vote_seconds_ago: float | None


@dataclass(frozen=True, slots=True)
class FinalityStatus:
    """The state of consensus at this node. Weights are planck of stake."""

    epoch: int
    view: int
    finalized_number: int
    last_number_of_epoch: int
    total_weight: int
    active_weight: int
    needed_weight: int
    is_voting: bool
    is_halted: bool
    validators: tuple[ValidatorState, ...]
    sentence: str


def finality_status(chain: Chain, participant: Participant) -> FinalityStatus:
    """Return the votes that finality has and the stake that it still needs."""
    epoch, me, now = participant.epoch, participant.me, trio.current_time()
    is_development = chain.spec.chain_type in DEVELOPMENT_TYPES
    names = _development_names() if is_development else {}
    states = []
    for index, authority in enumerate(epoch.authorities.authorities):
        last_vote = participant.last_votes.get(index)
        ago = None if last_vote is None else round(now - last_vote.at_seconds, 1)
        is_silent = index != me and (ago is None or ago > SILENT_SECONDS)
        states.append(
            ValidatorState(
                index=index,
                account=names.get(authority.account) or ss58.encode(authority.account),
                weight=authority.weight,
                is_me=index == me,
                is_silent=is_silent,
                last_view=participant.view
                if index == me
                else 0
                if last_vote is None
                else last_vote.view,
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
        last_number_of_epoch=epoch.last_number,
        total_weight=total,
        active_weight=active_weight,
        needed_weight=needed,
        is_voting=me is not None,
        is_halted=participant.is_halted,
        validators=tuple(states),
        sentence=_sentence(states, active_weight, needed, total, is_halted=participant.is_halted),
    )


def _sentence(
    states: list[ValidatorState], heard: int, needed: int, total: int, *, is_halted: bool
) -> str:
    silent = [state for state in states if state.is_silent]
    if is_halted:
        return (
            "Halted: two conflicting blocks are certified as final, so more than a third of the "
            "stake is faulty. Keep the data folder; it holds the evidence."
        )
    if not silent:
        return "All validators vote."
    names = ", ".join(
        f"{state.account} ({_percent(state.weight, total)}, "
        + (
            "never heard"
            if state.last_vote_seconds_ago is None
            else f"{state.last_vote_seconds_ago:.0f} s"
        )
        + ")"
        for state in silent
    )
    if heard >= needed:
        return f"Finality goes on. Silent: {names}."
    return (
        f"Finality lacks {_percent(needed - heard, total)} of the voting power: "
        f"{_percent(heard, total)} is heard, more than 66.7 % is needed. Silent: {names}."
    )


@cache
def _development_names() -> dict[bytes, str]:
    uris = [validator_uri(index) for index in range(NAMED_MAX)]
    return {Keypair.from_uri(uri).account: uri for uri in uris}


def _percent(part: int, total: int) -> str:
    return f"{part * 1000 // total / 10:.1f} %"
