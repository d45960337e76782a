"""The time to close an epoch, and what it is closed with: an honest server is never slashed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from node.chain.errors import StatePrunedError
from node.serving import epoch_closer
from node.serving.epoch_files import largest_that_fit
from node.serving.epoch_progress import Stage
from node.serving.epoch_view import EPOCH_BLOCKS, RETRY_BLOCKS, EpochView
from node.storage.receipt_store import ReceiptRange, ReceiptStore
from node.transactions.submitter import ERA_BLOCKS, RESEND_BLOCKS
from pallets.attribution.records import Ledger, Parameters
from runtime.types.primitives import ZERO_HASH
from tests.node.serving.support.closing_server import FEE, Server, closing, receipts_in
from tests.node.support.paid_answers import CHANNEL, MODEL, open_channel

CLOSE_BLOCKS = 1_600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.node.parameters = replace(made.node.parameters, close_blocks=CLOSE_BLOCKS)
    yield made
    made.close()


def redeem(server: Server, count: int = 1) -> None:
    """Give answers and redeem them, so that they are due."""
    server.answer(count=count)
    server.draw_all()
    server.redeemer.go_on(MODEL)
    server.block()


def pass_time(server: Server, part: float) -> None:
    """Let the node be down until so much of the time to close is over."""
    assert server.node.ledger.due_from is not None, "something is due"
    server.node.height = server.node.ledger.due_from + int(part * CLOSE_BLOCKS) - 1


def closed(server: Server) -> dict[str, Any]:
    (call,) = server.node.calls("close_epoch")
    return call


# ------------------------------------------------------------------------------------- one state


def test_an_epoch_is_declared_from_one_block_whatever_is_redeemed_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file = epoch_closer.write_file

    def redeemed_meanwhile(*arguments: Any) -> Any:
        server.node.height += 1
        server.node.land()
        return write_file(*arguments)

    redeem(server)
    server.node.channels[8] = open_channel()
    server.answer(8)
    server.redeemer.draw(
        MODEL, server.redeemer.hold(MODEL), server.node.height, server.node.finalized.hash
    )
    monkeypatch.setattr(epoch_closer, "write_file", redeemed_meanwhile)
    pass_time(server, 0.8)
    server.block(lands=False)
    assert server.node.channels[8].redeemed_planck == FEE, "between the views"
    call = closed(server)
    assert receipts_in(server, call) == [(CHANNEL, 1)]
    assert (call["fees_planck"], call["missing_planck"]) == (FEE, 0)


def test_a_block_that_is_pruned_while_files_are_read_is_given_up_for_a_later_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruned(*_: Any) -> Any:
        raise StatePrunedError("The state of the block is pruned here.")

    redeem(server)
    server.close_epoch(MODEL)
    with monkeypatch.context() as fast:
        fast.setattr(epoch_closer, "channels_of", pruned)
        server.block()
    assert (server.stage, server.node.sent) == (Stage.CLOSING, [])
    server.block(lands=False, count=RESEND_BLOCKS)
    assert receipts_in(server, closed(server)) == [(CHANNEL, 1)]


# ------------------------------------------------------------------------------ the time to close


def test_nothing_is_drawn_in_the_block_that_a_close_is_decided_on(server: Server) -> None:
    redeem(server)
    server.node.channels[8] = open_channel()
    server.answer(8)
    pass_time(server, 0.8)
    server.block(lands=False)
    assert closed(server)["missing_planck"] == 0
    assert server.node.drawn() == []


def test_what_is_due_is_closed_however_often_the_node_restarts(server: Server) -> None:
    redeem(server)
    for _ in range(CLOSE_BLOCKS // 100):
        server.start()
        server.block(count=100)
        if server.stage is Stage.SETTLING:
            return
    pytest.fail("the epoch is overdue")


@pytest.mark.parametrize("part", [0.5, 0.8, 0.99])
def test_what_is_due_is_closed_at_once_after_an_outage(server: Server, part: float) -> None:
    redeem(server)
    server.start()
    pass_time(server, part)
    server.block(count=3)
    assert server.stage is Stage.SETTLING


def test_an_epoch_is_closed_when_blocks_have_room_again_by_the_call_that_waits(
    server: Server,
) -> None:
    redeem(server)
    pass_time(server, 0.5)
    server.block(lands=False, count=ERA_BLOCKS)
    assert len(server.node.calls("close_epoch")) == 1, "one waits in the pool, and none behind it"
    server.node.sent.clear()  # its era is over
    server.block(lands=False, count=RESEND_BLOCKS)
    assert len(server.node.calls("close_epoch")) == 1
    server.block()
    assert server.stage is Stage.SETTLING


def test_an_epoch_that_has_stopped_is_tried_often_when_its_time_presses(server: Server) -> None:
    redeem(server)
    pass_time(server, 0.5)
    server.closer._stop(MODEL, 0, "of some reason")
    server.block(lands=False, count=RETRY_BLOCKS)
    assert server.stage is Stage.STOPPED
    pass_time(server, 0.8)
    server.block(lands=False, count=RETRY_BLOCKS + 1)
    assert closed(server)["missing_planck"] == 0


def test_a_redemption_that_does_not_land_delays_no_close_that_presses(server: Server) -> None:
    server.node.channels[8] = open_channel()
    redeem(server)
    server.answer(8)
    pass_time(server, 0.8)
    server.block(lands=False)
    assert receipts_in(server, closed(server)) == [(CHANNEL, 1)]


def test_what_is_due_is_closed_by_hand_where_the_gate_has_closed_since(server: Server) -> None:
    redeem(server)
    server.node.is_open = False
    assert receipts_in(server, closing(server)) == [(CHANNEL, 1)]


def test_an_epoch_that_is_not_worth_its_settlement_grows_until_it_is(server: Server) -> None:
    server.node.duty = 2 * FEE
    redeem(server)
    server.block(count=2 * EPOCH_BLOCKS)
    assert (server.stage, server.node.sent) == (Stage.WAITING, [])
    assert (
        f"The epoch has earned {FEE} planck, and settling one may cost {2 * FEE}" in server.reason
    )
    redeem(server)
    assert server.reason == ""
    server.block(lands=False, count=EPOCH_BLOCKS + 2)
    assert closed(server)["receipts"] == 2


def test_an_operator_has_settled_what_is_worth_less(server: Server) -> None:
    server.node.duty = 2 * FEE
    redeem(server)
    assert closing(server)["receipts"] == 1


def redeem_early(server: Server, count: int = 2) -> None:
    """Redeem answers before the model opens."""
    server.node.is_open = False
    redeem(server, count)
    server.node.is_open = True


def test_what_came_before_the_model_opened_is_an_epoch_of_its_own(server: Server) -> None:
    redeem_early(server)
    redeem(server)
    call = closing(server)
    assert receipts_in(server, call) == [(CHANNEL, 1), (CHANNEL, 2)]
    assert (call["fees_planck"], call["missing_planck"]) == (2 * FEE, 0)
    server.block(count=3)
    server.settle()
    server.block(lands=False, count=EPOCH_BLOCKS + 2)
    assert receipts_in(server, closed(server)) == [(CHANNEL, 3)]
    assert closed(server)["missing_planck"] == 0


def test_what_came_before_is_given_up_at_last_where_no_receipt_is_left(server: Server) -> None:
    redeem_early(server)
    lose_store(server)
    server.node.channels[CHANNEL + 1] = open_channel()
    server.answer(CHANNEL + 1)
    server.draw_all()
    server.redeemer.go_on(MODEL)
    server.block()
    pass_time(server, 0.8)
    server.block(count=2)
    assert (server.stage, server.node.sent) == (Stage.STOPPED, [])
    assert "The receipt store has no receipt" in server.reason
    pass_time(server, 0.95)
    server.block(lands=False, count=RETRY_BLOCKS + 1)
    assert (closed(server)["receipts"], closed(server)["missing_planck"]) == (0, 2 * FEE)
    server.block()
    server.block(lands=False, count=2)
    assert receipts_in(server, closed(server)) == [(CHANNEL + 1, 1)]
    server.block()
    assert (server.stage, server.node.slashed) == (Stage.SETTLING, 0)


@pytest.mark.parametrize("stage", [Stage.DRAWING, Stage.CLOSING])
def test_an_epoch_that_is_reported_as_overdue_meanwhile_is_given_up(
    server: Server, stage: Stage
) -> None:
    redeem(server)
    server.answer()
    server.close_epoch(MODEL)
    server.block(lands=False)
    if stage is Stage.CLOSING:
        server.block()
        server.node.sent.clear()
    assert server.stage is stage
    server.node.ledger = Ledger(epoch=1)
    server.block(count=RESEND_BLOCKS)
    assert (server.stage, server.node.calls("close_epoch")) == (Stage.WAITING, [])


# -------------------------------------------------------------------------------- what is left out


@pytest.mark.parametrize(("room", "fees"), [(100, [50, 50]), (110, [60, 50]), (59, [50])])
def test_what_is_kept_of_an_epoch_fills_it_as_far_as_a_simple_choice_does(
    room: int, fees: list[int]
) -> None:
    ends = list(accumulate([60, 50, 50]))
    ranges = [
        ReceiptRange(ZERO_HASH, CHANNEL, at, before_planck=end - fee, ends_planck=end)
        for at, (fee, end) in enumerate(zip([60, 50, 50], ends, strict=True))
    ]
    kept = largest_that_fit(ranges, 100, room)
    assert [each.fee_planck for each in kept] == fees


def test_what_a_cut_epoch_has_left_out_fills_no_later_one(server: Server) -> None:
    server.node.parameters = replace(server.node.parameters, receipts_maximum=10)
    redeem_early(server, 30)
    closes = 0
    for _ in range(200):
        server.block()
        if server.node.ledger.settling is not None:
            closes += 1
            server.settle()
            redeem(server)
    assert closes == 1, "the next one comes by its age"


def test_what_came_before_waits_for_a_bond_or_is_cut_by_the_operator(server: Server) -> None:
    redeem_early(server, 3)
    server.node.bond = 2 * FEE + 1
    server.close_epoch(MODEL)
    server.block(count=3)
    assert (server.stage, server.node.sent) == (Stage.STOPPED, [])
    assert f"Raise the bond to {3 * FEE}" in server.reason
    server.close_epoch(MODEL, accepts_missing=True)
    server.block(lands=False, count=3)
    call = closed(server)
    assert receipts_in(server, call) == [(CHANNEL, 1), (CHANNEL, 2)]
    assert (call["fees_planck"], call["missing_planck"]) == (2 * FEE, FEE)
    server.block()
    assert (server.stage, server.node.slashed) == (Stage.SETTLING, 0)


def test_an_epoch_has_no_more_receipts_than_the_chain_takes(server: Server) -> None:
    server.node.parameters = replace(server.node.parameters, receipts_maximum=2)
    redeem_early(server, 3)
    assert closing(server)["receipts"] == 2


@pytest.mark.parametrize(
    ("bond", "receipts_max", "sentence"),
    [(2 * FEE, 9, f"Raise the bond to {3 * FEE}"), (10**6, 2, "more receipts than the 2")],
)
def test_what_would_cost_waits_for_the_operator_until_the_last_call(
    server: Server, bond: int, receipts_max: int, sentence: str
) -> None:
    redeem(server, 3)
    server.node.bond = bond
    server.node.parameters = replace(server.node.parameters, receipts_maximum=receipts_max)
    pass_time(server, 0.9)
    server.block(count=2)
    assert (server.stage, server.node.sent) == (Stage.STOPPED, [])
    assert sentence in server.reason
    assert f"After block {server.node.ledger.due_from + CLOSE_BLOCKS} all" in server.reason
    pass_time(server, 0.95)
    server.block(lands=False, count=RETRY_BLOCKS + 1)
    assert closed(server)["missing_planck"] == FEE
    server.block()
    assert server.node.slashed == FEE, "not closing would have cost three times as much"


def test_an_epoch_of_which_a_part_was_given_back_is_closed_with_the_rest(server: Server) -> None:
    redeem(server, 3)
    ledger = server.node.ledger
    server.node.ledger = replace(ledger, redeemed_planck=2 * FEE)
    call = closing(server)
    assert (call["fees_planck"], call["missing_planck"]) == (2 * FEE, 0)


# ---------------------------------------------------------------------------------- a lost store


def lose_store(server: Server) -> None:
    server.store.close()
    (server.folder / "receipts.sqlite3").unlink()
    server.store = ReceiptStore(server.folder / "receipts.sqlite3")
    server.start()


def test_a_lost_receipt_store_is_said_with_what_it_costs(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    redeem(server, 2)
    lose_store(server)
    assert server.stage is Stage.STOPPED
    assert f"{2 * FEE} planck were redeemed, {2 * FEE} of them are due" in server.reason
    assert f"after block {CLOSE_BLOCKS} what is due is slashed" in server.reason
    assert "Bring the receipt store of this server back" in caplog.text
    pass_time(server, 0.99)
    server.block(count=RETRY_BLOCKS)
    assert (server.stage, server.node.sent) == (Stage.STOPPED, [])
    assert "Bring the receipt store of this server back" in server.reason


def test_a_store_that_is_lost_while_an_epoch_is_settled_is_said(server: Server) -> None:
    redeem(server)
    closing(server)
    server.block()
    lose_store(server)
    server.block()
    assert server.stage is Stage.SETTLING
    assert "epoch 0 is being settled" in server.reason


def test_a_new_server_has_lost_nothing(server: Server) -> None:
    lose_store(server)
    assert server.closer.settlements() == ()


# ------------------------------------------------------------------------------------------ parts


def view(height: int, due_from: int | None = 1_000, close_blocks: int = 86_400) -> EpochView:
    return EpochView(
        block=ZERO_HASH,
        height=height,
        ledger=Ledger(due_from=due_from),
        latest=None,
        job=None,
        has_opened=False,
        parameters=Parameters(close_blocks=close_blocks),
        bond_planck=0,
        at_risk_planck=0,
        duty_planck=0,
    )


def test_times_are_parts_of_the_time_to_close() -> None:
    assert not view(999 + EPOCH_BLOCKS).is_old
    assert view(1_000 + EPOCH_BLOCKS).is_old
    assert not view(999 + 64_800).is_pressing
    assert view(1_000 + 64_800).is_pressing
    assert view(1_000 + 81_000).is_last_call
    assert view(1_000).overdue_from == 87_400
    assert view(1_001, close_blocks=5).is_old


def test_what_is_not_due_has_no_time() -> None:
    waiting = view(10**6, due_from=None)
    assert not any((waiting.is_old, waiting.is_pressing, waiting.is_last_call))
    assert (waiting.overdue_from, waiting.can_close) == (None, False)
