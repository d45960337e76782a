"""The marks of a channel say what was redeemed in an epoch, for every epoch that is asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pallets.inference.records import MARKS_MAX, Channel, Mark
from runtime.types.primitives import AccountId

PAIR = {"asker": AccountId(b"a" * 32), "server": AccountId(b"s" * 32), "model": 0}
EPOCHS = st.lists(st.lists(st.integers(1, 1_000), max_size=3), min_size=1, max_size=9)


def paid(channel: Channel, epoch: int, amount: int) -> Channel:
    """Return the channel after a redemption in an epoch."""
    redeemed = channel.redeemed_planck + amount
    begun = channel.marked(epoch)
    return Channel(**PAIR, deposit_planck=10**9, redeemed_planck=redeemed, marks=begun.marks)


@given(EPOCHS)
def test_marks_agree_with_a_list_of_all_payments(epochs: list[list[int]]) -> None:
    channel, history = Channel(**PAIR, deposit_planck=10**9), []
    for current, payments in enumerate(epochs):
        for amount in payments:
            channel = paid(channel, current, amount)
        history.append(sum(payments))
        # The epoch being settled and the current one; failed ones are closed again before.
        for epoch in range(max(0, current - 1), current + 1):
            assert channel.redeemed_before(epoch) == sum(history[:epoch])
            assert channel.redeemed_in(epoch) == history[epoch]
        assert channel.redeemed_in(current + 1) == 0
        assert len(channel.marks) <= MARKS_MAX


def test_the_ranges_of_two_epochs_never_overlap() -> None:
    channel = Channel(
        **PAIR, deposit_planck=100, redeemed_planck=90, marks=(Mark(4, 20), Mark(5, 50))
    )
    assert [channel.redeemed_before(epoch) for epoch in (4, 5, 6)] == [20, 50, 90]


def test_a_channel_without_marks_has_redeemed_in_no_epoch() -> None:
    channel = Channel(
        **PAIR, deposit_planck=100, redeemed_planck=90, marks=(Mark(0, 20),)
    ).without_marks()
    assert [channel.redeemed_in(epoch) for epoch in range(3)] == [0, 0, 0]
    assert channel.left_planck == 10
