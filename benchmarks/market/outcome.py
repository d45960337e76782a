"""What came of one world: who won and lost how much, and who was slashed.

A party's wealth is all that it has free, held and claimable. Its gain is what its wealth grew by,
what the tokens are worth that it got, less what it spent on computing. Tokens of a server in league
with their asker are worth nothing: the two could have computed them themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.keys import account
from benchmarks.market.strategies.strategy import Strategy
from benchmarks.market.terms import ENDOWMENT
from benchmarks.market.world import World
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.jobs.job import Offence
from runtime.types.primitives import AccountId

GROUPS: Final = ("askers", "contributors", "executors", "servers", "owner", "others")


class MarketBrokenError(Exception):
    """A rule of the chain broke in a simulated world."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The gains of all parties of a world in planck, by name, without the tokens, whose worth is
    by asker and server; what was burned; how often the liars lied, were to be found out by the
    formula, and were; how often honest parties were slashed, and how often they were silent for
    too long."""

    gains: Mapping[str, int]
    tokens: Mapping[tuple[str, str], int]
    burned_planck: int
    lies: int
    expected: float | None
    found: int
    honest_slashes: int
    downtimes: int

    def gain_of(self, names: tuple[str, ...]) -> int:
        """Return the gain of some parties in league together."""
        worth = sum(
            planck
            for (asker, server), planck in self.tokens.items()
            if asker in names and server not in names
        )
        return worth + sum(self.gains.get(name, 0) for name in names)

    def by_group(self, coalition: tuple[str, ...]) -> dict[str, int]:
        """Return the gains of all others by their groups."""
        groups = dict.fromkeys(GROUPS, 0)
        for name in self.gains:
            if name not in coalition:
                groups[group_of(name)] += self.gain_of((name,))
        return groups


def group_of(name: str) -> str:
    """Return the group of a party."""
    for group in GROUPS:
        if name.startswith(group.removesuffix("s")):
            return group
    return "others"


def run_world(seed: int, name: str) -> Outcome:
    """Run one world and return what came of it. Raises MarketBrokenError."""
    strategy = STRATEGIES[name]
    world = World(seed, strategy)
    try:
        with world.chain.running():
            world.run()
            return _outcome_of(world, strategy)
    except Exception as error:
        raise MarketBrokenError(
            f"Seed {seed} of '{name}' ended with {type(error).__name__}: {error}. Replay it: "
            f"python -m benchmarks.market --first {seed} --seeds 1 --strategy '{name}'"
        ) from error


def _expected(world: World, liars: set[AccountId]) -> float | None:
    """Return in how many epochs the draws were to meet a false receipt: 1 - (1 - p)^m each, with m
    receipts that were looked at; None where there is no such formula."""
    percent = world.strategy.false_percent
    if percent is None:
        return None
    return sum(
        1 - (1 - percent / 100) ** looked_at
        for server, looked_at in world.looked_at
        if server in liars
    )


def _outcome_of(world: World, strategy: Strategy) -> Outcome:
    chain = world.chain
    gains = {}
    for name in world.names:
        who = account(name)
        record = chain.system.get_account(who).data
        wealth = record.free + record.reserved + chain.attribution.earnings(who).claimable
        gains[name] = wealth - ENDOWMENT - world.costs.get(name, 0)
    liars = {account(name) for name in (*strategy.coalition, *strategy.parties)}
    ours = {account(name) for name in strategy.coalition}
    found, honest, downtimes = world.refused, 0, 0
    for slash in chain.events(Inference.ServerSlashed):
        found += slash.server in ours
        honest += slash.server not in liars
    for offence in chain.events(Jobs.ExecutorSlashed):
        is_silent = offence.offence is Offence.NoShow
        found += offence.executor in ours
        downtimes += offence.executor not in liars and is_silent
        honest += offence.executor not in liars and not is_silent
    return Outcome(
        gains=gains,
        tokens=dict(world.tokens),
        burned_planck=chain.balances.burned.get(),
        lies=world.lies,
        expected=_expected(world, ours),
        found=found,
        honest_slashes=honest,
        downtimes=downtimes,
    )
