"""The status of finality: whether it makes progress, who votes, and what keeps it from going on.

`FinalityStatus.sentence` is what operators read. It says first whether blocks become final, from
the age of the last one, and then names the causes that this node can see.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    sentence: str


def finality_status(chain: Chain, participant: Participant) -> FinalityStatus:
    """Return the votes that finality has and the stake that it still needs."""
    epoch, me, now = participant.epoch, participant.me, trio.current_time()
    is_development = chain.spec.chain_type in DEVELOPMENT_TYPES
    names = _development_names() if is_development else {}
    states = []
    for index, authority in enumerate(epoch.authorities.authorities):
        activity = participant.activity.get(index)
        ago = None if activity is None else round(now - activity.at_seconds, 1)
        is_silent = index != me and (ago is None or ago > SILENT_SECONDS)
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
        sentence=_sentence(chain, participant, states, Power(active_weight, needed, total)),
    )


@dataclass(frozen=True, slots=True)
class Power:
    """Voting power in planck of stake: what is heard, what a quorum needs, and all."""

    heard: int
    needed: int
    total: int


def _sentence(
    chain: Chain, participant: Participant, states: Sequence[ValidatorState], power: Power
) -> str:
    """Return the progress of finality, and the causes that this node sees."""
    if participant.is_halted:
        return (
            "Halted: two conflicting blocks are certified as final, so more than a third of the "
            "stake is faulty. Keep the data folder; it holds the evidence."
        )
    slowing = [*_power_cause(power), *_skipping_cause(states, power)]
    causes = [*slowing, *_own_causes(participant), *_silent_cause(states, power.total)]
    if participant.is_standing:
        age = participant.seconds_without_finality
        progress = f"Finality stands: block {chain.finalized.number} became final {age:.0f} s ago."
        causes += _partition_cause(participant, len(states))
        causes = causes or ["This node sees no cause; ask other nodes for it."]
    elif slowing:
        progress = "Finality is slow or stops."
    else:
        progress = "Finality goes on." if causes else "All validators vote."
    return " ".join([progress, *causes])


def _own_causes(participant: Participant) -> list[str]:
    """Name what is wrong at this node."""
    obstacles, causes = participant.obstacles, []
    if participant.waits_for is not None:
        causes.append(
            "This validator does not vote yet: it listens for another node with its key, and "
            f"waits for {participant.waits_for.value}."
        )
    if obstacles.write_failure:
        causes.append(f"This node cannot write: {obstacles.write_failure}")
    if obstacles.ahead_ms:
        causes.append(
            f"This machine's clock is {obstacles.ahead_ms / 1_000:.0f} s behind the last proposed "
            "block, so it is not voted for here. Set the clock by NTP, if it is not the proposer's "
            "that is wrong."
        )
    if obstacles.missing_blocks:
        heights = obstacles.missing_blocks.values()
        causes.append(
            f"No peer has given {len(heights)} of the proposed blocks, from height {min(heights)} "
            "on; they are asked for again and again."
        )
    return causes


def _power_cause(power: Power) -> list[str]:
    if power.heard >= power.needed:
        return []
    return [
        f"Finality lacks {_percent(power.needed - power.heard, power.total)} of the voting power: "
        f"{_percent(power.heard, power.total)} is heard, more than 66.7 % is needed."
    ]


def _skipping_cause(states: Sequence[ValidatorState], power: Power) -> list[str]:
    """Name validators that only skip views, where those would be needed."""
    skipping = [state for state in states if state.is_skipping]
    weight = sum(state.weight for state in skipping)
    if not skipping or power.heard < power.needed or power.heard - weight >= power.needed:
        return []
    names = ", ".join(
        f"{state.account} ({_percent(state.weight, power.total)})" for state in skipping
    )
    return [
        f"Skipping most views: {names}. Their clocks may be wrong, their disks full, or "
        "blocks do not reach them."
    ]


def _silent_cause(states: Sequence[ValidatorState], total: int) -> list[str]:
    silent = [state for state in states if state.is_silent]
    if not silent:
        return []
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
    return [f"Silent: {names}."]


def _partition_cause(participant: Participant, validators: int) -> list[str]:
    others = validators - (participant.me is not None)
    connected = participant.connected_validators
    if connected >= others:
        return []
    return [f"This node is connected with {connected} of the nodes of {others} other validators."]


@cache
def _development_names() -> dict[bytes, str]:
    uris = [validator_uri(index) for index in range(NAMED_MAX)]
    return {Keypair.from_uri(uri).account: uri for uri in uris}


def _percent(part: int, total: int) -> str:
    return f"{part * 1000 // total / 10:.1f} %"
