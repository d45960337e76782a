"""A party of the market, and what passes between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from benchmarks.market.answers import Answer
from benchmarks.market.chain import Chain
from benchmarks.market.keys import account
from benchmarks.market.terms import BLOCKS, DOWN_BLOCKS_MAX

if TYPE_CHECKING:
    from benchmarks.market.world import World

UP_BLOCKS_MIN = 6


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an asker gets for a voucher: so many tokens of an answer, and its receipt."""

    tokens_out: int
    answer: Answer | None


class Party:
    """Somebody with an account, who may act once in every block in which its machine runs."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.account = account(name)

    @property
    def chain(self) -> Chain:
        """The chain on which the party acts."""
        return self.world.chain

    @property
    def block(self) -> int:
        """The number of the present block."""
        return self.world.chain.number

    def act(self) -> None:
        """Do what is due in this block; nothing, for who only holds an account."""


def down_blocks(dice: Random) -> frozenset[int]:
    """Return the blocks in which a machine is down: short outages with longer times between."""
    down: set[int] = set()
    at = dice.randrange(2, 20)
    while at < BLOCKS:
        length = dice.randint(1, DOWN_BLOCKS_MAX)
        down.update(range(at, at + length))
        at += length + UP_BLOCKS_MIN + dice.randrange(20)
    return frozenset(down)
