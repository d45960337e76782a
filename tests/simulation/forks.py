"""Half the stake colludes: twins finalize two chains, one with each half of the honest nodes.

After the fork the votes of both sides convict more than a third of the stake, all of it Byzantine,
and an honest node that hears of the other side's finality signs no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from consensus.tally import equivocations
from consensus.write_ahead_log import decode_record
from runtime.shared.finality import Certificate, Kind
from tests.simulation.byzantine import Copy
from tests.simulation.ledger import Ledger, Members
from tests.simulation.node import Node
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.simulate import FAIR, Outcome, honest
from tests.simulation.world import BOTH, Habits, LinkConditions, World

FORK_MS: Final = 40_000
AFTER_MS: Final = 15_000


def fork(seed: int) -> Outcome:
    """Run a seed. Raises Violation."""
    rng = Random(seed)
    world = _build(rng)
    for node in world.nodes:
        node.boot()
    sides = {node.identity: node for node in honest(world)}
    world.run(rng.randrange(3000))
    _cut(world, rng)
    until = world.now + FORK_MS
    while world.now < until and not world.oracle.fork_heights:
        world.run(
            min(until, world.now + rng.randrange(500, 8000)),
            lambda: bool(world.oracle.fork_heights),
        )
        if rng.random() < 0.3 and not world.oracle.fork_heights:
            _cut(world, rng)  # some change sides, or receive from both copies
    if world.oracle.fork_heights:
        world.counts["forks"] += 1
        world.counts["convicted-percent-least"] += _assert_convicted(world)
        _assert_halt(world, list(sides.values()))
    counts = world.counts + world.oracle.counts
    height = max(node.height for node in sides.values())
    return Outcome(
        seed=seed,
        counts=counts,
        height=height,
        convicted=len(world.oracle.convicted),
        steps=world.steps,
        healing_ms=0,
    )


def _build(rng: Random) -> World:
    """Make a world in which twins have about half of the stake."""
    count = rng.choice((4, 5, 6, 6, 8, 9))
    weights = [rng.choice((3, 3, 4, 5)) for _ in range(count)]
    members: Members = tuple(enumerate(weights))
    twins: list[int] = []
    for identity in rng.sample(range(count), count - 2):
        if 2 * sum(weights[other] for other in twins) < sum(weights):
            twins.append(identity)
    ledger = Ledger([members], rng.choice((3, 200)))
    oracle = Oracle(ledger, frozenset(twins), may_fork=True)
    world = World(ledger, oracle, rng)
    world.conditions = LinkConditions(
        low_ms=rng.choice((20, 100)),
        span_ms=rng.choice((1, 200, 900)),
        loss=rng.choice((0.0, 0.1, 0.3)),
    )
    world.habits = Habits(pace_ms=rng.choice((0, 300)))
    for identity in range(count):
        if identity in twins:
            world.add(Copy(world, identity, 0))
            world.add(Copy(world, identity, 1))
        else:
            world.add(Node(world, identity))
    world.halves = {node.identity: BOTH for node in world.nodes if node.is_honest}
    return world


def _cut(world: World, rng: Random) -> None:
    """Cut the honest nodes into halves, each of which is connected to one copy of every twin."""
    identities = [node.identity for node in world.nodes if node.is_honest]
    rng.shuffle(identities)
    middle = max(1, len(identities) // 2)
    world.halves = {identity: int(at >= middle) for at, identity in enumerate(identities)}
    world.cut = True


def certificates_of(nodes: Sequence[Node], epoch: int) -> list[Certificate]:
    """Return all certificates of an epoch that nodes ever logged."""
    found: dict[Certificate, None] = {}
    for node in nodes:
        for record in map(decode_record, node.disk.history):
            if isinstance(record, Certificate) and record.ballot.epoch == epoch:
                found[record] = None
        for certificate in node.library.justifications.values():
            if certificate.ballot.epoch == epoch:
                found[certificate] = None
    return list(found)


def _assert_convicted(world: World) -> int:
    """Check that the certificates of both sides convict a third of the stake, all guilty."""
    lowest = min(world.oracle.fork_heights)
    epoch = (lowest - 1) // world.ledger.epoch_blocks
    nodes = [node for node in honest(world) if node.height >= lowest]
    authorities = nodes[0].set_of(epoch)
    assert authorities is not None, "both sides were in the epoch in which they parted"
    found = equivocations(certificates_of(nodes, epoch))
    guilty = {world.oracle.check_guilt(authorities, evidence) for evidence in found}
    weight = sum(authorities.authorities[voter].weight for voter in guilty)
    if 3 * weight < authorities.total:
        raise Violation(
            "accountability",
            f"a fork at {lowest} convicts {weight} of {authorities.total} alone",
        )
    return int(100 * weight / authorities.total)


def _assert_halt(world: World, nodes: Sequence[Node]) -> None:
    """Heal, and check that a node that knows both finalities in one epoch signs no more."""
    world.cut = False
    world.conditions = FAIR
    world.habits = replace(world.habits, pace_ms=300)
    world.run(world.now + AFTER_MS)
    halted = [node for node in nodes if node.halted is not None]
    world.counts["halted"] += len(halted)
    for node in nodes:
        if node not in halted and _knows_of_fork(node):
            raise Violation("agreement", f"node {node.identity} knows of a fork and goes on")


def _knows_of_fork(node: Node) -> bool:
    """Return whether a node got a certificate of finality that its headers show to be a rival's."""
    return any(
        certificate.ballot.kind == Kind.FINALIZE
        and node.engine.state.blocks.conflicts(certificate.ballot.digest)
        for certificate in certificates_of([node], node.epoch)
    )
