"""The records of the registry: profiles, and the executors that compute by them.

A profile names everything that decides the bits of a result; only root registers one, with its
limits, so that nobody gets jobs for a profile of his own.
"""

from __future__ import annotations

from typing import Final

from pallets.jobs.parameters import Parameters
from runtime.codec.scale import scale, u8, u32, u64
from runtime.types.primitives import ZERO_HASH, AccountId, Balance, Hash

BASES_MAX: Final = 64
"""Bases that one executor declares."""
DECLINES_IN_ROW_MAX: Final = 8
"""Jobs that an executor may decline one after another; then it rests for the unbonding time."""
PROFILE_NAME_BYTES_MAX: Final = 64


@scale
class Profile:
    """How fast the machines of a profile are, and which jobs they take.

    `blocks_per_unit_milli` is the time for one unit of work, in thousandths of a block;
    `parameters_max` the largest base, `work_max` the longest job in units, `context_tokens` the
    longest rows.
    """

    name: str
    blocks_per_unit_milli: u32
    parameters_max: u64
    work_max: u64
    context_tokens: u32


@scale
class Executor:
    """A bonded executor. `registration` numbers registrations; `last_seen` is its last sign of life
    in blocks; `leaving_at` is the block from which its bond can be withdrawn. `bases` are the
    content hashes of the bases on its machine, in order; `reader` is the X25519 key for which texts
    that it is to read are encrypted. `declines` counts what it declined since a job of it settled
    or it rested. It is drawn from the block `drawable_from` on.
    """

    profile: Hash
    bond: Balance
    registration: u32
    last_seen: u32
    leaving_at: u32 | None = None
    settled: u32 = 0
    slashed: u32 = 0
    bases: tuple[Hash, ...] = ()
    reader: Hash = ZERO_HASH
    declines: u8 = 0
    drawable_from: u32 = 0


@scale
class ExecutorEntry:
    """An executor with its account and the number of its unfinished jobs."""

    account: AccountId
    executor: Executor
    assigned: u32


@scale
class GenesisExecutor:
    """An executor that is registered from the first block; its account is endowed."""

    account: AccountId
    profile: Hash
    bond: Balance
    bases: tuple[Hash, ...] = ()
    reader: Hash = ZERO_HASH


@scale
class Genesis:
    """Parameters, profiles and first executors of a chain."""

    parameters: Parameters = Parameters()
    profiles: tuple[tuple[Hash, Profile], ...] = ()
    executors: tuple[GenesisExecutor, ...] = ()
