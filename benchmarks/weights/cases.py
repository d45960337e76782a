"""All benchmarks, in the order of the pallets in the runtime."""

from __future__ import annotations

from typing import Final

from benchmarks.weights import (
    answer_cases,
    data_cases,
    job_cases,
    ledger_cases,
    payment_cases,
    validator_cases,
)
from benchmarks.weights.case import Benchmark

BENCHMARKS: Final[tuple[Benchmark, ...]] = tuple(
    benchmark
    for pallet in (
        ledger_cases.SYSTEM,
        ledger_cases.UTILITY,
        ledger_cases.TIMESTAMP,
        ledger_cases.BALANCES,
        ledger_cases.SUDO,
        validator_cases.AUTHORSHIP,
        validator_cases.RANDOMNESS,
        validator_cases.OFFENCES,
        validator_cases.STAKING,
        validator_cases.SESSION,
        data_cases.DATANETS,
        data_cases.MODELS,
        job_cases.JOBS,
        answer_cases.ATTRIBUTION,
        payment_cases.INFERENCE,
    )
    for benchmark in pallet.declared
)
