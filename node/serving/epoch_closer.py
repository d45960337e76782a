"""The epoch closer: closes this server's epochs, so that contributors are paid.

    waiting -> due by age or by the operator's word
    drawing -> what the model's channels owe is redeemed and final
    closing -> the file of exactly the receipts redeemed in this epoch is named on chain
    settling -> settled | convicted: never again
                        | failed: closed again with the same receipts, TRIES_MAX times in a row

Where a model stands is read from chain and receipt store with each final block, so a restart loses
nothing but a wait. Its channels are redeemed in their time whether its epochs can be closed or not:
between drawing and closing alone nothing more is drawn, but from channels that close.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import trio

from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import PalletViews, StateReader
from node.serving.epoch_files import (
    EpochFile,
    channels_of,
    ranges_of_epoch,
    receipts_in,
    write_file,
)
from node.serving.epoch_progress import Progress, Settlement, Stage
from node.serving.redeemer import Redeemer
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.attribution.records import Epoch, EpochState, Ledger
from pallets.jobs.job import Job
from runtime.shared.receipts import SignedReceipt

EPOCH_BLOCKS: Final = 600
DRAW_BLOCKS_MAX: Final = 64
"""How long is waited for redemptions: what is not final then comes with the next epoch."""
TRIES_MAX: Final = 3
STOPPED_BLOCKS: Final = 3_600
"""After so many blocks an epoch that has stopped is tried again."""
COUNT_BLOCKS: Final = 16
"""How often the receipts of a model are counted."""
SENDS_MAX: Final = 3
RETRY_BLOCKS: Final = 16

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
        self._seen: set[tuple[int, int, int]] = set()
        """Ends of epochs that were taken note of: model, epoch, job."""
        self._lost: set[tuple[int, int, int]] = set()
        """Those whose file of receipts cannot be read here."""
        self._stepping = trio.Lock()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Close epochs as they become old enough, until cancelled."""
        for model in await trio.to_thread.run_sync(self._receipts.models):
            self._add(model)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._step_all(self._chain.finalized.number)
            while True:
                async with self._chain.events() as events:
                    async for event in events:
                        if isinstance(event, FinalChanged):
                            await self._step_all(event.header.number)

    def record(self, signed: SignedReceipt) -> None:
        """Count an answer whose receipt is on disk."""
        self._add(signed.model)

    def _add(self, model: int) -> None:
        if model not in self._models:
            self._models[model] = Progress(Stage.WAITING, self._chain.finalized.number)

    # ------------------------------------------------------------------------- for the operator

    def close_model(self, model: int, accepts_missing: bool = False) -> int:
        """Begin to close the current epoch of a model, or the latest one again if it has failed;
        returns its number. With `accepts_missing` also where receipts are lost, which costs as much
        as they brought. Raises SettlementRefusedError."""
        progress = self._models.get(model)
        if progress is None:
            raise SettlementRefusedError(f"Model {model} has no receipts that wait for settlement.")
        if progress.stage in (Stage.DRAWING, Stage.CLOSING):
            return progress.epoch
        with self._reader.at() as state:
            ledger = self._ledger(state, model)
            if ledger.settling is not None:
                raise SettlementRefusedError(
                    f"Epoch {ledger.settling} of model {model} is being settled."
                )
            reason = _closed_gate(state, model)
            if reason:
                raise SettlementRefusedError(reason)
            latest = self._latest(state, model, ledger)
        epoch = ledger.epoch
        if latest is not None and latest.state is EpochState.Failed:
            epoch -= 1
            self._receipts.forget_failures(model, epoch)
        self._begin(model, epoch, self._chain.finalized.number, accepts_missing)
        if self._nursery is not None:
            self._nursery.start_soon(self._step_all, self._chain.finalized.number)
        return epoch

    def settlements(self) -> tuple[Settlement, ...]:
        """Return where the epoch of each model stands."""
        return tuple(
            Settlement(model, progress.epoch, progress.stage, progress.reason)
            for model, progress in sorted(self._models.items())
        )

    # ---------------------------------------------------------------------------------- stages

    async def _step_all(self, height: int) -> None:
        async with self._stepping:
            for model in tuple(self._models):
                await self.step(model, height)

    async def step(self, model: int, height: int) -> None:
        """Do what a model's epoch needs at a final height."""
        with self._reader.at() as state:
            ledger = self._ledger(state, model)
            latest = self._latest(state, model, ledger)
            job = None if latest is None else state.jobs.jobs.get(latest.job)
            gate = _closed_gate(state, model)
        if latest is not None:
            await self._note_latest(model, ledger.epoch - 1, latest, job, height)
        progress = self._models[model]
        if ledger.settling is not None:
            self._put(model, replace(progress, stage=Stage.SETTLING, epoch=ledger.settling))
            return
        if progress.stage is Stage.SETTLING:
            self._wait(model, ledger.epoch, height)
        elif progress.stage is Stage.STOPPED and height >= progress.since + STOPPED_BLOCKS:
            self._wait(model, ledger.epoch, height - EPOCH_BLOCKS, progress.reason)
        elif progress.stage is Stage.WAITING:
            self._begin_if_due(model, ledger, latest, gate, height)
            progress = self._models[model]
        if progress.stage is Stage.DRAWING:
            assert progress.targets is not None, "a stage that draws"
            is_late = height >= progress.since + DRAW_BLOCKS_MAX
            if self._redeemer.draw(model, progress.targets, height) or is_late:
                self._put(model, replace(progress, stage=Stage.CLOSING, since=height))
                await self._close(model, height)
        elif progress.stage is Stage.CLOSING:
            is_failed = latest is not None and latest.state is EpochState.Failed
            if progress.epoch < ledger.epoch and not is_failed:
                self._wait(model, ledger.epoch, height)
            elif height >= progress.since + RESEND_BLOCKS:
                await self._close(model, height)

    def _begin_if_due(
        self, model: int, ledger: Ledger, latest: Epoch | None, gate: str, height: int
    ) -> None:
        progress = self._models[model]
        reason = gate or (progress.reason if progress.is_due else "")
        self._put(model, replace(progress, epoch=ledger.epoch, reason=reason))
        if (gate and ledger.due_from is None) or (progress.is_due and height < progress.since):
            return
        if latest is not None and latest.state is EpochState.Failed:
            self._begin(model, ledger.epoch - 1, height)
        elif (
            progress.is_due
            or height >= progress.since + EPOCH_BLOCKS
            or self._is_full(model, ledger, height)
        ):
            self._begin(model, ledger.epoch, height)

    def _is_full(self, model: int, ledger: Ledger, height: int) -> bool:
        """Return whether an epoch is half as large as it may be, in fees or in receipts."""
        with self._reader.at() as state:
            bond = state.inference.bond_of(self._submitter.account)
            receipts_max = state.attribution.parameters().receipts_maximum
        if 2 * ledger.redeemed_planck >= bond > 0:
            return True
        is_time = height % COUNT_BLOCKS == 0
        return is_time and 2 * self._receipts.count_open(model) >= receipts_max

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

    async def _close(self, model: int, height: int) -> None:
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
            file = await self._file(model, epoch)
        except BlobError as error:
            self._stop(model, epoch, str(error))
            return
        if file is None or not file.fees_planck:
            self._wait(model, epoch, height, "Nothing was redeemed since the last epoch.")
            return
        with self._reader.at() as state:
            reason = self._refusal(state, model, epoch, file)
            bond = state.inference.bond_of(self._submitter.account)
            at_risk = state.attribution.at_risk.get(self._submitter.account)
            ledger = self._ledger(state, model)
        if reason:
            self._stop(model, epoch, reason)
            return
        if file.fees_planck + at_risk > bond:
            reason = "The bond answers for other epochs that are being settled. Wait, or add to it."
            self._put(
                model, Progress(Stage.WAITING, height + RETRY_BLOCKS, epoch, reason, is_due=True)
            )
            return
        missing = ledger.redeemed_planck - file.fees_planck if epoch == ledger.epoch else 0
        self._send(model, epoch, file, missing)
        self._put(model, replace(progress, since=height, sends=progress.sends + 1))

    async def _file(self, model: int, epoch: int) -> EpochFile | None:
        """Return the file of an epoch's receipts; None where it has none. Raises BlobError."""
        with self._reader.at() as state:
            former = state.attribution.epoch(model, self._submitter.account, epoch)
        if former is not None:
            return await trio.to_thread.run_sync(self._file_again, model, epoch, former)
        ranges = await trio.to_thread.run_sync(lambda: list(self._receipts.ranges(model)))
        with self._reader.at() as state:
            channels = channels_of(state, ranges)
            receipts_max = state.attribution.parameters().receipts_maximum
        redeemed = ranges_of_epoch(ranges, channels, epoch)
        if len(redeemed) > receipts_max:
            # Half as many close an epoch: this takes that many answers between two looks at it.
            logger.error("epoch-cut model=%d epoch=%d receipts=%d", model, epoch, len(redeemed))
            redeemed = redeemed[:receipts_max]
        if not redeemed:
            return None
        return await trio.to_thread.run_sync(write_file, self._receipts, self._blobs, redeemed)

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

    def _refusal(self, state: PalletViews, model: int, epoch: int, file: EpochFile) -> str:
        """Return why the chain would not close an epoch with this file; empty where it would."""
        bond = state.inference.bond_of(self._submitter.account)
        ledger = self._ledger(state, model)
        redeemed = ledger.redeemed_planck
        missing = redeemed - file.fees_planck
        if epoch == ledger.epoch and missing > 0 and not self._models[model].accepts_missing:
            return (
                f"{redeemed} planck were redeemed in the epoch, and receipts of {missing} of them "
                "are not here. What is missing is slashed: bring the receipt store back, or close "
                "the epoch without them by openledger_closeEpoch(model, true)."
            )
        if file.fees_planck > bond:
            return (
                f"The epoch's fees are {file.fees_planck} planck and the server's bond, which "
                f"answers for them, is {bond}. Add to the bond with `openledger server add-bond`, "
                "then close the epoch with openledger_closeEpoch."
            )
        if file.fees_planck > redeemed:
            return (
                f"The epoch's fees are {file.fees_planck} planck and only {redeemed} wait for "
                "settlement: a part was given back to askers."
            )
        return ""

    def _send(self, model: int, epoch: int, file: EpochFile, missing: int) -> None:
        arguments = {
            "model": model,
            "receipts_root": file.root,
            "receipts": file.receipts,
            "fees_planck": file.fees_planck,
            "receipts_blob": file.blob,
        }
        with self._reader.at() as state:
            is_again = epoch < self._ledger(state, model).epoch
        try:
            if is_again:
                self._submitter.submit("Attribution", "close_again", epoch=epoch, **arguments)
            else:
                self._submitter.submit(
                    "Attribution", "close_epoch", missing_planck=missing, **arguments
                )
        except PoolError as error:
            logger.warning("close-refused model=%d epoch=%d reason=%r", model, epoch, str(error))
            return
        logger.info(
            "epoch-closed model=%d epoch=%d receipts=%d again=%s",
            model,
            epoch,
            file.receipts,
            is_again,
        )

    # -------------------------------------------------------------------------------- outcomes

    async def _note_latest(
        self, model: int, epoch: int, record: Epoch, job: Job | None, height: int
    ) -> None:
        """Take note, once, of what has become of the latest closed epoch."""
        if (model, epoch, record.job) in self._seen:
            return
        await self._note_receipts(model, epoch, record)
        if record.state is EpochState.Failed:
            self._seen.add((model, epoch, record.job))
            tries = await trio.to_thread.run_sync(
                self._receipts.fail_epoch, model, epoch, record.job
            )
            why = _why_failed(job)
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
                self._wait(model, epoch, height, f"Epoch {epoch} is closed again: {why}.")
            return
        if record.state is EpochState.Settling:
            return
        self._seen.add((model, epoch, record.job))
        if record.state is EpochState.Convicted:
            logger.error("epoch-convicted model=%d epoch=%d job=%d", model, epoch, record.job)
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
        except BlobError as error:
            if (model, epoch, record.job) not in self._lost:
                self._lost.add((model, epoch, record.job))
                logger.error(
                    "epoch-file-lost model=%d epoch=%d reason=%r", model, epoch, str(error)
                )

    def _ledger(self, state: PalletViews, model: int) -> Ledger:
        return state.attribution.pool(model, self._submitter.account)

    def _latest(self, state: PalletViews, model: int, ledger: Ledger) -> Epoch | None:
        """Return the epoch that was closed last."""
        if not ledger.epoch:
            return None
        return state.attribution.epoch(model, self._submitter.account, ledger.epoch - 1)


def _closed_gate(state: PalletViews, model: int) -> str:
    """Return why no epoch of a model can be closed now; empty where one can."""
    if state.attribution.is_open(model):
        return ""
    minimum = state.attribution.parameters().rows_minimum
    return (
        f"Model {model} has no index of {minimum} rows, which attribution needs; what it earns for "
        "contributors waits in the pool."
    )


def _why_failed(job: Job | None) -> str:
    """Return why a settle job has failed, in a clause."""
    if job is None or job.failure is None:
        return "its job is not on the chain any more"
    reasons = sorted({slot.reason.name for slot in job.slots if slot.reason is not None})
    said = f" ({', '.join(reasons)})" if reasons else ""
    return f"its job ended with {job.failure.name}{said}"
