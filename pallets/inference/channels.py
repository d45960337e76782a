"""Channels: opening, topping up, closing, and removing what is no evidence any more.

A channel with redemptions is kept after it has closed: executors check an epoch's receipts against
it, and its asker may report a false one. Nobody but the server can give that up for the epochs that
it has not closed; and not even the server while its asker may take something back.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from pallets.balances import HoldReason
from pallets.inference import servers
from pallets.inference.records import DEPOSIT_MIN, Channel
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.inference import Inference

REPORTS_FORGOTTEN_MAX: Final = 16
"""Records of reported answers that are removed with their channel."""


def open_one(
    inference: Inference, asker: AccountId, model: int, server: AccountId, deposit: int
) -> None:
    """Hold a deposit. Raises NotAllowed, DepositTooLow, NotBonded."""
    if not inference.models.may_use(asker, model):
        raise inference.NotAllowed
    if deposit < DEPOSIT_MIN:
        raise inference.DepositTooLow
    bonded = servers.known(inference, server)
    least = inference.parameters.get().server_bond_planck
    if bonded.leaving_at is not None or bonded.bond_planck < least:
        raise inference.NotBonded
    number = inference.next_id.get()
    inference.balances.hold(HoldReason.InferenceChannel, asker, deposit)
    inference.next_id.put(number + 1)
    record = Channel(asker=asker, server=server, model=model, deposit_planck=deposit)
    inference.channels.put(number, record)
    inference.memberships.put((asker, number), True)
    inference.memberships.put((server, number), True)
    servers.count_channel(inference, server, 1)
    inference.emit(
        inference.ChannelOpened(
            channel=number, asker=asker, server=server, model=model, deposit=deposit
        )
    )


def top_up(inference: Inference, who: AccountId, number: int, amount: int) -> None:
    """Raise a deposit. Raises UnknownChannel, NotAsker, IsClosing."""
    record = unclosed(inference, number)
    if record.asker != who:
        raise inference.NotAsker
    if record.closes_at is not None:
        raise inference.IsClosing
    inference.balances.hold(HoldReason.InferenceChannel, record.asker, amount)
    raised = replace(record, deposit_planck=record.deposit_planck + amount)
    inference.channels.put(number, raised)
    inference.emit(inference.ChannelToppedUp(number, raised.deposit_planck))


def close(inference: Inference, who: AccountId, number: int) -> None:
    """Close at once by the server, or begin by the asker. Raises UnknownChannel, NotMember,
    IsClosing."""
    record = unclosed(inference, number)
    if record.server == who:
        _close(inference, number, record)
        return
    if record.asker != who:
        raise inference.NotMember
    if record.closes_at is not None:
        raise inference.IsClosing
    now = inference.system.current_number()
    closes_at = now + inference.parameters.get().challenge_blocks
    inference.channels.put(number, replace(record, closes_at=closes_at))
    inference.emit(inference.ChannelClosing(number, closes_at))


def finish_close(inference: Inference, number: int) -> None:
    """Refund an asker after the challenge window. Raises UnknownChannel, TooEarly."""
    record = unclosed(inference, number)
    if record.closes_at is None or inference.system.current_number() <= record.closes_at:
        raise inference.TooEarly
    _close(inference, number, record)


def remove(inference: Inference, who: AccountId, number: int) -> None:
    """Remove a closed channel that is no evidence any more. Raises UnknownChannel, StillNeeded."""
    record = known(inference, number)
    attribution = inference.attribution
    if not record.is_closed or record.closes_at is None:
        raise inference.StillNeeded
    is_recent = (
        inference.system.current_number()
        <= record.closes_at + inference.parameters.get().retention_blocks
    )
    last = record.marks[-1].epoch if record.marks else 0
    is_settled = last < attribution.first_unsettled_epoch(record.model, record.server)
    is_given_up = who == record.server and not attribution.is_settling(who)
    if is_recent or not (is_settled or is_given_up) or waiting(inference, record):
        raise inference.StillNeeded
    _remove(inference, number, record)


def waiting(inference: Inference, channel: Channel) -> int:
    """Return what was redeemed of a channel, in planck, of which the contributors' part waits for
    nobody: the model was retired before it paid any. The part of the asker, then; but nothing of
    what a report has repaid already."""
    model = inference.models.get(channel.model)
    assert model is not None, "models are never removed"
    if not model.is_retired or inference.attribution.has_opened(channel.model):
        return 0
    # No epoch of the model was ever closed, so all is of the current one.
    epoch = inference.attribution.current_epoch(channel.model, channel.server)
    unpaid = channel.redeemed_planck - channel.repaid_planck
    return min(channel.redeemed_in(epoch), unpaid)


def known(inference: Inference, number: int) -> Channel:
    """Return a channel, a closed one too. Raises UnknownChannel."""
    record = inference.channels.get(number)
    if record is None:
        raise inference.UnknownChannel
    return record


def unclosed(inference: Inference, number: int) -> Channel:
    """Return a channel that is not closed. Raises UnknownChannel."""
    record = known(inference, number)
    if record.is_closed:
        raise inference.UnknownChannel
    return record


def _close(inference: Inference, number: int, channel: Channel) -> None:
    """Refund the asker, and keep the record where something was redeemed."""
    left = channel.left_planck
    if left:
        inference.balances.release(HoldReason.InferenceChannel, channel.asker, left)
    if channel.redeemed_planck:
        closed = replace(
            channel,
            deposit_planck=channel.redeemed_planck,
            closes_at=inference.system.current_number(),
            is_closed=True,
        )
        inference.channels.put(number, closed)
    else:
        _remove(inference, number, channel)
    inference.emit(inference.ChannelClosed(number, left))


def _remove(inference: Inference, number: int, channel: Channel) -> None:
    inference.channels.remove(number)
    # What is left of more reports than that stays: removing a channel has to be little work.
    for key in list(islice(inference.reported.keys(number), REPORTS_FORGOTTEN_MAX)):
        inference.reported.remove(key)
    inference.memberships.remove((channel.asker, number))
    inference.memberships.remove((channel.server, number))
    servers.count_channel(inference, channel.server, -1)
