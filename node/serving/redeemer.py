"""The redeemer: draws what answers cost before the asker can take the deposit back.

An asker may close a channel, and after the challenge window the rest of its deposit is gone. So a
channel is redeemed at once when it closes, and otherwise when what it owes reaches an amount or an
age, both set by the operator: each redemption costs a fee, each planck that waits is a risk. It is
redeemed as well when its voucher comes near its end. What was owed before the node started has an
unknown age, and counts as old.

The voucher of a channel's last answer redeems all answers before it. A redemption is repeatable:
drawing the same again pays nothing. Which channels owe something is kept in memory; of these a
bounded number is looked at with each final block, in turn: all of them several times in a challenge
window. Those that close are redeemed first, in the order in which they close, and those that a
full batch leaves out are looked at again with the next block.

The chain lets a server redeem no more than its bond answers for until it has settled an epoch. What
is beyond waits, and the operator is told; the answer service takes no voucher beyond it.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import trio

from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import PalletViews, StateReader
from node.serving.debts import Debt, Debts, Sent
from node.storage.receipt_store import ReceiptStore
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.inference import Channel
from runtime.shared.receipts import SignedReceipt
from runtime.types.primitives import OPEN, AccountId, Hash

LOOKS_PER_BLOCK: Final = 512
"""Channels that are looked at with each final block, unless that takes too long for all."""
LOOKS_PER_WINDOW: Final = 4
"""How often each channel is looked at in a challenge window, at least."""
SENT_PER_BLOCK: Final = 32
CLOSING_SENT_PER_BLOCK: Final = 128
"""Redemptions of closing channels come on top: what is late for them is lost."""

TOLD_BLOCKS: Final = 100
"""How often an operator is told that the bond is too small."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RedeemSettings:
    """How much a channel may owe, and for how many final blocks, before it is redeemed."""

    owed_planck_max: int = OPEN
    owed_blocks_max: int = 300

    @property
    def expiry_blocks(self) -> int:
        """How long before the end of its voucher a channel is redeemed."""
        return max(self.owed_blocks_max // 2, 2 * RESEND_BLOCKS)


class _Room:
    """What a server may redeem in a state before its bond answers for no more."""

    def __init__(self, state: PalletViews, server: AccountId, taken_planck: int) -> None:
        self._state = state
        self._server = server
        self._taken_planck = taken_planck
        """What is on its way already, and what is sent now."""
        self.refused_planck = 0
        """What there was no room for."""

    def take(self, debt: Debt, channel: Channel) -> bool:
        """Return whether there is room for what a channel owes, and take it."""
        room = self._state.inference.redeemable(debt.model, self._server)
        if room is None:
            return True
        owed = debt.ends_planck - channel.redeemed_planck
        if self._taken_planck + owed > room:
            self.refused_planck += owed
            return False
        self._taken_planck += owed
        return True


class Redeemer:
    """Redeems the channels of one serving account."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        receipts: ReceiptStore,
        settings: RedeemSettings,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._receipts = receipts
        self._settings = settings
        self._debts = Debts()
        self._told_at = -TOLD_BLOCKS
        self._held: set[int] = set()
        """Models whose epoch is about to be closed: nothing is drawn for them from here but from
        channels that close, in the second half of the time for it. Who closes a channel with each
        block would else change with each what the epoch has to declare."""

    async def run(self) -> None:
        """Redeem what is due after each final block, until cancelled."""
        await self.load()
        self.redeem_due(self._chain.finalized.number)
        while True:
            async with self._chain.events() as events:
                async for event in events:
                    if isinstance(event, FinalChanged):
                        self.redeem_due(event.header.number)

    async def load(self) -> None:
        """Take up what was owed before the start; it is old."""
        height = self._chain.finalized.number - self._settings.owed_blocks_max

        def read() -> list[Debt]:
            signed = self._receipts.last_of_channels()
            # What was redeemed of them is seen when they are looked at.
            return [Debt.of(each, height, drawn_planck=each.ends_planck) for each in signed]

        for debt in await trio.to_thread.run_sync(read):
            if self._debts.get(debt.channel) is None:
                self._debts.put(debt)

    def record(self, signed: SignedReceipt) -> None:
        """Count an answer whose receipt is on disk."""
        former = self._debts.get(signed.channel)
        before = signed.voucher.voucher.before_planck
        since, drawn = (None, before) if former is None else (former.since, former.drawn_planck)
        debt = Debt.of(signed, since, drawn)
        debt.sent = None if former is None else former.sent
        self._debts.put(debt)

    def owed_planck(self, state: PalletViews) -> int:
        """Return what channels owe that the bond has to answer for, as far as they were looked
        at."""
        return sum(
            owed_planck
            for model, owed_planck in self._debts.owed_planck().items()
            if self._is_limited(state, model)
        )

    def _is_limited(self, state: PalletViews, model: int) -> bool:
        """Return whether the bond answers for redemptions of a model."""
        return state.inference.redeemable(model, self._submitter.account) is not None

    # ------------------------------------------------------------------- for the epoch closer

    def hold(self, model: int) -> dict[int, int]:
        """Draw nothing of a model any more until `go_on`, but by `draw` and what is soon lost.
        Returns what its channels owe in all, in planck, by channel."""
        self._held.add(model)
        return {debt.channel: debt.ends_planck for debt in self._debts.of_model(model)}

    def draw(self, model: int, targets: dict[int, int], height: int, block: Hash) -> bool:
        """Send what is missing of a model up to these amounts, and the bond answers for; returns
        whether all of it is final at a block, and no other redemption of the model is on its
        way."""
        missing, sent = 0, 0
        with self._reader.at(block) as state:
            on_its_way = self._on_its_way_planck(state, height, but=model)
            room = _Room(state, self._submitter.account, on_its_way)
            for debt in self._debts.of_model(model):
                channel = self._owing(state, debt, height)
                if channel is None:
                    continue
                is_sent = self._is_on_its_way(debt, height)
                is_wanted = channel.redeemed_planck < targets.get(debt.channel, 0)
                if is_wanted and room.take(debt, channel):
                    missing += 1
                    if sent < SENT_PER_BLOCK and not is_sent:
                        sent += self._send(debt, channel, height)
                elif is_sent:
                    missing += 1
        return not missing

    def go_on(self, model: int) -> None:
        """Draw what is due again."""
        self._held.discard(model)

    # ------------------------------------------------------------------------------ each block

    def redeem_due(self, height: int) -> None:
        """Send the redemptions that are due at a final height, those of closing channels first."""
        due, closing = [], []
        with self._reader.at() as state:
            window = state.inference.parameters.get().challenge_blocks
            for debt in self._next_looks(window):
                channel = self._owing(state, debt, height)
                if channel is None:
                    self._debts.remove(debt)
                    continue
                debt.since = height if debt.since is None else debt.since
                if not self._is_due(debt, channel, height, window):
                    continue
                if channel.closes_at is None:
                    due.append((debt, channel))
                else:
                    closing.append((channel.closes_at, debt, channel))
            closing.sort(key=lambda each: each[0])
            room = _Room(state, self._submitter.account, self._on_its_way_planck(state, height))
            sent = 0
            for _, debt, channel in closing:
                if not room.take(debt, channel):
                    continue
                if sent < CLOSING_SENT_PER_BLOCK and self._send(debt, channel, height):
                    sent += 1
                else:
                    self._debts.look_again(debt)
            for debt, channel in due[:SENT_PER_BLOCK]:
                if room.take(debt, channel):
                    self._send(debt, channel, height)
            self._tell_of_bond(room, height)

    def _next_looks(self, challenge_blocks: int) -> list[Debt]:
        """Return the debts that are looked at with a block."""
        count = len(self._debts)
        enough = -(-count * LOOKS_PER_WINDOW // challenge_blocks)
        looks = min(count, max(LOOKS_PER_BLOCK, enough))
        return self._debts.next_turns(looks)

    def _owing(self, state: PalletViews, debt: Debt, height: int) -> Channel | None:
        """Return the channel of a debt; None where nothing is owed or can be drawn any more."""
        channel = state.inference.channels.get(debt.channel)
        if channel is None or channel.is_closed or channel.redeemed_planck >= debt.ends_planck:
            self._debts.note_drawn(debt, debt.ends_planck)
            return None
        self._debts.note_drawn(debt, channel.redeemed_planck)
        expires_at = debt.signed.voucher.expires_at
        if height >= expires_at:
            logger.error(
                "redeem-lost channel=%d owed_planck=%d expired_at=%d",
                debt.channel,
                debt.ends_planck - channel.redeemed_planck,
                expires_at,
            )
            return None
        return channel

    def _is_due(self, debt: Debt, channel: Channel, height: int, window: int) -> bool:
        if self._is_on_its_way(debt, height):
            return False
        is_held = debt.model in self._held
        if channel.closes_at is not None:
            return not is_held or 2 * (channel.closes_at - height) <= window
        assert debt.since is not None, "seen"
        settings = self._settings
        return not is_held and (
            debt.ends_planck - channel.redeemed_planck >= settings.owed_planck_max
            or height - debt.since >= settings.owed_blocks_max
            or height >= debt.signed.voucher.expires_at - settings.expiry_blocks
        )

    def _is_on_its_way(self, debt: Debt, height: int) -> bool:
        """Return whether all that is owed was sent and may land yet: recently, or the pool has it.
        A second one would only wait behind the first."""
        sent = debt.sent
        if sent is None or sent.ends_planck < debt.ends_planck:
            return False
        if height >= sent.height + RESEND_BLOCKS and self._submitter.rebroadcast(sent.transaction):
            self._debts.note_sent(debt, replace(sent, height=height))
            return True
        return height < sent.height + RESEND_BLOCKS

    def _on_its_way_planck(self, state: PalletViews, height: int, but: int | None = None) -> int:
        """Return what was sent lately and not seen to land, of all limited models but one."""
        sent: Counter[int] = Counter()
        for debt in self._debts.sent():
            assert debt.sent is not None, "listed as sent"
            if debt.model != but and height < debt.sent.height + RESEND_BLOCKS:
                sent[debt.model] += debt.sent_planck
        return sum(planck for model, planck in sent.items() if self._is_limited(state, model))

    def _send(self, debt: Debt, channel: Channel, height: int) -> bool:
        """Send one redemption; False where the pool takes none, and then it is tried again."""
        try:
            transaction = self._submitter.submit(
                "Inference",
                "redeem",
                voucher=debt.signed.voucher,
                tokens_in=debt.tokens_in,
                tokens_out=debt.tokens_out,
                signature=debt.signed.signature,
            )
        except PoolError as error:
            logger.warning("redeem-refused channel=%d reason=%r", debt.channel, str(error))
            return False
        logger.info(
            "redeem-sent channel=%d owed_planck=%d closing=%s",
            debt.channel,
            debt.ends_planck - channel.redeemed_planck,
            channel.closes_at is not None,
        )
        self._debts.note_sent(debt, Sent(debt.ends_planck, height, transaction))
        return True

    def _tell_of_bond(self, room: _Room, height: int) -> None:
        """Tell the operator what waits for a larger bond, not with every block."""
        if room.refused_planck and height >= self._told_at + TOLD_BLOCKS:
            self._told_at = height
            logger.error(
                "redeem-waits owed_planck=%d reason='the bond answers for no more' "
                "do='`openledger server add-bond`, or wait until an epoch is settled'",
                room.refused_planck,
            )
