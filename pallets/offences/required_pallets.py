"""The parts of other pallets that Offences calls."""

from __future__ import annotations

from typing import Protocol

from runtime.shared.finality import (
    AuthoritySet,
)
from runtime.types.primitives import AccountId


class Validators(Protocol):
    """The part of Session that Offences calls."""

    def epoch(self) -> int: ...
    def set_of(self, epoch: int) -> AuthoritySet | None: ...
    def disable(self, account: AccountId) -> None: ...


class Stakes(Protocol):
    """The part of Staking that Offences calls."""

    def chill_absent(self, who: AccountId, epoch: int) -> bool: ...
    def tombstone(self, who: AccountId) -> None: ...
    def lift_tombstone(self, who: AccountId) -> None: ...
    def backer_count(self, epoch: int, validator: AccountId) -> int: ...
    def slash(self, epoch: int, validator: AccountId, fraction: int) -> int: ...


class Authors(Protocol):
    """The part of Authorship that Offences calls."""

    def author(self) -> AccountId | None: ...
