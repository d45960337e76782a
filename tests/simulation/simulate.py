"""One simulation from one seed: chaos until GST, then progress, then calm; judged throughout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from runtime.shared.finality import claim_of
from tests.simulation.byzantine import Copy, Forger, Selective, Silent
from tests.simulation.ledger import Ledger
from tests.simulation.node import Death, Node
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.plan import Fault, Plan, draw
from tests.simulation.world import BOTH, Habits, LinkConditions, World

BLOCKS_MORE: Final = 3
"""Blocks that every honest node finalizes after GST."""
LIVENESS_MS: Final = 120_000
"""Virtual time in which it must."""
CALM_BLOCKS: Final = 3
CALM_LATENCY_MS: Final = 100
FAIR: Final = LinkConditions(low_ms=20, span_ms=180)
STEPS_MAX: Final = 80_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a simulation without a violation."""

    seed: int
    counts: Counter[str]
    height: int
    convicted: int
    steps: int
    healing_ms: int
    """Virtual time from GST until every honest node had its blocks."""


def simulate(seed: int) -> Outcome:
    """Run a seed. Raises Violation."""
    return run(draw(seed))


def run(plan: Plan) -> Outcome:
    """Run a plan. Raises Violation."""
    world = build(plan)
    for node in world.nodes:
        if node.identity not in plan.absent:
            node.boot()
    for fault in plan.faults:
        world.run(fault.at_ms)
        strike(world, fault, plan.absent)
    world.run(plan.gst_ms)
    repair(world, plan)
    healing = _assert_liveness(world)
    if plan.is_calm and not _has_ruler(plan):
        _assert_responsive(world)
    for node in honest(world):
        world.oracle.check_follower(node)
    counts = world.counts + world.oracle.counts
    counts.update(Counter(plan.byzantine.values()))
    counts["absent"] += len(plan.absent)
    counts["skewed-clock"] += len(plan.skews_ms)
    heights = [node.height for node in honest(world)]
    return Outcome(
        seed=plan.seed,
        counts=counts,
        height=max(heights),
        convicted=len(world.oracle.convicted),
        steps=world.steps,
        healing_ms=healing,
    )


def _has_ruler(plan: Plan) -> bool:
    """Return whether one node is a quorum: then it does not wait for messages of others."""
    return any(
        3 * max(weight for _, weight in members) > 2 * sum(weight for _, weight in members)
        for members in plan.epochs
    )


def build(plan: Plan) -> World:
    """Make the world of a plan, its nodes not yet started."""
    ledger = Ledger(plan.epochs, plan.epoch_blocks)
    oracle = Oracle(ledger, frozenset(plan.byzantine), may_fork=False)
    world = World(ledger, oracle, Random(plan.seed ^ 0x5EED))
    world.conditions, world.habits = plan.conditions, plan.habits
    world.skews_ms, world.is_clocked = dict(plan.skews_ms), bool(plan.skews_ms)
    for identity in plan.identities:
        role = plan.byzantine.get(identity)
        if role == "twin":
            world.add(Copy(world, identity, 0))
            world.add(Copy(world, identity, 1))
        elif role is None:
            world.add(Node(world, identity))
        else:
            kind = {"forger": Forger, "selective": Selective, "silent": Silent}[role]
            world.add(kind(world, identity))
    world.halves = {
        identity: world.rng.choice((0, 1, BOTH))
        for identity in plan.identities
        if identity not in plan.byzantine
    }
    return world


def honest(world: World) -> Sequence[Node]:
    """Return the honest nodes that run."""
    return [node for node in world.nodes if node.is_honest and node.is_up and not node.is_paused]


def strike(world: World, fault: Fault, absent: frozenset[int] = frozenset()) -> None:
    """Let a fault happen."""
    if fault.node in absent:
        return
    node = world.copies[fault.node][0] if fault.node in world.copies else None
    if fault.kind == "partition":
        world.groups = fault.groups
        world.counts["partition"] += 1
    elif fault.kind == "heal":
        world.groups = None
        if world.rng.random() < 0.5:  # the twins show themselves to others
            world.halves = {identity: world.rng.choice((0, 1, BOTH)) for identity in world.halves}
    elif fault.kind in ("lose-bodies", "bring-bodies"):
        world.without_bodies = frozenset(fault.groups)
        world.counts["bodies-lost-for-minutes"] += bool(fault.groups)
    elif node is None:
        return
    elif fault.kind == "fill-disk":
        node.fill_disk()
        world.counts["disk-full"] += 1
    elif fault.kind == "free-disk":
        node.free_disk()
    elif fault.kind == "crash" and node.is_up:
        node.death = fault.death
        if fault.death is Death.NOW:
            node.die()
    elif fault.kind == "restart":
        node.death = None
        if not node.is_up:
            node.boot()
    elif fault.kind == "pause" and node.is_up:
        node.pause()
        world.counts["pause"] += 1
    elif fault.kind == "resume" and node.is_paused and node.is_up:
        node.resume()


def repair(world: World, plan: Plan) -> None:
    """GST: the network is fair from now on, and who is not absent for ever runs."""
    world.groups = None
    world.without_bodies = frozenset()
    world.conditions = FAIR
    world.habits = replace(plan.habits, refusal=0.0)
    for node in world.nodes:
        if node.identity in plan.absent:
            continue
        node.death = None
        if node.disk.is_full:
            node.free_disk()
        if not node.is_up:
            node.boot()
        elif node.is_paused:
            node.resume()


def _assert_liveness(world: World) -> int:
    start, steps_max = world.now, world.steps + STEPS_MAX
    goal = max(node.height for node in honest(world)) + BLOCKS_MORE
    nodes = honest(world)
    is_there = world.run(
        start + LIVENESS_MS,
        lambda: all(node.height >= goal for node in nodes) or world.steps > steps_max,
    )
    if not is_there or world.steps > steps_max:
        state = {node.identity: (node.epoch, node.engine.view, node.height) for node in nodes}
        raise Violation(
            "liveness", f"height {goal} is not reached, (epoch, view, height) are {state}"
        )
    return world.now - start


def _assert_responsive(world: World) -> None:
    """With nothing wrong no view is skipped, and a block is final three delays after its start."""
    world.conditions = LinkConditions(low_ms=CALM_LATENCY_MS, span_ms=1)
    world.habits = Habits(pace_ms=0)
    nodes = honest(world)

    def is_together() -> bool:
        return len({(node.epoch, node.height) for node in nodes}) == 1 and (
            max(node.engine.view for node in nodes) - min(node.engine.view for node in nodes) <= 1
        )

    goal = max(node.height for node in nodes) + 2
    if not world.run(world.now + LIVENESS_MS, lambda: is_together() and nodes[0].height >= goal):
        raise Violation("responsiveness", "the nodes do not come together")
    oracle = world.oracle
    before = len(oracle.nullified)
    epoch, view, height = nodes[0].epoch, max(node.engine.view for node in nodes), nodes[0].height
    goal = height + CALM_BLOCKS + 2
    if not world.run(world.now + LIVENESS_MS, lambda: all(node.height >= goal for node in nodes)):
        raise Violation("responsiveness", "blocks stop")
    late = [
        ballot
        for ballot in oracle.nullified[before:]
        if (ballot.epoch, ballot.view) > (epoch, view + 1)
    ]
    if late:
        raise Violation("responsiveness", f"a view is skipped without a fault: {late[0]}")
    for number in range(height + 3, goal + 1):
        _assert_prompt(world, number)


def _assert_prompt(world: World, number: int) -> None:
    oracle = world.oracle
    nodes = honest(world)
    header = nodes[0].library.finals[number]
    claim = claim_of(header)
    assert claim is not None, "the oracle has checked it"
    began = oracle.proposed_at[int(claim.epoch), int(claim.view)]
    for node in nodes:
        took = oracle.final_at[node.identity, header.hash] - began
        if took > 3 * CALM_LATENCY_MS:
            raise Violation("responsiveness", f"block {number} took {took} ms on {node.identity}")
