"""System, Utility, Timestamp, Balances and Sudo at their worst cases."""

from __future__ import annotations

from typing import Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.stage import BALANCE, WeighingStage
from pallets.balances import EXISTENTIAL_DEPOSIT
from pallets.sudo import Sudo
from pallets.utility import CALLS_MAX
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import Call
from runtime.types.primitives import AccountId, Id

SYSTEM: Final = Benchmarks("System")
UTILITY: Final = Benchmarks("Utility")
TIMESTAMP: Final = Benchmarks("Timestamp")
BALANCES: Final = Benchmarks("Balances")
SUDO: Final = Benchmarks("Sudo")

REMARK_KIBIBYTES_MAX: Final = 3_000
"""About as many fit the part of a block that one extrinsic may use."""
NEW_ACCOUNT: Final = Id(AccountId(blake2b_256(b"new account")))
CHEAP_CALL: Final = Call("System", "remark", (b"",))


@SYSTEM.constant
def system_remark(stage: WeighingStage) -> Work:
    return stage.signed(stage.account("sender"), "System", "remark", remark=b"remark")


@SYSTEM.linear(kibibytes=(1, REMARK_KIBIBYTES_MAX))
def system_remark_with_event(stage: WeighingStage, kibibytes: int) -> Work:
    """Return the weight of System.remark_with_event, which hashes the remark."""
    text = bytes(1_024 * kibibytes)
    return stage.signed(stage.account("sender"), "System", "remark_with_event", remark=text)


@UTILITY.linear(calls=(1, CALLS_MAX))
def utility_batch(stage: WeighingStage, calls: int) -> Work:
    """Return the weight of a batch of calls, without that of the calls."""
    items = (CHEAP_CALL,) * calls
    return stage.signed(stage.account("sender"), "Utility", "force_batch", calls=items)


@TIMESTAMP.constant
def timestamp_set(stage: WeighingStage) -> Work:
    return stage.inherent("Timestamp", "set", now=1_700_000_000_000)


@BALANCES.constant
def balances_transfer_allow_death(stage: WeighingStage) -> Work:
    # The sender leaves dust, which is burned with its account; the account of `dest` is made.
    value = BALANCE - EXISTENTIAL_DEPOSIT // 2
    sender = stage.account("sender")
    return stage.signed(sender, "Balances", "transfer_allow_death", dest=NEW_ACCOUNT, value=value)


@BALANCES.constant
def balances_force_transfer(stage: WeighingStage) -> Work:
    value = BALANCE - EXISTENTIAL_DEPOSIT // 2
    source = Id(stage.account("sender"))
    return stage.root("Balances", "force_transfer", source=source, dest=NEW_ACCOUNT, value=value)


@BALANCES.constant
def balances_transfer_keep_alive(stage: WeighingStage) -> Work:
    sender = stage.account("sender")
    value = BALANCE // 2
    return stage.signed(sender, "Balances", "transfer_keep_alive", dest=NEW_ACCOUNT, value=value)


@BALANCES.constant
def balances_transfer_all(stage: WeighingStage) -> Work:
    sender = stage.account("sender")
    return stage.signed(sender, "Balances", "transfer_all", dest=NEW_ACCOUNT, keep_alive=False)


@BALANCES.constant
def balances_burn(stage: WeighingStage) -> Work:
    sender = stage.account("sender")
    return stage.signed(sender, "Balances", "burn", value=BALANCE // 2, keep_alive=True)


def _with_key(stage: WeighingStage) -> AccountId:
    keeper = stage.account("keeper")
    stage.pallet(Sudo).key.put(keeper)
    return keeper


@SUDO.constant
def sudo_sudo(stage: WeighingStage) -> Work:
    return stage.signed(_with_key(stage), "Sudo", "sudo", call=CHEAP_CALL)


@SUDO.constant
def sudo_set_key(stage: WeighingStage) -> Work:
    return stage.signed(_with_key(stage), "Sudo", "set_key", new=NEW_ACCOUNT)


@SUDO.constant
def sudo_sudo_as(stage: WeighingStage) -> Work:
    keeper, other = _with_key(stage), Id(stage.account("other"))
    return stage.signed(keeper, "Sudo", "sudo_as", account=other, call=CHEAP_CALL)


@SUDO.constant
def sudo_remove_key(stage: WeighingStage) -> Work:
    return stage.signed(_with_key(stage), "Sudo", "remove_key")
