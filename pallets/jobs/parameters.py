"""The parameters of jobs that root may change, with their bounds."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from pallets.balances import EXISTENTIAL_DEPOSIT
from runtime.codec.scale import scale, u8, u16, u32
from runtime.shared.documents import SKETCH_SIZE_DEFAULT
from runtime.types.primitives import OPEN, Balance


@scale
class Parameters:
    """The parameters that root may change. Times are in blocks, prices for each executor.

    `submission_percent` of a block is the most that submissions may use; what executors owe by a
    deadline is operational and has room of its own. A job is assigned where `spare_executors` more
    than it needs can be drawn, `assignment_blocks` after it was opened; an executor is drawn where
    nothing that decides it has changed for `age_blocks`. Both are more blocks than one author makes
    in a row: it could else choose a job's number, or register accounts, by a draw that it knows.
    Commits end after `commit_blocks` and `slack_percent` of the time that the profile
    needs for the work. Of the escrow of a job that fails by its owner's fault `kept_permille` is
    kept. `price_place_planck` is the first fee for a place of a chain that is half full. Only on a
    chain of too few executors for anything else `may_execute_own` lets who owns a job execute it.
    """

    executors_per_job: u8 = 2
    extra_attempts: u8 = 3
    spare_executors: u8 = 1
    may_execute_own: bool = False
    submission_percent: u8 = 10
    open_jobs_per_account: u16 = 16
    sketch_size: u16 = SKETCH_SIZE_DEFAULT
    slack_percent: u16 = 300
    kept_permille: u16 = 200
    assignment_blocks: u32 = 20
    retry_blocks: u32 = 5
    open_blocks: u32 = 600
    decline_blocks: u32 = 20
    commit_blocks: u32 = 2_400
    reveal_blocks: u32 = 60
    unbonding_blocks: u32 = 14_400
    heartbeat_blocks: u32 = 14_400
    age_blocks: u32 = 20
    minimum_bond: Balance = 100 * OPEN
    bond_cap: Balance = 100_000 * OPEN
    price_base_planck: Balance = OPEN // 100
    price_row_planck: Balance = OPEN // 10_000
    price_work_planck: Balance = OPEN // 100
    price_place_planck: Balance = OPEN // 10


PARAMETERS_MIN: Final = Parameters(
    executors_per_job=1,
    extra_attempts=0,
    spare_executors=0,
    may_execute_own=False,
    submission_percent=1,
    open_jobs_per_account=1,
    sketch_size=16,
    slack_percent=100,
    kept_permille=0,
    assignment_blocks=1,
    retry_blocks=1,
    open_blocks=2,
    decline_blocks=0,
    commit_blocks=2,
    reveal_blocks=2,
    unbonding_blocks=1,
    heartbeat_blocks=0,
    age_blocks=1,
    minimum_bond=EXISTENTIAL_DEPOSIT,
    bond_cap=EXISTENTIAL_DEPOSIT,
    price_base_planck=0,
    price_row_planck=0,
    price_work_planck=0,
    price_place_planck=0,
)
PARAMETERS_MAX: Final = Parameters(
    executors_per_job=5,
    extra_attempts=8,
    spare_executors=100,
    may_execute_own=True,
    submission_percent=25,
    open_jobs_per_account=1_000,
    sketch_size=8_192,
    slack_percent=10_000,
    kept_permille=500,
    assignment_blocks=100,
    retry_blocks=1_000,
    open_blocks=1_000_000,
    decline_blocks=10_000,
    commit_blocks=1_000_000,
    reveal_blocks=100_000,
    unbonding_blocks=10_000_000,
    heartbeat_blocks=10_000_000,
    age_blocks=100_000,
    minimum_bond=10_000_000 * OPEN,
    bond_cap=100_000_000 * OPEN,
    price_base_planck=1_000 * OPEN,
    price_row_planck=OPEN,
    price_work_planck=10 * OPEN,
    price_place_planck=1_000 * OPEN,
)


def are_within_bounds(parameters: Parameters) -> bool:
    """Return whether every parameter is within its bounds and the bond's cap not below its
    minimum."""
    return parameters.minimum_bond <= parameters.bond_cap and all(
        getattr(PARAMETERS_MIN, field.name)
        <= getattr(parameters, field.name)
        <= getattr(PARAMETERS_MAX, field.name)
        for field in fields(parameters)
    )
