"""The redeemer: draws what answers cost before the asker can take the deposit back.

An asker may close a channel, and after the challenge window the rest of its deposit is gone. So a
channel is redeemed at once when it closes, and otherwise when what it owes reaches an amount or an
age, both set by the operator: each redemption costs a fee, each planck that waits is a risk. What
was owed before the node started has an unknown age, and counts as old.

A redemption is repeatable: drawing the same amount again pays nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import PalletViews, StateReader
from node.storage.receipt_store import ChannelRecord, ReceiptStore
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from runtime.codec.scale import codec
from runtime.types.primitives import OPEN, MultiSignature

logger = logging.getLogger(__name__)
_signature = codec(MultiSignature)


@dataclass(frozen=True, slots=True)
class RedeemSettings:
    """How much a channel may owe, and for how many final blocks, before it is redeemed."""

    owed_planck_max: int = OPEN
    owed_blocks_max: int = 300


@dataclass(frozen=True, slots=True)
class Debt:
    """What a channel owes this server: `drawn_planck` in all, `owed_planck` of it not redeemed."""

    record: ChannelRecord
    model: int
    drawn_planck: int
    owed_planck: int
    is_closing: bool


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
        self._owed_since: dict[int, int] = {}
        """By channel: the final height at which its oldest debt was seen; of one from before the
        start, a height so far back that it is due."""
        self._sent: dict[int, tuple[int, int]] = {}
        """By channel: what was drawn by the last redemption, and at which final height."""
        self._is_first_look = True

    async def run(self) -> None:
        """Redeem what is due after each final block, until cancelled."""
        self.redeem_due(self._chain.finalized.number)
        while True:
            async with self._chain.events() as events:
                async for event in events:
                    if isinstance(event, FinalChanged):
                        self.redeem_due(event.header.number)

    def redeem_due(self, height: int) -> None:
        """Send the redemptions that are due at a final height."""
        with self._reader.at() as state:
            debts = self._debts(state)
        since = height - self._settings.owed_blocks_max if self._is_first_look else height
        self._owed_since = {
            debt.record.channel: self._owed_since.get(debt.record.channel, since) for debt in debts
        }
        self._is_first_look = False
        self._sent = {key: sent for key, sent in self._sent.items() if key in self._owed_since}
        for debt in debts:
            if self._is_due(debt, height) and not self._is_on_its_way(debt, height):
                self._redeem_later_if_refused(debt, height)

    def redeem_model(self, model: int) -> None:
        """Redeem all that the channels of a model owe, before its epoch is closed.

        Raises PoolError.
        """
        with self._reader.at() as state:
            debts = self._debts(state)
        for debt in debts:
            if debt.model == model:
                self._redeem(debt)

    def _debts(self, state: PalletViews) -> list[Debt]:
        """Return the channels that owe something, by number."""
        debts = []
        for record in self._receipts.channels():
            channel = state.inference.channels.get(record.channel)
            drawn = min(record.spent_planck, record.cumulative_planck)
            if channel is None or drawn <= channel.redeemed_planck:
                continue
            debts.append(
                Debt(
                    record=record,
                    model=channel.model,
                    drawn_planck=drawn,
                    owed_planck=drawn - channel.redeemed_planck,
                    is_closing=channel.closes_at is not None,
                )
            )
        return debts

    def _is_due(self, debt: Debt, height: int) -> bool:
        age = height - self._owed_since[debt.record.channel]
        settings = self._settings
        return (
            debt.is_closing
            or debt.owed_planck >= settings.owed_planck_max
            or age >= settings.owed_blocks_max
        )

    def _is_on_its_way(self, debt: Debt, height: int) -> bool:
        drawn, sent_at = self._sent.get(debt.record.channel, (0, 0))
        return drawn >= debt.drawn_planck and height < sent_at + RESEND_BLOCKS

    def _redeem_later_if_refused(self, debt: Debt, height: int) -> None:
        channel = debt.record.channel
        try:
            self._redeem(debt)
        except PoolError as error:
            logger.warning("redeem-refused channel=%d reason=%r", channel, str(error))
        else:
            logger.info(
                "redeem-sent channel=%d owed_planck=%d closing=%s",
                channel,
                debt.owed_planck,
                debt.is_closing,
            )
            self._sent[channel] = debt.drawn_planck, height

    def _redeem(self, debt: Debt) -> None:
        """Send one redemption. Raises PoolError."""
        self._submitter.submit(
            "Inference",
            "redeem",
            channel=debt.record.channel,
            cumulative=debt.record.cumulative_planck,
            drawn=debt.drawn_planck,
            signature=_signature.decode(debt.record.signature),
        )
