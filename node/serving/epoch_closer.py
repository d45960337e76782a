"""The epoch closer: closes this server's epochs, so that contributors are paid.

    waiting -> due by age or by the operator's word
    drawing -> what the model's channels owe is redeemed and final
    closing -> the file of exactly the receipts redeemed in this epoch is named on chain
    settling -> settled | convicted: never again
                        | failed: closed again with the same receipts, TRIES_MAX times in a row

Where a model stands is read from chain and receipt store with each final block, all of it at this
block (node/serving/epoch_view.py), so a restart loses nothing but a wait. Its channels are redeemed
in their time whether its epochs can be closed or not: between drawing and closing alone nothing
more is drawn, but from channels that close.

An epoch is closed when it has earned what its settlement costs, or by the operator's word. It has
all receipts that there is room for, in number and under the bond. Where what is left out costs the
server or its contributors something, the operator decides, until the time to close is nearly over.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import trio

from node.chain.chain import Chain
from node.chain.errors import StatePrunedError
from node.chain.events import FinalChanged
from node.chain.state_reader import StateReader
from node.serving.epoch_files import (
    NO_RECEIPTS,
    EpochFile,
    channels_of,
    count_left_out,
    largest_that_fit,
    ranges_of_epoch,
    receipts_in,
    write_file,
)
from node.serving.epoch_progress import Progress, Settlement, Stage
from node.serving.epoch_reasons import (
    closed_gate,
    low_bond,
    no_receipts,
    not_worth_it,
    what_is_left_out,
    why_failed,
)
from node.serving.epoch_view import EPOCH_BLOCKS, RETRY_BLOCKS, EpochView
from node.serving.redeemer import Redeemer
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptRange, ReceiptStore
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.attribution.records import Epoch, EpochState
from runtime.shared.receipts import SignedReceipt
from runtime.types.primitives import Hash

DRAW_BLOCKS_MAX: Final = 64
"""How long is waited for redemptions: what is not final then comes with the next epoch."""
TRIES_MAX: Final = 3
COUNT_BLOCKS: Final = 16
"""How often the receipts of a model are counted."""
SENDS_MAX: Final = 3

logger = logging.getLogger(__name__)


class SettlementRefusedError(Exception):
    """An epoch cannot be closed now; the message says why and what to do."""


class EpochCloser:
    """Closes the epochs of the models that this node answers for."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        receipts: ReceiptStore,
        blobs: BlobStore,
        redeemer: Redeemer,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._receipts = receipts
        self._blobs = blobs
        self._redeemer = redeemer
        self._models: dict[int, Progress] = {}
        self._noted: dict[int, tuple[int, int]] = {}
        """The latest end of an epoch of each model that was taken note of: epoch and job."""
        self._lost: dict[int, tuple[int, int]] = {}
        """The latest one of each model whose file of receipts cannot be read here."""
        self._left_out: dict[int, int] = {}
        """How many receipts of each model are in no epoch for ever."""
        self._open: dict[int, int] = {}
        """How many are in none yet: as last counted, and those since."""
        self._stepping = trio.Lock()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Close epochs as they become old enough, until cancelled."""
        await self.load()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._step_all()
            while True:
                async with self._chain.events() as events:
                    async for event in events:
                        if isinstance(event, FinalChanged):
                            await self._step_all()

    async def load(self) -> None:
        """Take up the models that this node has receipts of, and those that it should have some of:
        the chain knows what this server has redeemed, whatever has become of its store."""
        stored = await trio.to_thread.run_sync(self._receipts.models)
        on_chain = await trio.to_thread.run_sync(self._models_on_chain)
        for model in (*stored, *on_chain):
            self._add(model)
            await self._count_open(model)
        for model in on_chain:
            if model not in stored:
                view = self._view(model)
                self._stop(model, view.ledger.epoch, no_receipts(view))

    def _models_on_chain(self) -> list[int]:
        with self._reader.at() as state:
            return [
                model
                for (model, server), ledger in state.attribution.ledgers.items()
                if server == self._submitter.account
                and (ledger.redeemed_planck or ledger.settling is not None)
            ]

    def record(self, signed: SignedReceipt) -> None:
        """Count an answer whose receipt is on disk."""
        self._add(signed.model)
        self._open[signed.model] = self.open_receipts(signed.model) + 1

    def open_receipts(self, model: int) -> int:
        """Return how many answers of a model are in no epoch yet."""
        return self._open.get(model, 0)

    async def _count_open(self, model: int) -> int:
        count = await trio.to_thread.run_sync(self._receipts.count_open, model)
        self._open[model] = count - self._left_out.get(model, 0)
        return self._open[model]

    def _add(self, model: int) -> None:
        if model not in self._models:
            self._models[model] = Progress(Stage.WAITING, self._chain.finalized.number)

    # ------------------------------------------------------------------------- for the operator

    async def close_model(self, model: int, accepts_missing: bool = False) -> int:
        """Begin to close the current epoch of a model, or the latest one again if it has failed;
        returns its number. With `accepts_missing` also where that leaves out what is due, which
        costs as much. Raises SettlementRefusedError."""
        progress = self._models.get(model)
        if progress is None:
            raise SettlementRefusedError(f"Model {model} has no receipts that wait for settlement.")
        if progress.stage in (Stage.DRAWING, Stage.CLOSING):
            return progress.epoch
        view = self._view(model)
        if view.ledger.settling is not None:
            raise SettlementRefusedError(
                f"Epoch {view.ledger.settling} of model {model} is being settled."
            )
        if not view.can_close:
            raise SettlementRefusedError(closed_gate(model, view))
        epoch = view.next_epoch
        if view.is_failed:
            await trio.to_thread.run_sync(self._receipts.forget_failures, model, epoch)
        self._begin(model, epoch, view.height, accepts_missing)
        if self._nursery is not None:
            self._nursery.start_soon(self._step_all)
        return epoch

    def settlements(self) -> tuple[Settlement, ...]:
        """Return where the epoch of each model stands."""
        return tuple(
            Settlement(model, progress.epoch, progress.stage, progress.reason)
            for model, progress in sorted(self._models.items())
        )

    # ---------------------------------------------------------------------------------- stages

    async def _step_all(self) -> None:
        async with self._stepping:
            for model in tuple(self._models):
                try:
                    await self.step(model)
                except StatePrunedError as error:
                    # Blocks became final faster than files were read; the next one is looked at.
                    logger.warning("epoch-view-pruned model=%d reason=%r", model, str(error))

    async def step(self, model: int) -> None:
        """Do what a model's epoch needs after the last final block."""
        view = self._view(model)
        ledger, height = view.ledger, view.height
        if view.latest is not None:
            await self._note_latest(model, view.latest, view)
        progress = self._models[model]
        if ledger.settling is not None:
            self._put(model, replace(progress, stage=Stage.SETTLING, epoch=ledger.settling))
            return
        if progress.stage is Stage.SETTLING:
            self._wait(model, ledger.epoch, height)
        elif progress.stage is Stage.STOPPED and height >= progress.since + view.retry_blocks:
            self._wait(model, ledger.epoch, height - EPOCH_BLOCKS, progress.reason)
        elif progress.stage is Stage.WAITING:
            await self._begin_if_due(model, view)
        await self._go_on_closing(model, view)

    async def _begin_if_due(self, model: int, view: EpochView) -> None:
        progress, height = self._models[model], view.height
        gate = "" if view.can_close else closed_gate(model, view)
        reason = gate or (progress.reason if progress.is_due else not_worth_it(view))
        self._put(model, replace(progress, epoch=view.ledger.next_epoch, reason=reason))
        if gate or (progress.is_due and height < progress.since and not view.is_pressing):
            return
        is_grown = view.is_worth_it and height >= progress.since + EPOCH_BLOCKS
        if (
            view.is_failed
            or progress.is_due
            or is_grown
            or view.is_old
            or await self._is_full(model, view)
        ):
            self._begin(model, view.next_epoch, height)

    async def _is_full(self, model: int, view: EpochView) -> bool:
        """Return whether an epoch is half as large as it may be, in fees or in receipts."""
        if 2 * view.ledger.due_planck >= view.bond_planck > 0:
            return True
        if view.height % COUNT_BLOCKS:
            return False
        return 2 * await self._count_open(model) >= view.parameters.receipts_maximum

    async def _go_on_closing(self, model: int, view: EpochView) -> None:
        """Draw what an epoch waits for, then close it, until the chain says that it is closed."""
        progress, height = self._models[model], view.height
        if progress.stage not in (Stage.DRAWING, Stage.CLOSING):
            return
        if progress.epoch != view.next_epoch:
            self._wait(model, view.ledger.epoch, height)
        elif progress.stage is Stage.DRAWING:
            assert progress.targets is not None, "a stage that draws"
            is_late = height >= progress.since + DRAW_BLOCKS_MAX or view.is_pressing
            # Not after the close was decided on: what lands before it is missing in it.
            if is_late or self._redeemer.draw(model, progress.targets, height, view.block):
                self._put(model, replace(progress, stage=Stage.CLOSING, since=height))
                await self._close(model, view)
        elif height >= progress.since + RESEND_BLOCKS:
            sent = progress.transaction
            if sent is not None and self._submitter.rebroadcast(sent):
                self._put(model, replace(progress, since=height))
            else:
                await self._close(model, view)

    def _begin(self, model: int, epoch: int, height: int, accepts_missing: bool = False) -> None:
        targets = self._redeemer.hold(model)
        drawing = Progress(Stage.DRAWING, height, epoch, targets=targets)
        self._put(model, replace(drawing, accepts_missing=accepts_missing))

    def _wait(self, model: int, epoch: int, height: int, reason: str = "") -> None:
        self._put(model, Progress(Stage.WAITING, height, epoch, reason))

    def _stop(self, model: int, epoch: int, reason: str) -> None:
        """Go on by the operator's word, or after a long time: what is never closed is slashed."""
        logger.error("epoch-stopped model=%d epoch=%d reason=%r", model, epoch, reason)
        self._put(model, Progress(Stage.STOPPED, self._chain.finalized.number, epoch, reason))

    def _put(self, model: int, progress: Progress) -> None:
        if progress.stage not in (Stage.DRAWING, Stage.CLOSING):
            self._redeemer.go_on(model)
        self._models[model] = progress

    # --------------------------------------------------------------------------------- closing

    async def _close(self, model: int, view: EpochView) -> None:
        """Name the receipts of an epoch on chain, or say why that cannot be."""
        progress = self._models[model]
        epoch = progress.epoch
        if progress.sends >= SENDS_MAX:
            self._stop(
                model,
                epoch,
                f"Closing epoch {epoch} was sent {SENDS_MAX} times and had no effect. See that "
                "the account can pay the settle job, then close it with openledger_closeEpoch.",
            )
            return
        try:
            if view.is_failed:
                file = await self._file_of_failed(model, view)
            else:
                file = await self._file(model, view)
        except BlobError as error:
            self._stop(model, epoch, str(error))
            return
        if file is None:
            return
        sent = self._send(model, epoch, file, view)
        self._put(
            model,
            replace(progress, since=view.height, sends=progress.sends + 1, transaction=sent),
        )

    async def _file_of_failed(self, model: int, view: EpochView) -> EpochFile | None:
        """Return the file of the latest epoch, which has failed; None where it has to wait or to
        stop. Raises BlobError."""
        former, epoch = view.latest, view.next_epoch
        assert former is not None, "one that has failed is on the chain"
        if former.fees_planck > view.ledger.redeemed_planck:
            self._stop(
                model,
                epoch,
                f"The epoch's fees are {former.fees_planck} planck and only "
                f"{view.ledger.redeemed_planck} wait for settlement: the rest is gone.",
            )
            return None
        if former.fees_planck > view.bond_planck:
            self._stop(model, epoch, low_bond(former.fees_planck, view))
            return None
        if former.fees_planck + view.at_risk_planck > view.bond_planck:
            self._wait_for_bond(model, epoch, view)
            return None
        return await trio.to_thread.run_sync(self._file_again, model, epoch, former)

    async def _file(self, model: int, view: EpochView) -> EpochFile | None:
        """Return the file of the receipts that the current epoch is closed with; None where it has
        to wait or to stop. Raises BlobError."""
        ledger, epoch = view.ledger, view.next_epoch
        # After the block of the view: what was redeemed by then is on disk by now.
        ranges = await trio.to_thread.run_sync(lambda: list(self._receipts.ranges(model)))
        with self._reader.at(view.block) as state:
            channels = channels_of(state, ranges)
        redeemed = ranges_of_epoch(ranges, channels, epoch)
        fees_planck = _fees_of(redeemed)
        free_planck = view.bond_planck - view.at_risk_planck
        if free_planck < min(fees_planck, view.bond_planck) and not view.is_pressing:
            self._wait_for_bond(model, epoch, view)
            return None
        room_planck = min(free_planck, ledger.next_planck)
        kept = largest_that_fit(redeemed, view.parameters.receipts_maximum, room_planck)
        is_early = bool(ledger.early_planck)
        costs_planck = 0 if is_early else max(0, ledger.due_planck - _fees_of(kept))
        is_accepted = self._models[model].accepts_missing or view.is_last_call
        if is_early and not kept and is_accepted:
            logger.error("epoch-given-up model=%d epoch=%d", model, epoch)
            return NO_RECEIPTS
        if (costs_planck and not (is_accepted and kept)) or (is_early and not kept):
            self._stop(model, epoch, what_is_left_out(fees_planck, view))
            return None
        if is_early and fees_planck > view.bond_planck and not is_accepted:
            # It costs this server nothing, and contributors what the bond does not answer for.
            self._stop(model, epoch, low_bond(fees_planck, view))
            return None
        if not kept:
            self._wait(model, epoch, view.height, "Nothing was redeemed since the last epoch.")
            return None
        before = count_left_out(ranges, channels, epoch)
        self._left_out[model] = before + len(redeemed) - len(kept)
        if len(kept) < len(redeemed) or costs_planck:
            logger.error(
                "epoch-cut model=%d epoch=%d receipts=%d left_out=%d costs_planck=%d",
                model,
                epoch,
                len(kept),
                len(redeemed) - len(kept),
                costs_planck,
            )
        return await trio.to_thread.run_sync(write_file, self._receipts, self._blobs, kept)

    def _file_again(self, model: int, epoch: int, former: Epoch) -> EpochFile:
        """Return what an epoch was closed with, which it is closed again with: it is known by now
        which of its receipts are drawn, so the chain takes no others. Raises BlobError."""
        if not self._blobs.has(former.receipts_blob):
            write_file(self._receipts, self._blobs, list(self._receipts.ranges(model, epoch)))
        return EpochFile(
            blob=former.receipts_blob,
            root=former.receipts_root,
            receipts=former.receipts,
            fees_planck=former.fees_planck,
        )

    def _wait_for_bond(self, model: int, epoch: int, view: EpochView) -> None:
        reason = "The bond answers for other epochs that are being settled. Wait, or add to it."
        since = view.height + RETRY_BLOCKS
        self._put(model, Progress(Stage.WAITING, since, epoch, reason, is_due=True))

    def _send(self, model: int, epoch: int, file: EpochFile, view: EpochView) -> Hash | None:
        """Send the call that closes an epoch; returns its transaction, None where the pool takes
        none."""
        is_again = view.is_failed
        own = (
            {"epoch": epoch}
            if is_again
            else {"missing_planck": view.ledger.next_planck - file.fees_planck}
        )
        try:
            sent = self._submitter.submit(
                "Attribution",
                "close_again" if is_again else "close_epoch",
                model=model,
                receipts_root=file.root,
                receipts=file.receipts,
                fees_planck=file.fees_planck,
                receipts_blob=file.blob,
                **own,
            )
        except PoolError as error:
            logger.warning("close-refused model=%d epoch=%d reason=%r", model, epoch, str(error))
            return None
        logger.info(
            "epoch-closed model=%d epoch=%d receipts=%d again=%s",
            model,
            epoch,
            file.receipts,
            is_again,
        )
        return sent

    # -------------------------------------------------------------------------------- outcomes

    async def _note_latest(self, model: int, record: Epoch, view: EpochView) -> None:
        """Take note, once, of what has become of the latest closed epoch."""
        epoch = view.ledger.epoch - 1
        end = epoch, record.job
        if self._noted.get(model) == end:
            return
        await self._note_receipts(model, epoch, record)
        if record.state is EpochState.Failed:
            self._noted[model] = end
            tries = await trio.to_thread.run_sync(
                self._receipts.fail_epoch, model, epoch, record.job
            )
            why = why_failed(view.job)
            logger.warning(
                "epoch-failed model=%d epoch=%d try=%d reason=%r", model, epoch, tries, why
            )
            if tries >= TRIES_MAX:
                self._stop(
                    model,
                    epoch,
                    f"Epoch {epoch} could not be settled {tries} times, the last time because "
                    f"{why}. Close it again with openledger_closeEpoch when that has changed.",
                )
            else:
                self._wait(model, epoch, view.height, f"Epoch {epoch} is closed again: {why}.")
            return
        if record.state is EpochState.Settling:
            return
        self._noted[model] = end
        if record.state is not EpochState.Settled:
            what = record.state.name.lower()
            logger.error("epoch-%s model=%d epoch=%d job=%d", what, model, epoch, record.job)
        else:
            logger.info(
                "epoch-settled model=%d epoch=%d shares_planck=%d",
                model,
                epoch,
                record.shares_planck,
            )

    async def _note_receipts(self, model: int, epoch: int, record: Epoch) -> None:
        """Note of which epoch the receipts are that it was closed with."""

        def note() -> None:
            if not self._receipts.has_epoch(model, epoch):
                receipts = receipts_in(self._blobs, record.receipts_blob, record.receipts)
                self._receipts.put_epoch(epoch, [identity for identity, _ in receipts])

        try:
            await trio.to_thread.run_sync(note)
            await self._count_open(model)
        except BlobError as error:
            if self._lost.get(model) != (epoch, record.job):
                self._lost[model] = epoch, record.job
                logger.error(
                    "epoch-file-lost model=%d epoch=%d reason=%r", model, epoch, str(error)
                )

    def _view(self, model: int) -> EpochView:
        """Return what the chain says of a model after the last final block."""
        block = self._chain.finalized
        with self._reader.at(block.hash) as state:
            return EpochView.read(state, block.hash, block.number, model, self._submitter.account)


def _fees_of(ranges: list[ReceiptRange]) -> int:
    return sum(each.fee_planck for each in ranges)
