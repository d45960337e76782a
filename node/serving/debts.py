"""Debts: what the channels to this server owe, in turn, with the sums that every answer asks for.

A debt is the last answer of its channel: its voucher redeems all answers before it. Sums are kept
as debts change, because a server may have hundreds of thousands of channels.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from runtime.shared.receipts import SignedReceipt, SignedVoucher
from runtime.types.primitives import Hash


@dataclass(frozen=True, slots=True)
class Sent:
    """The last redemption of a channel: what it owed in all, when it was sent, and how."""

    ends_planck: int
    height: int
    transaction: Hash


@dataclass(slots=True)
class Debt:
    """The last answer of a channel that owes something: its voucher and what it cost.

    `since` is the final height at which the oldest debt was seen, None before the first look;
    `drawn_planck` and `sent` are changed by `Debts` alone.
    """

    signed: SignedVoucher
    tokens_in: int
    tokens_out: int
    ends_planck: int
    since: int | None
    drawn_planck: int
    """What was redeemed of the channel when it was last looked at."""
    sent: Sent | None = None

    @classmethod
    def of(cls, signed: SignedReceipt, since: int | None, drawn_planck: int) -> Debt:
        """Return the debt that a channel's last receipt leaves."""
        return cls(
            signed=signed.voucher,
            tokens_in=signed.receipt.tokens_in,
            tokens_out=signed.receipt.tokens_out,
            ends_planck=signed.ends_planck,
            since=since,
            drawn_planck=drawn_planck,
        )

    @property
    def channel(self) -> int:
        """The channel that owes it."""
        return self.signed.voucher.channel

    @property
    def model(self) -> int:
        """The model that answered."""
        return self.signed.voucher.model

    @property
    def owed_planck(self) -> int:
        """What is not redeemed yet, as far as the channel was looked at."""
        return self.ends_planck - self.drawn_planck

    @property
    def sent_planck(self) -> int:
        """What was sent and not seen to land."""
        return 0 if self.sent is None else max(0, self.sent.ends_planck - self.drawn_planck)


class Debts:
    """The debts of a server by channel, in the order in which they are looked at."""

    def __init__(self) -> None:
        self._turns: OrderedDict[int, Debt] = OrderedDict()
        self._models: dict[int, dict[int, Debt]] = {}
        self._owed: Counter[int] = Counter()
        """What the channels of a model owe, in planck, by model."""
        self._sent: dict[int, Debt] = {}
        """The debts of which something was sent and not seen to land, by channel."""

    def __len__(self) -> int:
        return len(self._turns)

    def get(self, channel: int) -> Debt | None:
        """Return the debt of a channel."""
        return self._turns.get(channel)

    def of_model(self, model: int) -> list[Debt]:
        """Return the debts to a model."""
        return list(self._models.get(model, {}).values())

    def owed_planck(self) -> dict[int, int]:
        """Return what is owed to each model."""
        return dict(self._owed)

    def sent(self) -> Iterator[Debt]:
        """Yield the debts of which something was sent and not seen to land."""
        yield from self._sent.values()

    def put(self, debt: Debt) -> None:
        """Take a debt up, in the place of the one of its channel; a new one comes last."""
        former = self._turns.get(debt.channel)
        if former is not None:
            self._forget(former)
        self._turns[debt.channel] = debt
        self._models.setdefault(debt.model, {})[debt.channel] = debt
        self._owed[debt.model] += debt.owed_planck
        self._note_sent(debt)

    def remove(self, debt: Debt) -> None:
        """Forget a debt: it is paid, or lost."""
        del self._turns[debt.channel]
        self._forget(debt)

    def note_drawn(self, debt: Debt, drawn_planck: int) -> None:
        """Note what was redeemed of a channel."""
        self._owed[debt.model] -= drawn_planck - debt.drawn_planck
        debt.drawn_planck = drawn_planck
        self._note_sent(debt)

    def note_sent(self, debt: Debt, sent: Sent) -> None:
        """Note that a redemption was sent."""
        debt.sent = sent
        self._note_sent(debt)

    def next_turns(self, count: int) -> list[Debt]:
        """Return the debts whose turn it is; the next one comes after all others."""
        turns = list(islice(self._turns.values(), count))
        for debt in turns:
            self._turns.move_to_end(debt.channel)
        return turns

    def look_again(self, debt: Debt) -> None:
        """Let it be the turn of a debt with the next block."""
        self._turns.move_to_end(debt.channel, last=False)

    def _note_sent(self, debt: Debt) -> None:
        if debt.sent_planck:
            self._sent[debt.channel] = debt
        else:
            self._sent.pop(debt.channel, None)

    def _forget(self, debt: Debt) -> None:
        self._owed[debt.model] -= debt.owed_planck
        del self._models[debt.model][debt.channel]
        self._sent.pop(debt.channel, None)
        if not self._models[debt.model]:
            del self._models[debt.model]
            del self._owed[debt.model]
