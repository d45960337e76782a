"""A serving node with its store, redeemer and epoch closer, on a chain that is made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import trio

from ml.attribution.epoch_files import ReceiptPages
from node.serving.epoch_closer import EpochCloser
from node.serving.epoch_progress import Stage
from node.serving.redeemer import Redeemer, RedeemSettings
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore
from pallets.attribution.records import EpochState
from runtime.codec.scale import codec
from runtime.shared.receipts import EpochReceipts, SignedReceipt
from runtime.types.primitives import Hash
from tests.node.support.paid_answers import CHANNEL, MODEL, FakeNode, open_channel, stored

FEE = 15


class Server:
    """A node with its store, redeemer and closer, and final blocks made by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = FakeNode()
        self.node.channels[CHANNEL] = open_channel()
        self.store = ReceiptStore(folder / "receipts.sqlite3")
        self.blobs = BlobStore(folder / "blobs")
        self.answers: dict[int, int] = {}
        self.start()

    def start(self) -> None:
        """Start the services, as after a restart."""
        whole = cast(Any, self.node)
        self.redeemer = Redeemer(whole, whole, whole, self.store, RedeemSettings(10**9, 4_000))
        self.closer = EpochCloser(whole, whole, whole, self.store, self.blobs, self.redeemer)
        trio.run(self.redeemer.load)
        trio.run(self.closer.load)

    def close(self) -> None:
        self.store.close()

    def answer(self, channel: int = CHANNEL, count: int = 1) -> None:
        for _ in range(count):
            given = self.answers.get(channel, 0)
            made = stored(given + 1, channel, before=given * FEE)
            self.store.record(made)
            self.redeemer.record(made.signed)
            self.closer.record(made.signed)
            self.answers[channel] = given + 1

    def block(self, lands: bool = True, count: int = 1) -> None:
        """Make final blocks: what was sent lands, then both services hear of it."""
        for _ in range(count):
            if lands:
                self.node.land()
            self.node.height += 1
            self.redeemer.redeem_due(self.node.height)
            trio.run(self.closer._step_all)

    def close_epoch(self, model: int, accepts_missing: bool = False) -> int:
        """Close an epoch by the operator's word."""
        return trio.run(self.closer.close_model, model, accepts_missing)

    def draw_all(self) -> None:
        """Redeem all that channels owe."""
        block = self.node.finalized
        self.redeemer.draw(MODEL, self.redeemer.hold(MODEL), block.number, block.hash)

    @property
    def stage(self) -> Stage:
        return self.closer.settlements()[0].stage

    @property
    def reason(self) -> str:
        return self.closer.settlements()[0].reason

    def settle(self, state: EpochState = EpochState.Settled) -> None:
        """Let the epoch that is being settled end, and tell the closer."""
        self.node.end_epoch(state)
        self.block()


def closing(server: Server) -> dict[str, Any]:
    """Close the current epoch and return what it is closed with."""
    server.close_epoch(MODEL)
    for _ in range(4):
        server.block(lands=not server.node.calls("close_epoch"))
        if server.node.calls("close_epoch"):
            break
    (call,) = server.node.calls("close_epoch")
    return call


def signed_in(server: Server, blob: Hash) -> list[SignedReceipt]:
    pages = codec(ReceiptPages).decode(server.blobs.get(blob)).pages
    read = codec(EpochReceipts).decode
    return [signed for page in pages for signed in read(server.blobs.get(page)).receipts]


def receipts_in(server: Server, call: dict[str, Any]) -> list[tuple[int, int]]:
    signed = signed_in(server, call["receipts_blob"])
    return [(each.channel, each.sequence) for each in signed]
