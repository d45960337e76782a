"""What happens in a simulation: all of it is drawn from one seed before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.simulation.ledger import Members
from tests.simulation.node import Death
from tests.simulation.world import Habits, LinkConditions

ROLES: Final = ("twin", "twin", "forger", "forger", "selective", "silent")
SIZES: Final = (4,) * 10 + (5,) * 4 + (6, 6, 7, 7, 8, 10, 13, 16)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to nodes or to the network at a time."""

    at_ms: int
    kind: str
    node: int = -1
    death: Death = Death.NOW
    groups: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """One simulation."""

    seed: int
    epochs: Sequence[Members]
    epoch_blocks: int
    byzantine: Mapping[int, str]
    """The role of each Byzantine identity."""
    conditions: LinkConditions
    habits: Habits
    faults: Sequence[Fault]
    gst_ms: int
    """From here on everything is repaired, and the network is fair."""
    absent: frozenset[int]
    """Honest nodes that stay down even then."""
    skews_ms: Mapping[int, int]
    """By how much the clocks of some nodes are ahead, or behind (negative), for ever."""

    @property
    def identities(self) -> Sequence[int]:
        """All who are a member of some epoch."""
        return sorted({identity for members in self.epochs for identity, _ in members})

    @property
    def is_calm(self) -> bool:
        """Return whether nothing at all is wrong in the end."""
        return not self.byzantine and not self.absent and not self.skews_ms


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    rng = Random(seed)
    epochs = _epochs(rng)
    everyone = sorted({identity for members in epochs for identity, _ in members})
    faulty: list[int] = []
    if rng.random() < 0.75:
        for identity in rng.sample(everyone, len(everyone)):
            if all(_is_safe(members, [*faulty, identity]) for members in epochs):
                faulty.append(identity)
            if rng.random() < 0.25:
                break
    absent = frozenset(identity for identity in faulty if rng.random() < 0.15)
    byzantine = {identity: rng.choice(ROLES) for identity in faulty if identity not in absent}
    gst = rng.choice((2000, 5000, 8000, 12000))
    epoch_blocks = rng.choice((2, 3, 4, 5, 8, 30))
    conditions, habits = _link_conditions(rng), _habits(rng)
    honest = [identity for identity in everyone if identity not in byzantine]
    faults = _faults(rng, honest, gst)
    faults, gst = _add_lost_bodies(rng, everyone, faults, gst)
    return Plan(
        seed=seed,
        epochs=epochs,
        epoch_blocks=epoch_blocks,
        byzantine=byzantine,
        conditions=conditions,
        habits=habits,
        faults=sorted([*faults, *_full_disks(rng, honest, gst)], key=lambda fault: fault.at_ms),
        gst_ms=gst,
        absent=absent,
        skews_ms=_skews(rng, epochs, faulty),
    )


def _epochs(rng: Random) -> list[Members]:
    """Draw the sets of a few epochs; members come, go and change their weight."""
    size = rng.choice(SIZES)
    weigh = rng.choice((_equal, _equal, _mixed, _steep))
    members = [(identity, weigh(rng)) for identity in range(size)]
    epochs = [tuple(members)]
    newcomer = size
    for _ in range(rng.choice((0, 1, 2, 3))):
        if len(members) > 4 and rng.random() < 0.5:
            members.pop(rng.randrange(len(members)))
        if newcomer < size + 2 and rng.random() < 0.5:
            members.insert(rng.randrange(len(members) + 1), (newcomer, weigh(rng)))
            newcomer += 1
        if rng.random() < 0.5:
            index = rng.randrange(len(members))
            members[index] = (members[index][0], weigh(rng))
        if rng.random() < 0.3:
            rng.shuffle(members)
        epochs.append(tuple(members))
    return epochs


def _equal(_rng: Random) -> int:
    return 10**18


def _mixed(rng: Random) -> int:
    return rng.randrange(1, 10)


def _steep(rng: Random) -> int:
    return int(2 ** rng.randrange(6))


def _is_safe(members: Members, faulty: Sequence[int]) -> bool:
    """Return whether less than a third of the weight is faulty."""
    total = sum(weight for _, weight in members)
    return 3 * sum(weight for identity, weight in members if identity in faulty) < total


def _link_conditions(rng: Random) -> LinkConditions:
    return LinkConditions(
        low_ms=rng.choice((5, 50, 150)),
        span_ms=rng.choice((1, 100, 400, 900)),
        loss=rng.choice((0.0, 0.0, 0.05, 0.2, 0.4)),
        duplication=rng.choice((0.0, 0.0, 0.1)),
        straggling=rng.choice((0.0, 0.0, 0.05, 0.2)),
    )


def _habits(rng: Random) -> Habits:
    return Habits(
        pace_ms=rng.choice((300, 600, 1000)),
        execution_ms=rng.choice((0, 0, 100, 600)),
        inline=rng.choice((1.0, 1.0, 0.5, 0.0)),
        refusal=rng.choice((0.0, 0.0, 0.2, 0.5)),
    )


def _faults(rng: Random, honest: Sequence[int], gst: int) -> list[Fault]:
    faults: list[Fault] = []
    for _ in range(rng.choice((0, 1, 2, 3, 5))):
        at = rng.randrange(gst)
        until = min(gst, at + rng.randrange(50, 6000))
        node = rng.choice(honest)
        draw = rng.random()
        if draw < 0.45:
            death = rng.choice(list(Death))
            faults += [Fault(at, "crash", node, death), Fault(until, "restart", node)]
        elif draw < 0.55:  # all at once
            faults += [Fault(at, "crash", identity, Death.NOW) for identity in honest]
            faults += [Fault(until, "restart", identity) for identity in honest]
        elif draw < 0.7:
            faults += [Fault(at, "pause", node), Fault(until, "resume", node)]
        else:
            count = rng.choice((2, 2, 2, 3))
            groups = {identity: rng.randrange(count) for identity in range(32)}
            faults += [Fault(at, "partition", groups=groups), Fault(until, "heal")]
    return faults


def _add_lost_bodies(
    rng: Random, everyone: Sequence[int], faults: list[Fault], gst: int
) -> tuple[list[Fault], int]:
    """Draw whether all bodies, or those to some nodes, are lost for minutes; GST is put off."""
    if rng.random() >= 0.04:
        return faults, gst
    at = rng.randrange(gst)
    until = at + rng.randrange(60_000, 180_000)
    share = rng.choice((1.0, 0.5, 0.5))
    losers = {identity: 0 for identity in everyone if rng.random() < share}
    lost = [Fault(at, "lose-bodies", groups=losers), Fault(until, "bring-bodies")]
    return [*faults, *lost], until


def _full_disks(rng: Random, honest: Sequence[int], gst: int) -> list[Fault]:
    """Draw disks that are full for a while: of one node, or of all."""
    if rng.random() >= 0.1:
        return []
    at = rng.randrange(gst)
    until = min(gst, at + rng.randrange(50, 20_000))
    nodes = honest if rng.random() < 0.2 else [rng.choice(honest)]
    return [
        fault
        for node in nodes
        for fault in (Fault(at, "fill-disk", node), Fault(until, "free-disk", node))
    ]


def _skews(rng: Random, epochs: Sequence[Members], faulty: Sequence[int]) -> dict[int, int]:
    """Draw wrong clocks: minutes off for so few that with the faulty ones they decide nothing.

    Were they more, the time of the chain itself would be wrong, and it waits until it is right.
    """
    skews: dict[int, int] = {}
    if rng.random() >= 0.1:
        return skews
    everyone = sorted({identity for members in epochs for identity, _ in members})
    for identity in rng.sample(everyone, len(everyone)):
        wrong = [*faulty, *skews, identity]
        if identity not in faulty and all(_is_safe(members, wrong) for members in epochs):
            skews[identity] = rng.choice((-600_000, -60_000, -31_000, 20_000, 60_000, 600_000))
            if rng.random() < 0.5:
                break
    return skews
