"""The weight of each call and of each hook: the one file from which pallets take theirs.

A call that always does the same has a constant; one whose work grows has a function of what it
grows with. `python -m benchmarks weights --write` measures the calls and writes this file anew:
change the benchmark, not the numbers.
"""

from __future__ import annotations

from typing import Final

from runtime.frame.pallet import weight
from runtime.types.primitives import Weight

# System
SYSTEM_REMARK: Final = weight(10)


def system_remark_with_event(kibibytes: int) -> Weight:
    """Return the weight of System.remark_with_event, which hashes the remark."""
    return weight(20) + weight(0) * kibibytes


# Utility


def utility_batch(calls: int) -> Weight:
    """Return the weight of Utility.batch, batch_all and force_batch, without that of the calls."""
    return weight(20) + weight(5) * calls


# Timestamp
TIMESTAMP_SET: Final = weight(20, reads=1, writes=2)


# Balances
BALANCES_TRANSFER_ALLOW_DEATH: Final = weight(50, reads=2, writes=2)
BALANCES_FORCE_TRANSFER: Final = weight(50, reads=2, writes=2)
BALANCES_TRANSFER_KEEP_ALIVE: Final = weight(50, reads=2, writes=2)
BALANCES_TRANSFER_ALL: Final = weight(60, reads=2, writes=2)
BALANCES_BURN: Final = weight(40, reads=1, writes=2)


# Sudo
SUDO_SET_KEY: Final = weight(30, reads=1, writes=1)
SUDO_REMOVE_KEY: Final = weight(30, reads=1, writes=1)
SUDO_SUDO: Final = weight(20, reads=1)
SUDO_SUDO_AS: Final = weight(20, reads=1)


# Authorship
AUTHORSHIP_NO_CLAIM: Final = weight(5, reads=2, writes=1)
AUTHORSHIP_IMPOSSIBLE_CLAIM: Final = weight(10, reads=5, writes=1)


def authorship_on_initialize(skipped_views: int) -> Weight:
    """Return the weight of Authorship.on_initialize for a claim."""
    return weight(30, reads=6, writes=5) + weight(10, reads=4, writes=3) * skipped_views


# Randomness
RANDOMNESS_COMMIT: Final = weight(30, reads=4, writes=1)
RANDOMNESS_REVEAL: Final = weight(30, reads=5, writes=3)


# Offences
OFFENCES_CANCEL_SLASH: Final = weight(60, reads=4, writes=4)
OFFENCES_CONVICT: Final = weight(400, reads=16, writes=12)
OFFENCES_REPORT: Final = weight(400, reads=16, writes=12)


def offences_on_initialize(validators: int) -> Weight:
    """Return the weight of Offences.on_initialize that judges the turns of an epoch."""
    return weight(20, reads=4, writes=2) + weight(20, reads=2, writes=2) * validators


def offences_apply_slash(backers: int) -> Weight:
    """Return the weight of one slash in Offences.on_initialize."""
    return weight(1_000, reads=200, writes=200) + weight(0) * backers


# Staking
STAKING_BOND: Final = weight(80, reads=5, writes=5)
STAKING_BOND_EXTRA: Final = weight(120, reads=12, writes=8)
STAKING_UNBOND: Final = weight(140, reads=16, writes=8)
STAKING_WITHDRAW_UNBONDED: Final = weight(140, reads=16, writes=8)
STAKING_REBOND: Final = weight(120, reads=12, writes=8)
STAKING_SET_PAYEE: Final = weight(30, reads=1, writes=1)
STAKING_VALIDATE: Final = weight(60, reads=6, writes=4)
STAKING_NOMINATE: Final = weight(90, reads=20, writes=4)
STAKING_CHILL: Final = weight(60, reads=4, writes=4)
STAKING_SET_PARAMETERS: Final = weight(20, writes=1)
STAKING_ON_INITIALIZE: Final = weight(2, reads=1)


def staking_sweep(payouts: int) -> Weight:
    """Return the weight of Staking.on_initialize that pays earnings."""
    return weight(50, reads=4, writes=2) + weight(40, reads=9, writes=6) * payouts


# Session
SESSION_SET_KEYS: Final = weight(150, reads=3, writes=2)
SESSION_PURGE_KEYS: Final = weight(40, reads=1, writes=1)
SESSION_ON_INITIALIZE: Final = weight(1, reads=2)


def session_rotate(validators: int) -> Weight:
    """Return the weight of the end of an epoch in Session.on_finalize."""
    return weight(300, reads=8, writes=8) + weight(20, reads=1) * validators


# Datanets
DATANETS_CREATE: Final = weight(80, reads=5, writes=6)
DATANETS_EDIT: Final = weight(60, reads=2, writes=1)
DATANETS_REQUEST_ACCESS: Final = weight(30, reads=3, writes=1)
DATANETS_GRANT_ACCESS: Final = weight(30, reads=3, writes=2)
DATANETS_REVOKE_ACCESS: Final = weight(30, reads=3, writes=2)
DATANETS_ADD_CURATOR: Final = weight(30, reads=1, writes=1)
DATANETS_REMOVE_CURATOR: Final = weight(30, reads=1, writes=1)
DATANETS_REVIEW_ACCEPT: Final = weight(60, reads=7, writes=9)


def datanets_contribute(rows: int) -> Weight:
    """Return the weight of Datanets.contribute."""
    return weight(60, reads=6, writes=7) + weight(6, reads=1, writes=1) * rows


def datanets_review_refuse(rows: int) -> Weight:
    """Return the weight of Datanets.review that rejects a batch or calls it spam."""
    return weight(60, reads=7, writes=7) + weight(1, writes=1) * rows


def datanets_withdraw(rows: int) -> Weight:
    """Return the weight of Datanets.withdraw."""
    return weight(60, reads=7, writes=7) + weight(1, writes=1) * rows


def datanets_publish(batches: int) -> Weight:
    """Return the weight of Datanets.publish."""
    return weight(50, reads=3, writes=2) + weight(6, reads=2) * batches


# Models
MODELS_REGISTER_BASE: Final = weight(30, reads=1, writes=1)
MODELS_PUBLISH: Final = weight(50, reads=2, writes=1)
MODELS_SET_RATES: Final = weight(30, reads=1, writes=1)
MODELS_RETIRE: Final = weight(40, reads=3, writes=3)


def models_create(datanets: int) -> Weight:
    """Return the weight of Models.create."""
    return weight(80, reads=5, writes=5) + weight(0, reads=3) * datanets


# Jobs
JOBS_REGISTER_EXECUTOR: Final = weight(80, reads=4, writes=5)
JOBS_ADD_BOND: Final = weight(60, reads=3, writes=3)
JOBS_HEARTBEAT: Final = weight(30, reads=2, writes=1)
JOBS_UNREGISTER_EXECUTOR: Final = weight(50, reads=4, writes=1)
JOBS_WITHDRAW_BOND: Final = weight(60, reads=4, writes=4)
JOBS_CANCEL: Final = weight(100, reads=4, writes=6)
JOBS_SET_PARAMETERS: Final = weight(20, writes=1)
JOBS_SUBMIT: Final = weight(150, reads=40, writes=8)
JOBS_INDEX_AGAIN: Final = weight(150, reads=40, writes=8)
JOBS_COMMIT: Final = weight(100, reads=5, writes=5)
JOBS_REPORT_FAILURE: Final = weight(100, reads=5, writes=5)
JOBS_ON_INITIALIZE: Final = weight(10, reads=2, writes=1)


def jobs_reveal(entries: int) -> Weight:
    """Return the weight of Jobs.reveal."""
    return weight(100, reads=5, writes=5) + weight(1) * entries


def jobs_deadline(entries: int, executors: int) -> Weight:
    """Return the weight of one deadline in Jobs.on_initialize."""
    return (
        weight(300, reads=20, writes=20)
        + weight(5, writes=2) * entries
        + weight(0, reads=2) * executors
    )


# Attribution
ATTRIBUTION_CLOSE_EPOCH: Final = weight(200, reads=10, writes=10)
ATTRIBUTION_CLOSE_AGAIN: Final = weight(200, reads=10, writes=10)
ATTRIBUTION_CLAIM: Final = weight(60, reads=3, writes=4)
ATTRIBUTION_CLAIM_FOR: Final = weight(60, reads=3, writes=4)
ATTRIBUTION_SPEND_COMMONS: Final = weight(60, reads=3, writes=4)
ATTRIBUTION_SET_PARAMETERS: Final = weight(20, writes=1)


# Inference
INFERENCE_SET_PARAMETERS: Final = weight(20, writes=1)
INFERENCE_OPEN_CHANNEL: Final = weight(60, reads=5, writes=6)
INFERENCE_TOP_UP: Final = weight(40, reads=3, writes=3)
INFERENCE_REDEEM: Final = weight(200, reads=13, writes=13)
INFERENCE_CLOSE_CHANNEL: Final = weight(60, reads=5, writes=6)
INFERENCE_FINISH_CLOSE: Final = weight(60, reads=5, writes=6)
