"""The paid answer service: from a question and a voucher to text and a signed receipt.

    question -> model -> voucher checked -> question tokenized, price reserved -> tokens
             -> attribution -> receipt signed and stored with what it cost -> the asker's last event

Rules that hold here: nothing is loaded, tokenized or computed for a question without a voucher that
pays for it, and what takes long is done off the event loop; nothing is drawn for an answer whose
receipt is not on disk; what was sent is owed, so an answer that breaks off, whoever ends it, leaves
a receipt for the text until there; one receipt at a time is numbered and stored, so sequences have
no gap.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Literal

import trio

from ml.api.responses import attribution_document
from ml.api.service import (
    AnswerEvent,
    AnswerRequest,
    Begun,
    ContextExceededError,
    Delta,
    Finished,
    Json,
    ModelCard,
    ModelUnknownError,
    ServiceBusyError,
)
from ml.engine.interface import (
    EngineClosedError,
    FinishReason,
    GenerationRequest,
    QueueFullError,
    RequestInvalidError,
)
from ml.engine.transcript import Transcript
from node.chain.chain import Chain
from node.chain.state_reader import StateReader
from node.serving.served_models import Evidence, ServedModel, ServedModels
from node.serving.vouchers import Payment, VoucherBook
from node.storage.errors import DiskLowError
from node.storage.receipt_store import EpochSealedError, ReceiptStore, StoredReceipt
from node.transactions.submitter import Submitter
from runtime.codec.hexadecimal import from_hex
from runtime.crypto import ss58
from runtime.crypto.hashing import blake2b_256
from runtime.shared.receipts import Receipt, SignedReceipt, receipt_hash
from runtime.shared.shares import PERMILLE
from runtime.types.primitives import Hash

RECEIPT_VERSION: Final = 1
MODELS_LISTED_MAX: Final = 256

logger = logging.getLogger(__name__)


class PaidAnswerService:
    """An AnswerService over the chain's models."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        receipts: ReceiptStore,
        models: ServedModels,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._receipts = receipts
        self._served = models
        self._vouchers = VoucherBook(chain.genesis_hash, submitter.account, receipts)
        self._recording = trio.Lock()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Hold the engine's tasks until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await trio.sleep_forever()

    # ------------------------------------------------------------------------------- models

    async def models(self) -> Sequence[ModelCard]:
        """Return the published models."""
        with self._reader.at() as state:
            infos = state.models.models(0, MODELS_LISTED_MAX)
        return [
            ModelCard(info.model.name, 0, ss58.encode(info.model.owner))
            for info in infos
            if info.model.deployed is not None and not info.model.is_retired
        ]

    def _number_of(self, name: str) -> int:
        with self._reader.at() as state:
            info = state.models.model_named(name)
            if info is None and name.isdecimal() and len(name) <= 10:
                info = state.models.model(int(name) & 0xFFFFFFFF)
        if info is None or info.model.is_retired:
            raise ModelUnknownError(f"The model '{name[:64]}' does not exist.")
        return info.id

    # ------------------------------------------------------------------------------ answers

    async def stream_answer(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent, None]:
        """Answer one question. Raises AnswerRefusedError before the first event."""
        if self._nursery is None:
            raise ServiceBusyError("This node does not serve answers now.")
        try:
            await trio.to_thread.run_sync(self._receipts.check_room)
        except DiskLowError as error:
            # The error names a folder, which is nobody's business but the operator's.
            raise ServiceBusyError("This node's disk has no room for receipts now.") from error
        model = self._number_of(request.model)
        self._check_voucher(request, model)
        engine = await self._served.start(self._nursery)
        served = await self._served.get(model)
        question = _question(request)
        _check_length(question, served, engine.capabilities.context_tokens)
        transcript = await trio.to_thread.run_sync(
            Transcript, served.tokenizer, question, request.stop
        )
        payment = self._charge(request, model, len(transcript.prompt_tokens))
        identity = f"att-{secrets.token_hex(16)}"
        generation = GenerationRequest(
            request_id=identity,
            prompt_tokens=transcript.prompt_tokens,
            max_tokens=request.max_tokens,
            adapter=served.adapter_id,
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed if request.seed is not None else secrets.randbits(32),
            stop_tokens=transcript.stop_tokens,
        )
        is_recorded = False
        try:
            async with aclosing(engine.generate(generation)) as events:
                # The first token makes the engine judge the request: a refusal before Begun is
                # still an HTTP status.
                event = await anext(events, None)
                yield Begun(identity)
                while event is not None:
                    text = transcript.add(event)
                    if text:
                        yield Delta(text)
                    if transcript.is_stopped:
                        break
                    event = await anext(events, None)
            tail = transcript.finish()
            if tail:
                yield Delta(tail)
            finished = await self._finish(identity, served, transcript, payment)
            is_recorded = True
            yield finished
        except RequestInvalidError as error:
            raise ContextExceededError(str(error)) from error
        except (QueueFullError, EngineClosedError) as error:
            raise ServiceBusyError(str(error)) from error
        finally:
            if not is_recorded and transcript.cut():
                await self._record_broken_off(identity, served, transcript, payment)
            self._vouchers.release(payment)

    async def _record_broken_off(
        self, identity: str, served: ServedModel, transcript: Transcript, payment: Payment
    ) -> None:
        """Leave a receipt for what was sent; what ended the answer does not end this."""
        with trio.CancelScope(shield=True):
            try:
                await self._finish(identity, served, transcript, payment)
            except Exception:
                logger.exception("answer-unpaid id=%s", identity)

    def _check_voucher(self, request: AnswerRequest, model: int) -> None:
        """Check that a voucher pays for the answer at least, before anything costs time."""
        with self._reader.at() as state:
            self._vouchers.check(request.voucher, model, 0, request.max_tokens, state.inference)

    def _charge(self, request: AnswerRequest, model: int, tokens_in: int) -> Payment:
        with self._reader.at() as state:
            return self._vouchers.reserve(
                request.voucher, model, tokens_in, request.max_tokens, state.inference
            )

    async def _finish(
        self, identity: str, served: ServedModel, transcript: Transcript, payment: Payment
    ) -> Finished:
        question, answer = transcript.question, transcript.text
        evidence = await trio.to_thread.run_sync(served.evidence, question, answer)
        async with self._recording:
            try:
                stored = await self._record(identity, served, transcript, payment, evidence)
            except EpochSealedError:  # it closed in between, and cannot twice in a row
                stored = await self._record(identity, served, transcript, payment, evidence)
        receipt = stored.signed.receipt
        logger.info(
            "answer-served model=%d sequence=%d tokens_out=%d fee_planck=%d",
            receipt.model,
            receipt.sequence,
            receipt.tokens_out,
            receipt.fee_planck,
        )
        reason: Literal["stop", "length"] = (
            "stop" if transcript.reason is FinishReason.STOP else "length"
        )
        attribution = self._attribution(identity, stored.signed, served)
        return Finished(reason, receipt.tokens_in, receipt.tokens_out, attribution)

    async def _record(
        self,
        identity: str,
        served: ServedModel,
        transcript: Transcript,
        payment: Payment,
        evidence: Evidence,
    ) -> StoredReceipt:
        """Sign a receipt and keep it with what it cost. Raises EpochSealedError."""
        receipt, redeemed = self._receipt(served, transcript, payment, evidence)
        signature = self._submitter.sign(receipt_hash(receipt))
        signed = SignedReceipt(receipt, signature)
        stored = StoredReceipt(signed, identity, transcript.question, transcript.text)
        spent = self._vouchers.add_fee(payment, receipt.fee_planck, redeemed)
        await trio.to_thread.run_sync(self._receipts.record, stored, spent)
        return stored

    def _receipt(
        self,
        served: ServedModel,
        transcript: Transcript,
        payment: Payment,
        evidence: Evidence,
    ) -> tuple[Receipt, int]:
        release = served.release
        tokens_in, tokens_out = len(transcript.prompt_tokens), len(transcript.answer_tokens)
        fee = payment.rates.fee(tokens_in, tokens_out)
        assert fee <= payment.reserved_planck, "an answer has no more tokens than were reserved"
        with self._reader.at() as state:
            permille = state.inference.current_parameters().contributors_permille
            epoch = state.attribution.pool(release.model).epoch
            channel = state.inference.channels.get(payment.channel)
        receipt = Receipt(
            version=RECEIPT_VERSION,
            genesis=self._chain.genesis_hash,
            model=release.model,
            train_job=release.train_job,
            index_job=release.index_job,
            adapter=release.adapter,
            epoch=max(epoch, self._receipts.open_epoch(release.model)),
            sequence=self._receipts.next_sequence(release.model),
            server=self._submitter.account,
            asker=payment.asker,
            channel=payment.channel,
            question=Hash(blake2b_256(transcript.question.encode())),
            answer=Hash(blake2b_256(transcript.text.encode())),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            fee_planck=fee,
            contributor_fee_planck=fee * permille // PERMILLE,
            phi=evidence.phi,
            top=evidence.top,
            spans=evidence.spans,
            retrieved=(),
            remainder_permille=evidence.remainder_permille,
        )
        return receipt, 0 if channel is None else channel.redeemed_planck

    # -------------------------------------------------------------------------- attribution

    async def attribution(self, attribution_id: str) -> Mapping[str, Json] | None:
        """Return the attribution of an answer by its id or its receipt's hash."""
        stored = self._receipts.find(attribution_id)
        if stored is None:
            return self._learned(attribution_id)
        signed = stored.signed
        served = await self._loaded(signed.receipt.model)
        shown = dict(self._attribution(stored.identity, signed, served))
        return {**shown, "question": stored.question, "answer": stored.answer}

    def _learned(self, name: str) -> Mapping[str, Json] | None:
        """Return the attribution of an answer of another node, whose texts are not here."""
        try:
            signed = self._receipts.learned(Hash(from_hex(name)))
        except ValueError:
            return None
        return None if signed is None else self._attribution(name, signed, None)

    @staticmethod
    def _attribution(
        identity: str, signed: SignedReceipt, served: ServedModel | None
    ) -> Mapping[str, Json]:
        """Return the document of a receipt; rows of another index are named by number only."""
        if served is None or served.release.index_job != signed.receipt.index_job:
            return attribution_document(identity, signed, None)
        rows = served.rows
        return attribution_document(
            identity, signed, lambda row: (rows.contributors[row], rows.rows[row].prompt)
        )

    async def _loaded(self, model: int) -> ServedModel | None:
        if self._nursery is None:
            return None
        try:
            await self._served.start(self._nursery)
            return await self._served.get(model)
        except ModelUnknownError:
            return None


def _check_length(question: str, served: ServedModel, context_tokens: int) -> None:
    """Refuse a text that cannot fit the context before it is tokenized: that alone takes a second
    for a megabyte. Raises ContextExceededError."""
    longest = served.longest_token_bytes * context_tokens
    if len(question.encode()) > longest:
        raise ContextExceededError(
            f"The question has more than the {longest} bytes that fit into the model's context of "
            f"{context_tokens} tokens. Shorten it."
        )


def _question(request: AnswerRequest) -> str:
    """The text that is asked and attributed: a prompt, or the turns of a chat one after another."""
    if not request.messages:
        return request.prompt
    return "\n".join(message.content for message in request.messages)
