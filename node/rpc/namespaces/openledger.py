"""openledger_*: what only this chain has: jobs in progress, receipts, epochs."""

from __future__ import annotations

from typing import Final

import trio

from node.authoring.author import Author
from node.jobs.executor import Executor
from node.operations.health import Health
from node.rpc.errors import InvalidParamsError
from node.rpc.methods import method
from node.rpc.parameters import Json
from node.serving.epoch_closer import EpochCloser, SettlementRefusedError
from node.storage.receipt_store import PAGE_MAX, ReceiptStore
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import codec
from runtime.crypto import ss58
from runtime.shared.receipts import SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId

PROGRESS_MAX: Final = 4_096
_signed = codec(SignedReceipt)


class OpenLedger:
    """The node's own namespace."""

    def __init__(
        self,
        account: AccountId,
        author: Author,
        executor: Executor,
        epoch_closer: EpochCloser,
        receipts: ReceiptStore,
        health: Health,
    ) -> None:
        self._account = account
        self._author = author
        self._executor = executor
        self._epoch_closer = epoch_closer
        self._receipts = receipts
        self._health = health

    @method("openledger_status")
    def status(self) -> Json:
        """Return whose node this is, whether it makes blocks, and what its executor is doing."""
        process = self._executor.process.status
        return {
            "account": ss58.encode(self._account),
            "author": {"halted": self._author.halt_reason or None},
            "executor": {
                "pid": process.pid,
                "runningJob": process.running_job,
                "restarts": process.restarts,
                "profile": process.profile,
            },
        }

    @method("openledger_health")
    def health(self) -> Json:
        """Return whether the node is ready to serve, and each problem that keeps it from it."""
        problems = self._health.problems()
        return {
            "isReady": not problems,
            "problems": [
                {"kind": problem.kind.value, "sentence": problem.sentence} for problem in problems
            ],
        }

    @method("openledger_jobProgress")
    def job_progress(self, job: int, after: int = 0) -> Json:
        """Return the reports of a job that runs here, from the report number `after` on."""
        records = self._executor.progress(job)[max(after, 0) :]
        return [
            {
                "step": record.step,
                "steps": record.steps,
                "lossMicronats": record.loss_micronats,
                "heldOutMicronats": record.held_out_micronats,
            }
            for record in records[:PROGRESS_MAX]
        ]

    @method("openledger_closeEpoch", local=True)
    async def close_epoch(self, model: int, accepts_missing: bool = False) -> Json:
        """Begin to redeem what a model's channels owe and to close its current epoch, or its latest
        one again where that has failed; returns the epoch's number. Where that leaves out what is
        due it is closed only if this is accepted: what is left out is slashed."""
        try:
            return await self._epoch_closer.close_model(model, accepts_missing)
        except SettlementRefusedError as error:
            raise InvalidParamsError(str(error)) from error

    @method("openledger_settlements")
    def settlements(self) -> Json:
        """Return where the current epoch of each model stands that this node answers for, and why
        it waits or has stopped."""
        return [
            {
                "model": settlement.model,
                "epoch": settlement.epoch,
                "state": str(settlement.stage),
                "reason": settlement.reason or None,
            }
            for settlement in self._epoch_closer.settlements()
        ]

    @method("openledger_receipts")
    async def receipts(
        self,
        model: int,
        server: AccountId | None = None,
        epoch: int | None = None,
        start: int = 0,
        count: int = PAGE_MAX,
    ) -> Json:
        """Return a page of the receipts of a server's epoch, this node's own server by default, as
        SCALE SignedReceipt with their hashes, by channel and sequence, and the askers' verdicts.

        Without an epoch: this server's receipts that are in none yet. A page has at most 256.
        """
        size = min(count, PAGE_MAX)
        return await trio.to_thread.run_sync(self._listed, model, server, epoch, start, size)

    def _listed(
        self, model: int, server: AccountId | None, epoch: int | None, start: int, count: int
    ) -> Json:
        listed: list[Json] = []
        for signed in self._page(model, server, epoch, start, count):
            identity = receipt_hash(signed.receipt)
            is_negative = self._receipts.verdict(identity)
            listed.append(
                {
                    "hash": to_hex(identity),
                    "signedReceipt": to_hex(_signed.encode(signed)),
                    "feedback": None if is_negative is None else "bad" if is_negative else "good",
                }
            )
        return listed

    def _page(
        self, model: int, server: AccountId | None, epoch: int | None, start: int, count: int
    ) -> tuple[SignedReceipt, ...]:
        if server in (None, self._account):
            return self._receipts.epoch_receipts(model, epoch, start, count)
        assert server is not None, "checked"
        if epoch is None:
            return ()
        return self._receipts.learned_receipts(model, server, epoch, start, count)
