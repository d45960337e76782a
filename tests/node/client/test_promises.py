"""Promises: what is signed follows from the asker's books and the chain, whichever says more."""

from __future__ import annotations

from typing import Any, cast

import pytest

from node.client.asker_ledger import ChannelBook
from node.client.promises import sign_promise
from node.client.token_counts import tokens_in_at_most
from runtime.shared.receipts import salted_hash
from tests.node.commands.support.answering import AnsweringClient
from tests.node.support.paid_answers import (
    ASKER,
    CHANNEL,
    MODEL,
    RATES,
    SERVER_ACCOUNT,
    open_channel,
)


@pytest.mark.parametrize(
    ("spent", "sequence", "redeemed", "redeemed_sequence"), [(70, 4, 50, 3), (50, 3, 70, 4)]
)
def test_a_promise_begins_where_books_or_chain_say_that_more_is_owed(
    spent: int, sequence: int, redeemed: int, redeemed_sequence: int
) -> None:
    promise = sign_promise(
        cast(Any, AnsweringClient()),
        ASKER,
        number=CHANNEL,
        channel=open_channel(redeemed_planck=redeemed, sequence=redeemed_sequence),
        book=ChannelBook(SERVER_ACCOUNT, MODEL, spent, sequence),
        question="why?",
        max_tokens=16,
        may_draw=False,
    )
    voucher = promise.signed.voucher
    assert (voucher.before_planck, voucher.sequence) == (70, 5)
    assert voucher.price_planck == RATES.fee(tokens_in_at_most("why?"), 16)
    assert voucher.question == salted_hash(promise.salt, "why?")
    assert (promise.tokens_in_max, promise.tokens_out_max) == (tokens_in_at_most("why?"), 16)
    assert promise.received is None
