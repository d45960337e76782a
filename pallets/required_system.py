"""The parts of System that other pallets call, one Protocol for each purpose.

A pallet names the one it needs, or inherits from several:

    class Blocks(BlockNumber, Pots, Protocol):
        "The part of System that Attribution calls."
"""

from __future__ import annotations

from typing import Protocol

from runtime.types.primitives import AccountId, Hash


class BlockNumber(Protocol):
    """Gives the number of the block that is executed."""

    def current_number(self) -> int: ...


class BlockHashes(Protocol):
    """Gives the hashes of recent blocks and of the genesis block."""

    def hash_of(self, number: int) -> Hash | None: ...


class Pots(Protocol):
    """Makes accounts that belong to pallets and exist without a balance."""

    def create_pot(self, account: AccountId) -> None: ...
