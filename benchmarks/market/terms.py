"""The terms of the simulated market: prices, bonds, windows and sizes.

Times are in blocks and short, so that a world of three epochs passes in a few dozen blocks; what
has to hold is their order: a party that keeps to the rules is down for `DOWN_BLOCKS_MAX` at most,
and every window is longer.
"""

from __future__ import annotations

from typing import Final

from pallets import attribution, inference, jobs, models
from pallets.jobs.registry import Profile
from pallets.models import Base
from runtime.types.primitives import OPEN, Hash

MODEL: Final = 0
TRAIN_JOB: Final = 1_000
INDEX_JOB: Final = 1_001
ADAPTER: Final = Hash(b"adapter".ljust(32, b"\0"))
OTHER_ADAPTER: Final = Hash(b"other adapter".ljust(32, b"\0"))
BASE: Final = Hash(b"base".ljust(32, b"\0"))
PROFILE: Final = Hash(b"profile".ljust(32, b"\0"))
READER: Final = Hash(b"reader".ljust(32, b"\0"))
ROWS: Final = 2_000
SKETCH_SIZE: Final = 16
CONTEXT_TOKENS: Final = 2_048

ENDOWMENT: Final = 100_000 * OPEN
SERVER_BOND: Final = 2_000 * OPEN
EXECUTOR_BOND: Final = 100 * OPEN
DEPOSIT: Final = 100 * OPEN
RATE_IN: Final = 10 * OPEN
RATE_OUT: Final = 30 * OPEN
"""Planck per 1,000 tokens."""
PRICE_TOKENS_OUT: Final = 240
"""A voucher allows an answer of so many tokens."""

COMPUTE_PERMILLE: Final = 100
"""What computing an answer costs its server, of the fee: a false answer saves it."""
WORK_PERMILLE: Final = 300
"""What settling an epoch costs an executor, of its pay: an executor that does not work saves it."""

DRAWS: Final = 6
CLOSE_BLOCKS: Final = 16
TEXT_BLOCKS: Final = 6
CHALLENGE_BLOCKS: Final = 8
RETENTION_BLOCKS: Final = 10
COMMIT_BLOCKS: Final = 14
REVEAL_BLOCKS: Final = 5
DOWN_BLOCKS_MAX: Final = 3
VOUCHER_BLOCKS: Final = 40

EPOCH_BLOCKS: Final = 8
"""A server closes its epoch so often."""
ASKING_BLOCKS: Final = 24
"""Askers ask up to this block; then they close their channels."""
LAST_CLOSE: Final = ASKING_BLOCKS + CHALLENGE_BLOCKS + 2
"""Servers close their last epoch at this block and leave."""
BLOCKS: Final = LAST_CLOSE + 36
"""The world ends here: every settlement has come to its end."""

JOBS: Final = jobs.Genesis(
    jobs.Parameters(
        executors_per_job=2,
        spare_executors=1,
        sketch_size=SKETCH_SIZE,
        slack_percent=100,
        assignment_blocks=2,
        retry_blocks=1,
        open_blocks=20,
        decline_blocks=3,
        age_blocks=2,
        commit_blocks=COMMIT_BLOCKS,
        reveal_blocks=REVEAL_BLOCKS,
        unbonding_blocks=20,
        minimum_bond=EXECUTOR_BOND // 2,
    ),
    profiles=(
        (
            PROFILE,
            Profile(
                name="market",
                blocks_per_unit_milli=0,
                parameters_max=10**9,
                work_max=10**9,
                context_tokens=CONTEXT_TOKENS,
            ),
        ),
    ),
)
ATTRIBUTION: Final = attribution.Genesis(
    attribution.Parameters(draws=DRAWS, text_blocks=TEXT_BLOCKS, close_blocks=CLOSE_BLOCKS)
)
INFERENCE: Final = inference.Genesis(
    inference.Parameters(
        challenge_blocks=CHALLENGE_BLOCKS,
        retention_blocks=RETENTION_BLOCKS,
        server_bond_planck=SERVER_BOND // 2,
    )
)
MODELS: Final = models.Genesis(((BASE, Base("base", 10**8, CONTEXT_TOKENS)),))
