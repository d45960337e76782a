"""The explanation of finality: the sentence that operators read, why it goes on or stands.

It says first whether blocks become final, from the age of the last one, and then names the causes
that this node can see: silent and skipping validators, its own faults, missing peers.
"""

from __future__ import annotations

from node.finality.participant import Participant
from node.finality.status import FinalityStatus


def explain(participant: Participant, status: FinalityStatus) -> str:
    """Return the progress of finality, and the causes that this node sees."""
    if status.is_halted:
        return (
            "Halted: two conflicting blocks are certified as final, so more than a third of the "
            "stake is faulty. Keep the data folder; it holds the evidence."
        )
    slowing = [*_power_cause(status), *_skipping_cause(status)]
    causes = [*slowing, *_own_causes(participant), *_silent_cause(status)]
    if status.is_standing:
        progress = (
            f"Finality stands: block {status.finalized_number} became final "
            f"{status.finalized_seconds_ago:.0f} s ago."
        )
        causes += _partition_cause(participant, len(status.validators))
        causes = causes or ["This node sees no cause; ask other nodes for it."]
    elif slowing:
        progress = "Finality is slow or stops."
    else:
        progress = "Finality goes on." if causes else "All validators vote."
    return " ".join([progress, *causes])


def _own_causes(participant: Participant) -> list[str]:
    """Name what is wrong at this node."""
    faults, causes = participant.faults, []
    if participant.waits_for is not None:
        causes.append(
            "This validator does not vote yet: it listens for another node with its key, and "
            f"waits for {participant.waits_for.value}."
        )
    if participant.database_failure:
        causes.append(
            "This node can write no final block, so it votes for none: "
            f"{participant.database_failure}"
        )
    if faults.log_failure:
        causes.append(f"This node cannot write its log of consensus: {faults.log_failure}")
    if faults.signing_failure:
        causes.append(f"This node's signer refuses to sign: {faults.signing_failure}")
    if faults.unfinalized_limit:
        causes.append(f"This node takes no more proposed blocks: {faults.unfinalized_limit}")
    if faults.ahead_ms:
        causes.append(
            f"This machine's clock is {faults.ahead_ms / 1_000:.0f} s behind the last proposed "
            "block, so it is not voted for here. Set the clock by NTP, if it is not the proposer's "
            "that is wrong."
        )
    if faults.missing_blocks:
        heights = faults.missing_blocks.values()
        causes.append(
            f"No peer has given {len(heights)} of the proposed blocks, from height {min(heights)} "
            "on; they are asked for again and again."
        )
    return causes


def _power_cause(status: FinalityStatus) -> list[str]:
    heard, needed, total = status.active_weight, status.needed_weight, status.total_weight
    if heard >= needed:
        return []
    return [
        f"Finality lacks {_percent(needed - heard, total)} of the voting power: "
        f"{_percent(heard, total)} is heard, more than 66.7 % is needed."
    ]


def _skipping_cause(status: FinalityStatus) -> list[str]:
    """Name validators that only skip views, where those would be needed."""
    heard, needed, total = status.active_weight, status.needed_weight, status.total_weight
    skipping = [state for state in status.validators if state.is_skipping]
    weight = sum(state.weight for state in skipping)
    if not skipping or heard < needed or heard - weight >= needed:
        return []
    names = ", ".join(f"{state.account} ({_percent(state.weight, total)})" for state in skipping)
    return [
        f"Skipping most views: {names}. Their clocks may be wrong, their disks full, or blocks do "
        "not reach them."
    ]


def _silent_cause(status: FinalityStatus) -> list[str]:
    silent = [state for state in status.validators if state.is_silent]
    if not silent:
        return []
    names = ", ".join(
        f"{state.account} ({_percent(state.weight, status.total_weight)}, "
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


def _percent(part: int, total: int) -> str:
    return f"{part * 1000 // total / 10:.1f} %"
