"""The epoch closer: closes with what was redeemed in the epoch, and goes on from the chain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from node.serving import epoch_files
from node.serving.epoch_closer import TRIES_MAX, SettlementRefusedError
from node.serving.epoch_progress import Stage
from node.serving.epoch_view import EPOCH_BLOCKS, RETRY_BLOCKS
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore
from node.transactions.submitter import RESEND_BLOCKS
from pallets.attribution.records import Epoch, EpochState, Ledger
from pallets.jobs.job import FailureReason, JobFailure
from runtime.shared.receipts import receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import ZERO_HASH
from tests.node.serving.support.closing_server import FEE, Server, closing, receipts_in, signed_in
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.paid_answers import CHANNEL, MODEL, open_channel, stored


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def test_closing_draws_what_is_owed_and_names_the_receipts(server: Server) -> None:
    server.answer(count=3)
    assert server.close_epoch(MODEL) == 0
    server.block()
    assert server.node.drawn() == [(CHANNEL, 3 * FEE)]
    assert server.stage is Stage.DRAWING
    server.block()
    (call,) = server.node.calls("close_epoch")
    signed = server.store.epoch_receipts(MODEL, None, 0, 9)
    root, fees = sum_root((receipt_hash(each.receipt), each.receipt.fee_planck) for each in signed)
    assert (call["receipts_root"], call["fees_planck"], call["receipts"]) == (root, fees, 3)
    assert fees == 3 * FEE
    assert receipts_in(server, call) == [(CHANNEL, 1), (CHANNEL, 2), (CHANNEL, 3)]
    server.block()
    assert server.stage is Stage.SETTLING
    assert len(server.store.epoch_receipts(MODEL, 0, 0, 9)) == 3
    server.settle()
    assert server.stage is Stage.WAITING


def test_a_receipt_answered_after_the_redemption_waits_for_the_next_epoch(server: Server) -> None:
    server.answer(count=2)
    server.close_epoch(MODEL)
    server.block()
    server.answer()
    server.block()
    (call,) = server.node.calls("close_epoch")
    assert receipts_in(server, call) == [(CHANNEL, 1), (CHANNEL, 2)]
    server.block()
    server.settle()
    server.answer()
    assert receipts_in(server, closing(server)) == [(CHANNEL, 3), (CHANNEL, 4)]


def soon(server: Server) -> int:
    """Return the end of a challenge window of which less than half is left."""
    return server.node.height + server.node.challenge_blocks // 2


def test_what_closing_channels_redeem_meanwhile_is_in_no_earlier_epoch(server: Server) -> None:
    server.node.channels[8] = open_channel()
    server.answer(count=2)
    server.close_epoch(MODEL)
    server.block()
    server.answer(8)
    server.block()
    server.node.channels[8] = replace(server.node.channels[8], closes_at=soon(server))
    server.block()
    assert server.stage is Stage.SETTLING
    assert server.node.drawn() == [(8, FEE)]
    server.block()
    server.settle()
    assert receipts_in(server, closing(server)) == [(8, 1)]


def test_an_epoch_waits_for_redemptions_that_are_on_their_way(server: Server) -> None:
    server.node.channels[8] = open_channel(closes_at=soon(server))
    server.answer()
    server.close_epoch(MODEL)
    server.block()
    server.answer(8)
    server.block()
    assert server.node.drawn() == [(8, FEE)]
    assert server.stage is Stage.DRAWING
    server.block()
    (call,) = server.node.calls("close_epoch")
    assert receipts_in(server, call) == [(CHANNEL, 1), (8, 1)]


def test_an_epoch_is_closed_when_it_is_old_enough(server: Server) -> None:
    server.answer()
    server.block(count=EPOCH_BLOCKS - 1)
    assert server.node.sent == []
    server.block(count=2)
    assert server.node.calls("close_epoch")


def test_an_epoch_without_receipts_is_not_closed(server: Server) -> None:
    with pytest.raises(SettlementRefusedError, match="no receipts"):
        server.close_epoch(MODEL)
    server.answer()
    del server.node.channels[CHANNEL]
    server.close_epoch(MODEL)
    server.block(count=3)
    assert (server.stage, server.node.sent) == (Stage.WAITING, [])


def test_the_gate_keeps_epochs_waiting_and_channels_are_redeemed_all_the_same(
    server: Server,
) -> None:
    server.node.is_open = False
    server.answer()
    with pytest.raises(SettlementRefusedError, match="no index of 50 rows"):
        server.close_epoch(MODEL)
    server.block(count=EPOCH_BLOCKS + 1)
    assert (server.stage, server.node.calls("close_epoch")) == (Stage.WAITING, [])
    assert "waits in the pool" in server.reason
    server.node.channels[CHANNEL] = replace(server.node.channels[CHANNEL], closes_at=10**6)
    server.block(lands=False)
    assert server.node.drawn() == [(CHANNEL, FEE)]
    server.node.is_open = True
    server.block(count=2)
    assert server.node.calls("close_epoch") or server.stage is Stage.SETTLING


def test_answers_that_are_in_no_epoch_are_counted(server: Server) -> None:
    server.answer(count=3)
    assert server.closer.open_receipts(MODEL) == 3
    server.start()
    assert server.closer.open_receipts(MODEL) == 3
    closing(server)
    server.answer()
    assert server.closer.open_receipts(MODEL) == 4
    server.block(count=2)
    assert server.stage is Stage.SETTLING
    assert server.closer.open_receipts(MODEL) == 1


def test_a_failed_epoch_is_closed_again_a_few_times_and_then_said(server: Server) -> None:
    server.answer()
    closing(server)
    server.block()
    for attempt in range(1, TRIES_MAX + 1):
        job = server.node.jobs[server.node.epochs[0].job]
        job.failure = JobFailure.ReportedByExecutors
        job.slots = (SimpleNamespace(reason=FailureReason.MissingBlob),)
        server.settle(EpochState.Failed)
        if attempt < TRIES_MAX:
            server.block(lands=False, count=2)
            (call,) = server.node.calls("close_again")
            assert (call["epoch"], receipts_in(server, call)) == (0, [(CHANNEL, 1)])
            server.block()
            assert server.stage is Stage.SETTLING
    assert server.stage is Stage.STOPPED
    assert "could not be settled 3 times" in server.reason
    assert "ReportedByExecutors (MissingBlob)" in server.reason
    server.start()
    server.block(count=2 * EPOCH_BLOCKS)
    assert (server.stage, server.node.sent) == (Stage.STOPPED, []), "also after a restart"
    assert server.close_epoch(MODEL) == 0
    server.block(lands=False, count=2)
    assert server.node.calls("close_again"), "by the operator's word"


@pytest.mark.parametrize("is_file_lost", [False, True])
def test_an_epoch_is_closed_again_with_the_same_receipts_whatever_was_redeemed_since(
    server: Server, is_file_lost: bool
) -> None:
    server.node.channels[8] = open_channel()
    server.answer()
    first = closing(server)
    server.answer(8)
    server.node.channels[8] = replace(server.node.channels[8], closes_at=soon(server))
    server.block(count=2)
    assert server.node.channels[8].redeemed_in(1) == FEE, "it lands after the close"
    if is_file_lost:
        server.blobs = BlobStore(server.folder / "other blobs")
        server.start()
    server.settle(EpochState.Failed)
    server.block(lands=False)
    (again,) = server.node.calls("close_again")
    del first["missing_planck"]
    assert again == {**first, "epoch": 0}
    assert receipts_in(server, again) == [(CHANNEL, 1)]


def test_a_close_that_a_redemption_overtakes_is_made_again_with_its_receipt(server: Server) -> None:
    server.node.channels[8] = open_channel()
    server.answer()
    closing(server)
    server.answer(8)
    server.node.channels[8] = replace(server.node.channels[8], closes_at=soon(server))
    server.redeemer.redeem_due(server.node.height)
    server.node.sent.reverse()
    server.block()
    assert (server.stage, server.node.channels[8].redeemed_in(0)) == (Stage.CLOSING, FEE)
    for _ in range(RESEND_BLOCKS):
        server.block(lands=not server.node.calls("close_epoch"))
    (call,) = server.node.calls("close_epoch")
    assert receipts_in(server, call) == [(CHANNEL, 1), (8, 1)]
    assert call["missing_planck"] == 0


def test_lost_receipts_stop_the_closer_until_its_operator_accepts_what_they_cost(
    server: Server,
) -> None:
    server.node.channels[8] = open_channel()
    server.answer()
    server.answer(8)
    server.draw_all()
    server.block()
    server.store.close()
    (server.folder / "receipts.sqlite3").unlink()
    server.store = ReceiptStore(server.folder / "receipts.sqlite3")
    server.store.record(stored(1, 8))
    server.start()
    server.close_epoch(MODEL)
    server.block(count=2)
    assert (server.stage, server.node.calls("close_epoch")) == (Stage.STOPPED, [])
    assert f"receipts of {FEE} of them are not here" in server.reason
    server.close_epoch(MODEL, accepts_missing=True)
    server.block(lands=False)
    (call,) = server.node.calls("close_epoch")
    assert (receipts_in(server, call), call["missing_planck"]) == ([(8, 1)], FEE)
    server.block()
    assert (server.stage, server.node.slashed) == (Stage.SETTLING, FEE)


def test_a_convicted_epoch_is_said_and_never_closed_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer()
    closing(server)
    server.block()
    server.settle(EpochState.Convicted)
    server.block(count=EPOCH_BLOCKS + 2)
    assert server.node.sent == []
    assert caplog.text.count("epoch-convicted model=3 epoch=0") == 1


def test_fees_above_the_bond_stop_the_closer_with_the_reason(server: Server) -> None:
    server.answer(count=2)
    server.node.bond = 2 * FEE - 1
    server.close_epoch(MODEL)
    server.block(count=3)
    assert server.stage is Stage.STOPPED
    assert "server add-bond" in server.reason
    server.node.bond = 2 * FEE
    server.close_epoch(MODEL)
    server.block(lands=False)
    assert server.node.calls("close_epoch")


def test_a_bond_answers_for_all_epochs_that_are_being_settled(server: Server) -> None:
    other = Epoch(EpochState.Settling, 0, 1, ZERO_HASH, 1, FEE, 0, ZERO_HASH)
    server.node.others[MODEL + 1] = (Ledger(epoch=1, settling=0), other)
    server.closer._add(MODEL + 1)
    server.node.bond = 2 * FEE - 1
    server.answer()
    server.close_epoch(MODEL)
    server.block(count=3)
    assert (server.stage, server.node.calls("close_epoch")) == (Stage.WAITING, [])
    assert "other epochs" in server.reason
    server.node.others[MODEL + 1] = (Ledger(epoch=1), replace(other, state=EpochState.Settled))
    server.block(count=RETRY_BLOCKS + 2)
    assert server.stage is Stage.SETTLING


def test_a_close_that_has_no_effect_is_sent_a_few_times(server: Server) -> None:
    server.answer()
    server.close_epoch(MODEL)
    server.block(count=2)
    server.node.sent.clear()
    for _ in range(2):
        server.block(lands=False, count=RESEND_BLOCKS)
        assert len(server.node.calls("close_epoch")) == 1
        server.node.sent.clear()
    server.block(lands=False, count=RESEND_BLOCKS)
    assert (server.stage, server.node.sent) == (Stage.STOPPED, [])
    assert "had no effect" in server.reason


def test_a_redemption_that_never_lands_does_not_keep_an_epoch_open(server: Server) -> None:
    server.node.channels[8] = open_channel()
    server.answer()
    server.answer(8)
    server.close_epoch(MODEL)
    server.block()
    server.node.sent = [
        (name, call)
        for name, call in server.node.sent
        if name != "redeem" or call["voucher"].channel == CHANNEL
    ]
    server.block()
    assert server.stage is Stage.DRAWING
    for _ in range(80):
        server.node.sent = [each for each in server.node.sent if each[0] != "redeem"]
        server.block(lands=not server.node.calls("close_epoch"))
    (call,) = server.node.calls("close_epoch")[:1]
    assert receipts_in(server, call) == [(CHANNEL, 1)]


def test_a_restart_in_the_middle_loses_nothing(server: Server) -> None:
    server.answer(count=2)
    closing(server)
    server.start()
    server.block()
    assert server.stage is Stage.SETTLING
    assert len(server.store.epoch_receipts(MODEL, 0, 0, 9)) == 2
    server.start()
    server.settle()
    assert server.stage is Stage.WAITING


def test_a_full_disk_and_a_pool_that_refuses_do_not_stop_a_node(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer()
    server.close_epoch(MODEL)
    server.node.is_refusing = True
    server.block(count=2)
    assert server.stage is Stage.DRAWING
    server.node.is_refusing = False
    server.block()
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", disk_of(1 << 40, 0))
        server.block()
    assert (server.stage, server.node.calls("close_epoch")) == (Stage.STOPPED, [])
    server.close_epoch(MODEL)
    server.block(lands=False)
    assert server.node.calls("close_epoch")


def test_an_epoch_that_another_program_closed_with_other_files_is_said_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer()
    server.block()
    garbage = {"receipts_root": ZERO_HASH, "receipts": 1, "fees_planck": 0, "missing_planck": 0}
    server.node.sent.append(
        ("close_epoch", {**garbage, "receipts_blob": server.blobs.put(b"garbage")})
    )
    server.block(count=3)
    assert server.stage is Stage.SETTLING
    assert caplog.text.count("epoch-file-lost model=3 epoch=0") == 1
    server.settle()
    assert server.stage is Stage.WAITING


class LifeOfAnEpoch(RuleBasedStateMachine):
    """However answers, closes, failures and restarts fall, each receipt is settled at most once,
    whole epochs add up, and nothing that was redeemed and settled in time is left out."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.server = Server(Path(self.folder.name))
        for channel in (8, 9):
            self.server.node.channels[channel] = open_channel(deposit_planck=10**9)
        self.settled: list[tuple[int, int]] = []

    def teardown(self) -> None:
        self.server.close()
        self.folder.cleanup()

    @rule(channel=st.sampled_from([7, 8, 9]), count=st.integers(1, 3))
    def answer(self, channel: int, count: int) -> None:
        self.server.answer(channel, count)

    @rule()
    def close(self) -> None:
        with suppress(SettlementRefusedError):
            self.server.close_epoch(MODEL)

    @rule(lands=st.booleans(), count=st.integers(1, 10))
    def block(self, lands: bool, count: int) -> None:
        self.server.block(lands, count)

    @rule()
    def restart(self) -> None:
        self.server.start()

    @rule(state=st.sampled_from([EpochState.Settled, EpochState.Settled, EpochState.Failed]))
    def end(self, state: EpochState) -> None:
        number = self.server.node.ledger.settling
        if number is None:
            return
        record = self.server.node.epochs[number]
        signed = signed_in(self.server, record.receipts_blob)
        places = [(each.channel, each.sequence) for each in signed]
        assert places == sorted(places)
        own = list(epoch_files.receipts_in(self.server.blobs, record.receipts_blob, len(signed)))
        assert own == [(receipt_hash(each.receipt), each.receipt.fee_planck) for each in signed]
        assert sum(fee for _, fee in own) == record.fees_planck
        for each in signed:
            channel = self.server.node.channels[each.channel]
            first = channel.redeemed_before(number)
            assert first <= each.voucher.voucher.before_planck
            assert each.ends_planck <= channel.redeemed_before(number + 1)
        if state is EpochState.Settled:
            assert not set(places) & set(self.settled), "nothing is settled twice"
            self.settled += places
        self.server.settle(state)


LifeOfAnEpoch.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
test_random_lives_of_an_epoch = LifeOfAnEpoch.TestCase
