"""Bonded servers: joining, adding to the bond, leaving, and what a false receipt costs.

A bond is what an asker and the contributors can hold a server to. It stays until every channel to
the server is gone and no epoch of it is being settled, because until then a false receipt may be
found. Of a slash the wronged channels are repaid first, each at most what it has paid, and the rest
is burned: nobody gains by having a server of its own slashed. Who leaves without having closed what
it redeemed is slashed by as much: the contributors would else be paid only where the server likes
to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.inference.records import Server
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.inference import Inference


def register(inference: Inference, who: AccountId, bond: int) -> None:
    """Bond a server. Raises AlreadyBonded, PoolsWaiting, BondTooLow."""
    if who in inference.servers:
        raise inference.AlreadyBonded
    if inference.attribution.unsettled_of(who):
        raise inference.PoolsWaiting  # it was slashed for them, and would be again
    if bond < inference.parameters.get().server_bond_planck:
        raise inference.BondTooLow
    inference.balances.hold(HoldReason.ServerBond, who, bond)
    inference.servers.put(who, Server(bond))
    inference.emit(inference.ServerRegistered(who, bond))


def add_bond(inference: Inference, who: AccountId, amount: int) -> None:
    """Raise a bond, also of a server that leaves: it redeems no more than the bond answers for.
    Raises NotBonded."""
    server = known(inference, who)
    inference.balances.hold(HoldReason.ServerBond, who, amount)
    bond = server.bond_planck + amount
    inference.servers.put(who, replace(server, bond_planck=bond))
    inference.emit(inference.ServerBondAdded(who, bond))


def leave(inference: Inference, who: AccountId) -> None:
    """Begin to leave. Raises NotBonded, AlreadyLeaving."""
    server = known(inference, who)
    if server.leaving_at is not None:
        raise inference.AlreadyLeaving
    now = inference.system.current_number()
    inference.servers.put(who, replace(server, leaving_at=now))
    inference.emit(inference.ServerLeaving(who, now + inference.parameters.get().retention_blocks))


def withdraw(inference: Inference, who: AccountId) -> None:
    """Release the bond, less what the server leaves unsettled, and remove the server. Raises
    NotBonded, BondLocked."""
    server = known(inference, who)
    now, wait = inference.system.current_number(), inference.parameters.get().retention_blocks
    if (
        server.leaving_at is None
        or now <= server.leaving_at + wait
        or server.channels
        or inference.attribution.is_settling(who)
    ):
        raise inference.BondLocked
    slash(inference, who, inference.attribution.unsettled_of(who), ())
    bond = known(inference, who).bond_planck
    if bond:
        inference.balances.release(HoldReason.ServerBond, who, bond)
    inference.servers.remove(who)
    inference.emit(inference.ServerUnregistered(who, bond))


def slash(
    inference: Inference, who: AccountId, amount: int, wronged: Iterable[tuple[int, int]]
) -> int:
    """Take up to `amount` of a bond: the wronged channels are repaid in order, the rest is burned.
    Returns what was taken; a server that is gone has nothing left."""
    server = inference.servers.get(who)
    taken = 0 if server is None else min(amount, server.bond_planck)
    if server is None or not taken:
        return 0
    left = taken
    for number, owed in wronged:
        left -= _repay(inference, who, number, min(owed, left))
    if left:
        inference.balances.slash_held(HoldReason.ServerBond, who, left)
    slashed = replace(
        server,
        bond_planck=server.bond_planck - taken,
        slashed_planck=server.slashed_planck + taken,
    )
    inference.servers.put(who, slashed)
    inference.emit(inference.ServerSlashed(who, taken, taken - left))
    return taken


def redeemable(inference: Inference, model: int, server: AccountId) -> int | None:
    """Return what a server may still redeem of a model before it adds to its bond or settles an
    epoch, in planck; None without limit, where contributors are due nothing."""
    if not inference.attribution.has_opened(model):
        return None
    answered_for = inference.attribution.answered_for(server)
    return max(0, inference.bond_of(server) - answered_for)


def count_channel(inference: Inference, who: AccountId, change: int) -> None:
    """Count a channel to a server that was opened (1) or removed (-1)."""
    server = known(inference, who)
    inference.servers.put(who, replace(server, channels=server.channels + change))


def known(inference: Inference, who: AccountId) -> Server:
    """Return the record of a server. Raises NotBonded."""
    server = inference.servers.get(who)
    if server is None:
        raise inference.NotBonded
    return server


def _repay(inference: Inference, server: AccountId, number: int, amount: int) -> int:
    """Repay a channel of a server out of its bond, at most what the channel has paid; returns how
    much. Nothing where the asker's account is gone and the amount too small."""
    channel = inference.channels.get(number)
    if channel is None or channel.server != server:
        return 0
    part = min(amount, channel.redeemed_planck - channel.repaid_planck)
    if not part:
        return 0
    try:
        inference.balances.transfer_on_hold(HoldReason.ServerBond, server, channel.asker, part)
    except DispatchFailed:
        return 0
    repaid = replace(channel, repaid_planck=channel.repaid_planck + part)
    inference.channels.put(number, repaid)
    return part
