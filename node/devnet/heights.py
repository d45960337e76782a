"""The heights of a devnet's nodes: reading them, awaiting finality, having blocks made at once.

Works on nodes that run; it neither reads nor changes the devnet's file, so it needs no lock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.client.errors import ClientError
from node.devnet.errors import NodeStateError, NotFinalInTimeError
from node.devnet.member import Member
from node.devnet.process import until
from node.devnet.report import Probe

FINAL_SECONDS: Final = 60.0
IMMEDIATE_BLOCK_SECONDS: Final = 2.0
"""How long one block that is proposed immediately may take before `advance` gives up."""


@dataclass(frozen=True, slots=True)
class Advance:
    """The blocks that `advance` had made."""

    from_height: int
    to_height: int
    seconds: float


def finalized_height(member: Member) -> int:
    """Return a node's last final height. Raises ClientError when it does not answer."""
    with Probe(member.ready_endpoint().rpc) as probe:
        return probe.finalized()


def wait_final(members: Sequence[Member], height: int, seconds: float = FINAL_SECONDS) -> None:
    """Wait until a height is final on all of these nodes.

    Raises NotFinalInTimeError with the height of each, NodeStateError when one of them ended.
    """
    heights = dict.fromkeys((member.number for member in members), -1)

    def is_final() -> bool:
        for member in members:
            if heights[member.number] < height:
                heights[member.number] = _finalized_or(member, heights[member.number])
        return min(heights.values(), default=height) >= height

    if not until(is_final, seconds):
        listed = ", ".join(f"node {node} {final}" for node, final in sorted(heights.items()))
        raise NotFinalInTimeError(
            f"Block {height} is not final on all nodes after {seconds:.0f} s; final are: "
            f"{listed}. Ask why with `openledger devnet exec {members[0].number} -- "
            "status --explain`."
        )


def _finalized_or(member: Member, last_height: int) -> int:
    """Return a node's final height, or `last_height` while it does not answer.

    A node that is busy or starts may answer later, so its silence is no error. One that ended
    never will: waiting for it until the time is up would hide its cause.
    """
    if not member.process.is_alive:
        raise NodeStateError(f"Node {member.number} {member.process.cause_of_end()}.")
    try:
        return finalized_height(member)
    except ClientError:
        return last_height


def advance(members: Sequence[Member], blocks: int) -> Advance:
    """Have nodes propose so many blocks immediately, and wait until all have them final."""
    began = time.monotonic()
    start = max((finalized_height(member) for member in members), default=0)
    target = start + blocks
    for member in members:
        member.control.propose_immediately(target)
    wait_final(members, target, FINAL_SECONDS + blocks * IMMEDIATE_BLOCK_SECONDS)
    return Advance(start, target, time.monotonic() - began)
