"""The epoch closer: closes epochs, so that contributors are paid.

Closing an epoch seals it here first (later answers belong to the next one), then redeems what every
channel of the model owes (node/serving/redeemer.py), then names the receipts' root on chain. All of
it can be repeated: what is already redeemed or closed is left alone.
"""

from __future__ import annotations

import logging
from typing import Final

from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import PalletViews, StateReader
from node.serving.redeemer import Redeemer
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.attribution.records import EpochState
from runtime.codec.scale import codec
from runtime.shared.receipts import EpochReceipts, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import Hash

EPOCH_BLOCKS: Final = 600

logger = logging.getLogger(__name__)
_served = codec(EpochReceipts)


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
        self._tried_at: dict[tuple[int, int], int] = {}
        self._checked_at = 0

    async def run(self) -> None:
        """Close epochs as they become old enough, until cancelled."""
        self._checked_at = self._chain.finalized.number
        while True:
            async with self._chain.events() as events:
                async for event in events:
                    if isinstance(event, FinalChanged) and self._is_due(event.header.number):
                        self._close_all(event.header.number)

    def _is_due(self, number: int) -> bool:
        retries = any(number >= at + RESEND_BLOCKS for at in self._tried_at.values())
        return retries or number >= self._checked_at + EPOCH_BLOCKS

    def _close_all(self, number: int) -> None:
        self._checked_at = number
        self._tried_at.clear()
        for model, epoch in self._receipts.served():
            try:
                self.close(model, epoch)
            except (SettlementRefusedError, PoolError) as error:
                logger.debug("epoch-kept model=%d epoch=%d reason=%r", model, epoch, str(error))
            else:
                self._tried_at[model, epoch] = number

    def close_model(self, model: int) -> int:
        """Close the oldest epoch of a model that has receipts and is not settled; its number.

        Raises SettlementRefusedError, PoolError.
        """
        for served, epoch in self._receipts.served():
            if served == model and not self._is_closed(model, epoch):
                self.close(model, epoch)
                return epoch
        raise SettlementRefusedError(f"Model {model} has no receipts that wait for settlement.")

    def _is_closed(self, model: int, epoch: int) -> bool:
        with self._reader.at() as state:
            record = state.attribution.epochs.get((model, epoch))
        return record is not None and record.state is not EpochState.Failed

    def close(self, model: int, epoch: int) -> None:
        """Close one epoch on chain. Raises SettlementRefusedError, PoolError."""
        with self._reader.at() as state:
            closed = self._check(state, model, epoch)
        self._receipts.seal(model, epoch)
        self._redeemer.redeem_model(model)
        served = self._receipts.epoch(model, epoch)
        root, fees = sum_root(
            (receipt_hash(signed.receipt), signed.receipt.contributor_fee_planck)
            for signed in served.receipts
        )
        arguments = {
            "model": model,
            "receipts_root": Hash(root),
            "receipts": len(served.receipts),
            "fees_planck": fees,
            "receipts_blob": self._put(served),
        }
        if closed:
            self._submitter.submit("Attribution", "close_again", epoch=epoch, **arguments)
        else:
            self._submitter.submit("Attribution", "close_epoch", **arguments)
        logger.info(
            "epoch-closed model=%d epoch=%d receipts=%d", model, epoch, len(served.receipts)
        )

    def _put(self, served: EpochReceipts) -> Hash:
        """Store the receipts of an epoch as a blob. Raises SettlementRefusedError."""
        try:
            return self._blobs.put(_served.encode(served))
        except BlobError as error:
            raise SettlementRefusedError(str(error)) from error

    def _check(self, state: PalletViews, model: int, epoch: int) -> bool:
        """Return whether the epoch was closed before and failed. Raises SettlementRefusedError."""
        record = state.attribution.epochs.get((model, epoch))
        if record is not None and record.state is not EpochState.Failed:
            raise SettlementRefusedError(f"Epoch {epoch} of model {model} is closed already.")
        ledger = state.attribution.pool(model)
        if ledger.settling is not None:
            raise SettlementRefusedError(
                f"Epoch {ledger.settling} of model {model} is being settled."
            )
        if record is None and ledger.epoch != epoch:
            raise SettlementRefusedError(f"The chain is at epoch {ledger.epoch} of model {model}.")
        rows, minimum = state.models.rows_of(model), state.attribution.parameters().rows_minimum
        if rows < minimum:
            raise SettlementRefusedError(
                f"{rows} of {minimum} rows needed for attribution; the fees wait in the pool."
            )
        return record is not None
