"""Weights of all calls and hooks: the one file from which pallets take theirs.

A call that always does the same has a constant; one whose work grows has a function of what it
grows with. `python -m benchmarks weights --write` measures them and writes this file: change the
benchmark, not the numbers.
"""

from __future__ import annotations

from typing import Final

from runtime.frame.pallet import weight
from runtime.types.primitives import Weight

# System
SYSTEM_REMARK: Final = weight(2)


def system_remark_with_event(kibibytes: int) -> Weight:
    """Return the weight of System.remark_with_event, which hashes the remark."""
    return weight(5) + weight(3) * kibibytes


# Utility


def utility_batch(calls: int) -> Weight:
    """Return the weight of a batch of calls, without that of the calls."""
    return weight(18) + weight(6) * calls


# Timestamp
TIMESTAMP_SET: Final = weight(8, reads=2, writes=2)


# Balances
BALANCES_TRANSFER_ALLOW_DEATH: Final = weight(56, reads=4, writes=4)
BALANCES_FORCE_TRANSFER: Final = weight(56, reads=4, writes=4)
BALANCES_TRANSFER_KEEP_ALIVE: Final = weight(44, reads=2, writes=2)
BALANCES_TRANSFER_ALL: Final = weight(47, reads=2, writes=2)
BALANCES_BURN: Final = weight(33, reads=3, writes=3)


# Sudo
SUDO_SUDO: Final = weight(18, reads=1)
SUDO_SET_KEY: Final = weight(14, reads=1, writes=1)
SUDO_SUDO_AS: Final = weight(11, reads=1)
SUDO_REMOVE_KEY: Final = weight(8, reads=1, writes=1)


# Authorship
AUTHORSHIP_NO_CLAIM: Final = weight(6, reads=1, writes=1)
AUTHORSHIP_IMPOSSIBLE_CLAIM: Final = weight(57, reads=4, writes=1)


def authorship_on_initialize(skipped_views: int) -> Weight:
    """Return the weight of Authorship.on_initialize for a possible claim."""
    return weight(700, reads=7, writes=3) + weight(18, reads=3, writes=2) * skipped_views


# Randomness
RANDOMNESS_COMMIT: Final = weight(30, reads=3, writes=1)
RANDOMNESS_REVEAL: Final = weight(42, reads=5, writes=3)


# Offences
OFFENCES_CONVICT: Final = weight(1_400, reads=12, writes=8)
OFFENCES_REPORT: Final = weight(1_500, reads=12, writes=8)
OFFENCES_CANCEL_SLASH: Final = weight(250, reads=3, writes=3)


def offences_on_initialize(validators: int) -> Weight:
    """Return the weight of Offences.on_initialize, which judges the turns of an epoch."""
    return weight(24, reads=3, writes=1) + weight(39, reads=2, writes=2) * validators


def offences_apply_slash(backers: int) -> Weight:
    """Return the weight of one slash in Offences.on_initialize."""
    return weight(120, reads=9, writes=4) + weight(99, reads=4, writes=4) * backers


# Staking
STAKING_BOND: Final = weight(85, reads=4, writes=5)
STAKING_BOND_EXTRA: Final = weight(340, reads=23, writes=6)
STAKING_UNBOND: Final = weight(500, reads=28, writes=6)
STAKING_WITHDRAW_UNBONDED: Final = weight(440, reads=24, writes=6)
STAKING_REBOND: Final = weight(410, reads=24, writes=6)
STAKING_SET_PAYEE: Final = weight(22, reads=1, writes=1)
STAKING_VALIDATE: Final = weight(69, reads=7, writes=5)
STAKING_NOMINATE: Final = weight(160, reads=23, writes=5)
STAKING_CHILL: Final = weight(52, reads=4, writes=3)
STAKING_SET_PARAMETERS: Final = weight(12, writes=2)
STAKING_ON_INITIALIZE: Final = weight(4, reads=1)


def staking_sweep(payouts: int) -> Weight:
    """Return the weight of Staking.on_initialize, which pays earnings."""
    return weight(180, reads=23, writes=3) + weight(210, reads=5, writes=4) * payouts


def staking_plan_era(validators: int, nominators: int) -> Weight:
    """Return the weight of the election for an era."""
    return (
        weight(0, reads=1, writes=2)
        + weight(410, reads=3, writes=3) * validators
        + weight(140, reads=2) * nominators
    )


def staking_begin_era(validators: int, nominators: int) -> Weight:
    """Return the weight of the change of eras: what one pays, and the positions of the next."""
    return (
        weight(200, reads=12, writes=9)
        + weight(240, reads=8, writes=3) * validators
        + weight(170, reads=1, writes=1) * nominators
    )


def staking_forget_era(validators: int, slashes: int) -> Weight:
    """Return the weight of removing what is known of an era, each slash of it as well."""
    return (
        weight(68, reads=1, writes=3)
        + weight(56, writes=4) * validators
        + weight(20, reads=1, writes=1) * slashes
    )


# Session
SESSION_SET_KEYS: Final = weight(210, reads=2, writes=2)
SESSION_PURGE_KEYS: Final = weight(17, reads=1, writes=1)
SESSION_ON_INITIALIZE: Final = weight(5, reads=1)


def session_rotate(validators: int) -> Weight:
    """Return the weight of the end of an epoch in Session.on_finalize, elections apart."""
    return weight(130, reads=10, writes=7) + weight(20, reads=1) * validators


# Datanets
DATANETS_CREATE: Final = weight(180, reads=4, writes=5)
DATANETS_EDIT: Final = weight(160, reads=1, writes=1)
DATANETS_REQUEST_ACCESS: Final = weight(120, reads=3, writes=1)
DATANETS_GRANT_ACCESS: Final = weight(120, reads=2, writes=2)
DATANETS_REVOKE_ACCESS: Final = weight(110, reads=2, writes=2)
DATANETS_ADD_CURATOR: Final = weight(140, reads=1, writes=1)
DATANETS_REMOVE_CURATOR: Final = weight(140, reads=1, writes=1)
DATANETS_REVIEW_ACCEPT: Final = weight(280, reads=6, writes=7)


def datanets_contribute(rows: int) -> Weight:
    """Return the weight of Datanets.contribute, which looks up and stores each row."""
    return weight(290, reads=5, writes=5) + weight(15, reads=1, writes=1) * rows


def datanets_review_refuse(rows: int) -> Weight:
    """Return the weight of Datanets.review that rejects a batch or calls it spam."""
    return weight(290, reads=8, writes=7) + weight(9, writes=1) * rows


def datanets_withdraw(rows: int) -> Weight:
    """Return the weight of Datanets.withdraw, which frees each row."""
    return weight(280, reads=6, writes=5) + weight(8, writes=1) * rows


def datanets_publish(batches: int) -> Weight:
    """Return the weight of Datanets.publish, which hashes the root of each accepted batch."""
    return weight(150, reads=2, writes=2) + weight(35, reads=2) * batches


# Models
MODELS_REGISTER_BASE: Final = weight(20, reads=1, writes=1)
MODELS_PUBLISH: Final = weight(110, reads=1, writes=1)
MODELS_SET_RATES: Final = weight(110, reads=1, writes=1)
MODELS_RETIRE: Final = weight(150, reads=3, writes=3)


def models_create(datanets: int) -> Weight:
    """Return the weight of Models.create, which looks up each datanet version."""
    return weight(160, reads=5, writes=5) + weight(98, reads=3) * datanets


def models_set_datanets(datanets: int) -> Weight:
    """Return the weight of Models.set_datanets, which looks up each datanet version."""
    return weight(110, reads=1, writes=1) + weight(96, reads=3) * datanets


# Jobs
JOBS_REGISTER_EXECUTOR: Final = weight(23_000, reads=775, writes=6)
JOBS_REGISTER_PROFILE: Final = weight(19, writes=1)
JOBS_SET_BASES: Final = weight(170, reads=2, writes=1)
JOBS_SET_READER: Final = weight(150, reads=2, writes=1)
JOBS_ADD_BOND: Final = weight(220, reads=4, writes=3)
JOBS_HEARTBEAT: Final = weight(120, reads=2, writes=1)
JOBS_UNREGISTER_EXECUTOR: Final = weight(490, reads=5, writes=2)
JOBS_WITHDRAW_BOND: Final = weight(180, reads=5, writes=3)
JOBS_CANCEL: Final = weight(190, reads=7, writes=7)
JOBS_SET_PARAMETERS: Final = weight(30, writes=1)
JOBS_SUBMIT: Final = weight(1_700, reads=60, writes=11)
JOBS_INDEX_AGAIN: Final = weight(1_100, reads=29, writes=12)
JOBS_COMMIT: Final = weight(3_300, reads=132, writes=4)
JOBS_REPORT_FAILURE: Final = weight(5_600, reads=96, writes=96)
JOBS_DECLINE: Final = weight(5_800, reads=101, writes=100)
JOBS_ON_INITIALIZE: Final = weight(22, reads=2, writes=1)


def jobs_reveal(entries: int) -> Weight:
    """Return the weight of Jobs.reveal, which hashes the output."""
    return weight(2_600, reads=131, writes=4) + weight(4) * entries


def jobs_deadline(entries: int, executors: int) -> Weight:
    """Return the weight of one deadline in Jobs.on_initialize: it fails, settles or draws."""
    return (
        weight(15_000, reads=294, writes=115)
        + weight(91, writes=3) * entries
        + weight(30, reads=2) * executors
    )


# Attribution
ATTRIBUTION_CLOSE_EPOCH: Final = weight(420, reads=19, writes=16)
ATTRIBUTION_CLOSE_AGAIN: Final = weight(430, reads=17, writes=12)
ATTRIBUTION_CLAIM: Final = weight(70, reads=4, writes=4)
ATTRIBUTION_CLAIM_FOR: Final = weight(69, reads=4, writes=4)
ATTRIBUTION_SPEND_COMMONS: Final = weight(64, reads=4, writes=4)
ATTRIBUTION_SET_PARAMETERS: Final = weight(27, writes=1)
ATTRIBUTION_CLAIM_SHARE: Final = weight(200, reads=3, writes=3)
ATTRIBUTION_SHOW_TEXTS: Final = weight(140, reads=3, writes=2)
ATTRIBUTION_REPORT_WITHHELD: Final = weight(4_500, reads=125, writes=125)
ATTRIBUTION_REPORT_OVERDUE: Final = weight(230, reads=10, writes=9)
ATTRIBUTION_SWEEP_POOL: Final = weight(87, reads=5, writes=4)


# Inference
INFERENCE_SET_PARAMETERS: Final = weight(20, reads=2, writes=2)
INFERENCE_OPEN_CHANNEL: Final = weight(160, reads=6, writes=7)
INFERENCE_TOP_UP: Final = weight(83, reads=3, writes=3)
INFERENCE_REDEEM: Final = weight(590, reads=24, writes=13)
INFERENCE_CLOSE_CHANNEL: Final = weight(330, reads=20, writes=22)
INFERENCE_FINISH_CLOSE: Final = weight(330, reads=20, writes=22)
INFERENCE_REGISTER_SERVER: Final = weight(73, reads=5, writes=3)
INFERENCE_ADD_SERVER_BOND: Final = weight(120, reads=3, writes=3)
INFERENCE_LEAVE_SERVICE: Final = weight(49, reads=2, writes=1)
INFERENCE_WITHDRAW_SERVER_BOND: Final = weight(190, reads=8, writes=5)
INFERENCE_REPORT_RECEIPT: Final = weight(550, reads=9, writes=8)
INFERENCE_REPORT_DOUBLE_RECEIPT: Final = weight(650, reads=9, writes=8)
INFERENCE_REMOVE_CHANNEL: Final = weight(410, reads=27, writes=20)
INFERENCE_TAKE_BACK: Final = weight(200, reads=10, writes=5)
