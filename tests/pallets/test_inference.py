"""Inference: channels, vouchers, and how a payment is split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import Balances, FreezeReason, HoldReason
from pallets.inference import (
    DEPOSIT_MIN,
    PLATFORM_POT,
    Inference,
    Parameters,
    Payout,
)
from pallets.transaction_payment import FEE_POT
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.dispatch import DispatchFailed
from runtime.shared.documents import Voucher, voucher_payload
from runtime.types.primitives import (
    OPEN,
    AccountId,
    Ecdsa,
    Ed25519,
    Hash,
    Id,
    MultiSignature,
    Sr25519,
)
from tests.pallets.support.ledger import (
    ALICE,
    BOB,
    CHARLIE,
    DAVE,
    ENDOWMENT,
    GENESIS_HASH,
    KEYS,
    NOBODY,
    Ledger,
)
from tests.pallets.support.market import MODEL_OWNER, Attribution, Models, market

ASKER, SERVER = BOB, CHARLIE
DEPOSIT = 10 * OPEN


@pytest.fixture
def shop() -> Iterator[Ledger]:
    """A ledger where model 0 may be asked, with channel 0 from Bob to Charlie."""
    with market() as ledger:
        open_channel(ledger)
        yield ledger
        ledger.check()


def open_channel(ledger: Ledger, who: AccountId = ASKER, **changes: Any) -> None:
    arguments = {"model": 0, "server": Id(SERVER), "deposit": DEPOSIT}
    ledger.sign(who, "Inference", "open_channel", **{**arguments, **changes})


def voucher(
    cumulative: int, channel: int = 0, genesis: Hash = GENESIS_HASH, name: str = "Bob"
) -> MultiSignature:
    return Ed25519(KEYS[name].sign(voucher_payload(Voucher(genesis, channel, cumulative))))


def redeem(
    ledger: Ledger,
    cumulative: int,
    signature: MultiSignature | None = None,
    who: AccountId = SERVER,
    channel: int = 0,
    drawn: int | None = None,
) -> None:
    ledger.sign(
        who,
        "Inference",
        "redeem",
        channel=channel,
        cumulative=cumulative,
        drawn=cumulative if drawn is None else drawn,
        signature=signature or voucher(cumulative, channel),
    )


def close(ledger: Ledger, who: AccountId, call: str = "close_channel") -> None:
    ledger.sign(who, "Inference", call, channel=0)


def held(ledger: Ledger, who: AccountId = ASKER) -> int:
    return ledger.pallet(Balances).held(HoldReason.InferenceChannel, who)


# ----------------------------------------------------------------------------------------- channels


def test_opening_a_channel_holds_its_deposit(shop: Ledger) -> None:
    assert held(shop) == DEPOSIT
    [info] = shop.pallet(Inference).channels_of(SERVER)
    assert (info.id, info.channel.asker) == (0, ASKER)
    assert shop.pallet(Inference).channels_of(ASKER) == (info,)


def test_a_model_that_may_not_be_asked_gets_no_channel(shop: Ledger) -> None:
    with pytest.raises(Inference.NotAllowed):
        open_channel(shop, model=1)


def test_a_channel_below_the_minimum_is_refused(shop: Ledger) -> None:
    with pytest.raises(Inference.DepositTooLow):
        open_channel(shop, deposit=DEPOSIT_MIN - 1)
    open_channel(shop, deposit=DEPOSIT_MIN)


def test_a_deposit_that_the_asker_does_not_have_is_refused(shop: Ledger) -> None:
    with pytest.raises(Balances.InsufficientBalance):
        open_channel(shop, deposit=ENDOWMENT)


def test_the_asker_tops_a_channel_up(shop: Ledger) -> None:
    shop.sign(ASKER, "Inference", "top_up", channel=0, amount=OPEN)
    assert held(shop) == DEPOSIT + OPEN
    redeem(shop, DEPOSIT + OPEN)
    with pytest.raises(Inference.NotAsker):
        shop.sign(SERVER, "Inference", "top_up", channel=0, amount=OPEN)


def test_every_call_refuses_an_unknown_channel(shop: Ledger) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("top_up", {"amount": 1}),
        ("redeem", {"cumulative": 1, "drawn": 1, "signature": voucher(1)}),
        ("close_channel", {}),
        ("finish_close", {}),
    ]
    for name, arguments in calls:
        with pytest.raises(Inference.UnknownChannel):
            shop.sign(ASKER, "Inference", name, channel=9, **arguments)


# ----------------------------------------------------------------------------------------- vouchers


def test_a_payment_is_split_with_nothing_lost(shop: Ledger) -> None:
    balances = shop.pallet(Balances)
    issuance, before = balances.total_issuance.get(), balances.free(MODEL_OWNER)
    redeem(shop, OPEN + 7)
    [event] = shop.events(Inference.Redeemed)
    payout = event.payout
    platform = (OPEN // 20 + 1, OPEN // 20)
    assert payout == Payout(*platform, OPEN // 5 + 1, OPEN // 5 + 1, OPEN // 2 + 4)
    assert balances.free(MODEL_OWNER) - before == payout.owner
    assert balances.free(PLATFORM_POT) == payout.platform
    assert balances.free(FEE_POT) == payout.stakers
    assert balances.free(ATTRIBUTION_POT) == payout.contributors
    assert shop.pallet(Attribution).funded == {0: payout.contributors}
    assert issuance - balances.total_issuance.get() == payout.burned
    assert held(shop) == DEPOSIT - OPEN - 7


def test_a_voucher_pays_only_what_it_adds(shop: Ledger) -> None:
    redeem(shop, OPEN)
    redeem(shop, 3 * OPEN)
    assert [event.amount for event in shop.events(Inference.Redeemed)] == [OPEN, 2 * OPEN]


def test_redeeming_a_voucher_again_pays_nothing(shop: Ledger) -> None:
    redeem(shop, OPEN)
    redeem(shop, OPEN)
    assert len(shop.events(Inference.Redeemed)) == 1
    assert held(shop) == DEPOSIT - OPEN


def test_a_lower_voucher_or_one_above_the_deposit_is_refused(shop: Ledger) -> None:
    redeem(shop, OPEN)
    with pytest.raises(Inference.VoucherTooLow):
        redeem(shop, OPEN - 1)
    with pytest.raises(Inference.AboveDeposit):
        redeem(shop, DEPOSIT + 1)


@pytest.mark.parametrize(
    "signature",
    [
        voucher(2 * OPEN),
        voucher(OPEN, channel=1),
        voucher(OPEN, genesis=Hash(bytes(32))),
        voucher(OPEN, name="Charlie"),
        Ed25519(bytes(64)),
        Sr25519(voucher(OPEN).signature),  # type: ignore[attr-defined]
        Ecdsa(bytes(65)),
    ],
)
def test_a_voucher_of_another_amount_channel_chain_or_signer_is_refused(
    shop: Ledger, signature: MultiSignature
) -> None:
    with pytest.raises(Inference.BadVoucher):
        redeem(shop, OPEN, signature)


def test_a_server_draws_less_than_the_voucher_allows_and_never_more(shop: Ledger) -> None:
    redeem(shop, 3 * OPEN, drawn=OPEN)
    assert held(shop) == DEPOSIT - OPEN
    redeem(shop, 3 * OPEN, drawn=2 * OPEN)
    assert held(shop) == DEPOSIT - 2 * OPEN
    with pytest.raises(Inference.AboveVoucher):
        redeem(shop, 3 * OPEN, drawn=3 * OPEN + 1)


def test_only_the_server_redeems(shop: Ledger) -> None:
    with pytest.raises(Inference.NotServer):
        redeem(shop, OPEN, who=ASKER)


def test_an_asker_with_an_sr25519_key_pays_too() -> None:
    pair = Keypair.from_uri("//Bob", KeyKind.SR25519)
    account = AccountId(pair.account)
    with market(extra=((account, ENDOWMENT),)) as ledger:
        open_channel(ledger, who=account)
        payload = voucher_payload(Voucher(GENESIS_HASH, 0, OPEN))
        redeem(ledger, OPEN, Sr25519(pair.sign(payload)))
        assert held(ledger, account) == DEPOSIT - OPEN


def test_a_server_is_paid_though_the_models_owner_has_no_account(shop: Ledger) -> None:
    models = shop.pallet(Models)
    models.owner = NOBODY
    redeem(shop, 1_000)
    [event] = shop.events(Inference.Redeemed)
    assert event.payout.owner == 0
    assert event.payout.platform == 50 + 200
    redeem(shop, OPEN)
    assert shop.pallet(Balances).free(NOBODY) == (OPEN - 1_000) // 5


def test_an_asker_cannot_keep_the_deposit_by_freezing_it(shop: Ledger) -> None:
    shop.pallet(Balances).freeze(FreezeReason.Staking, ASKER, ENDOWMENT)
    redeem(shop, DEPOSIT)
    assert held(shop) == 0


def test_asking_ones_own_model_always_loses(shop: Ledger) -> None:
    balances = shop.pallet(Balances)
    shop.pallet(Models).owner = ASKER
    redeem(shop, DEPOSIT)
    assert balances.free(ASKER) + balances.free(ATTRIBUTION_POT) < ENDOWMENT


# ------------------------------------------------------------------------------------------ closing


def test_the_server_closes_at_once(shop: Ledger) -> None:
    redeem(shop, OPEN)
    close(shop, SERVER)
    assert held(shop) == 0
    assert shop.pallet(Balances).free(ASKER) == ENDOWMENT - OPEN
    assert shop.pallet(Inference).channel(0) is None
    assert shop.pallet(Inference).channels_of(SERVER) == ()


def test_the_asker_closes_after_a_window_in_which_the_server_may_redeem(shop: Ledger) -> None:
    close(shop, ASKER)
    with pytest.raises(Inference.IsClosing):
        close(shop, ASKER)
    with pytest.raises(Inference.IsClosing):
        shop.sign(ASKER, "Inference", "top_up", channel=0, amount=OPEN)
    shop.next_block(shop.pallet(Inference).parameters.get().challenge_blocks)
    with pytest.raises(Inference.TooEarly):
        close(shop, DAVE, "finish_close")
    redeem(shop, OPEN)
    shop.next_block()
    close(shop, DAVE, "finish_close")
    assert shop.pallet(Balances).free(ASKER) == ENDOWMENT - OPEN


def test_a_channel_that_is_not_closing_is_not_finished(shop: Ledger) -> None:
    with pytest.raises(Inference.TooEarly):
        close(shop, ASKER, "finish_close")


def test_strangers_close_nothing(shop: Ledger) -> None:
    with pytest.raises(Inference.NotMember):
        close(shop, DAVE)


def test_an_asker_that_serves_itself_closes_at_once(shop: Ledger) -> None:
    open_channel(shop, server=Id(ASKER))
    shop.sign(ASKER, "Inference", "close_channel", channel=1)
    assert held(shop) == DEPOSIT


# --------------------------------------------------------------------------------------- parameters


def test_a_quote_rounds_up_and_adds_the_platform_fee(shop: Ledger) -> None:
    inference = shop.pallet(Inference)
    fee = inference.current_parameters().platform_fee_planck
    assert inference.quote(0, 0, 0) == fee
    assert inference.quote(0, 1, 0) == fee + 1
    assert inference.quote(0, 1_000, 2_000) == fee + 500 + 2 * 1_500
    assert inference.quote(9, 1, 1) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"platform_fee_planck": OPEN + 1},
        {"platform_permille": 10, "owner_permille": 290},
        {"owner_permille": 501, "contributors_permille": 199},
        {"contributors_permille": 501},
        {"burn_permille": 99},
        {"burn_permille": 1_001},
        {"challenge_blocks": 4},
    ],
)
def test_parameters_out_of_bounds_are_refused(shop: Ledger, changes: dict[str, int]) -> None:
    with pytest.raises(Inference.OutOfBounds):
        shop.root("Inference", "set_parameters", parameters=replace(Parameters(), **changes))


def test_root_alone_sets_parameters(shop: Ledger) -> None:
    changed = replace(Parameters(), owner_permille=100, contributors_permille=600)
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        shop.sign(ALICE, "Inference", "set_parameters", parameters=changed)
    shop.root("Inference", "set_parameters", parameters=changed)
    redeem(shop, 1_000)
    [event] = shop.events(Inference.Redeemed)
    assert (event.payout.owner, event.payout.contributors) == (100, 600)
