"""Promises: the voucher that an asker signs for one answer, from its books and the chain.

The number of the answer and what is owed before it come from books and chain alone, whichever says
more; the price list and the training that shall answer are the chain's. The salt is new for each
question, so that equal questions do not look equal.
"""

from __future__ import annotations

import secrets

from node.client.asker_ledger import ChannelBook, Promise
from node.client.queries import QueryClient
from node.client.serving import signed_with
from node.client.token_counts import tokens_in_at_most
from pallets.inference import Channel
from runtime.crypto.keys import Keypair
from runtime.shared.receipts import (
    GREEDY,
    SALT_BYTES,
    VOUCHER_BLOCKS_MAX,
    Rates,
    Sampling,
    SignedVoucher,
    Voucher,
    salted_hash,
    voucher_payload,
)
from runtime.types.primitives import AccountId


def rates_of(client: QueryClient, model: int) -> Rates:
    """Return the price list of a model that exists."""
    rates: Rates | None = client.api("InferenceApi_price_list", model)
    assert rates is not None, "the model exists"
    return rates


def sign_promise(
    client: QueryClient,
    pair: Keypair,
    number: int,
    channel: Channel,
    book: ChannelBook,
    question: str,
    max_tokens: int,
    may_draw: bool,
    sampling: Sampling = GREEDY,
) -> Promise:
    """Sign for the answer to one question, at most at its longest. The books must know of the
    promise before it is sent. The model is published."""
    training = client.api("ModelsApi_model", channel.model).model.answering
    assert training is not None, "a channel is open to a model that answers"
    rates = rates_of(client, channel.model)
    salt = secrets.token_bytes(SALT_BYTES)
    before = max(book.spent_planck, channel.redeemed_planck)
    final = client.header(client.finalized_hash()).number
    voucher = Voucher(
        genesis=client.genesis_hash,
        channel=number,
        model=channel.model,
        train_job=training.train_job,
        sequence=max(book.sequence, channel.sequence) + 1,
        before_planck=before,
        limit_planck=before + rates.fee(tokens_in_at_most(question), max_tokens),
        rates=rates,
        question=salted_hash(salt, question),
        sampling=sampling,
        may_draw=may_draw,
        expires_at=final + VOUCHER_BLOCKS_MAX,
    )
    signature = signed_with(pair, voucher_payload(voucher))
    return Promise(
        signed=SignedVoucher(voucher, AccountId(pair.account), signature),
        salt=salt,
        tokens_in_max=tokens_in_at_most(question),
        tokens_out_max=max_tokens,
    )
