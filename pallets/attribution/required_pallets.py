"""The parts of other pallets that Attribution calls."""

from __future__ import annotations

from typing import Protocol

from pallets.jobs.job import Job
from pallets.required_system import BlockNumber, Pots
from runtime.shared.documents import JobSpec
from runtime.types.primitives import AccountId, Hash


class Currency(Protocol):
    """The part of Balances that Attribution calls."""

    def free(self, who: AccountId) -> int: ...
    def transfer(self, source: AccountId, dest: AccountId, amount: int) -> None: ...


class Blocks(BlockNumber, Pots, Protocol):
    """The part of System that Attribution calls."""


class ModelRegistry(Protocol):
    """The part of Models that Attribution calls."""

    def get(self, model: int) -> object | None: ...


class JobBoard(Protocol):
    """The part of Jobs that Attribution calls."""

    def price(self, spec: JobSpec) -> int | None: ...
    def open(
        self, spec: JobSpec, owner: AccountId, escrow_planck: int, seed: Hash | None
    ) -> int: ...
    def job(self, job: int) -> Job | None: ...
    def end_withheld(self, job: int) -> None: ...


class ServerBonds(Protocol):
    """The part of Inference that Attribution calls."""

    def bond_of(self, server: AccountId) -> int: ...
    def is_bonded(self, server: AccountId) -> bool: ...
    def slash_server(
        self, server: AccountId, amount: int, wronged: tuple[tuple[int, int], ...]
    ) -> int: ...
