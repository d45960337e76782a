"""The paid answer service: from a question and a voucher to text and a signed receipt.

    question -> model -> voucher checked, channel taken -> question tokenized, price checked
             -> tokens -> attribution -> receipt signed and stored -> the asker's last event

Rules that hold here: nothing is loaded, tokenized or computed for a question without a voucher that
pays for it, and what takes long is done off the event loop; nothing is drawn for an answer whose
receipt is not on disk; what was sent is owed, so an answer that breaks off, whoever ends it, leaves
a receipt for the text until there; a channel has one answer at a time, and a voucher one receipt.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
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
    VoucherRefusedError,
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
from node.chain.state_reader import PalletViews, StateReader
from node.serving.served_models import ServedModel, ServedModels
from node.serving.vouchers import Offer, Payment, VoucherBook
from node.storage.errors import DiskLowError
from node.storage.receipt_store import ReceiptStore, StoredReceipt
from node.transactions.submitter import Submitter
from runtime.codec.hexadecimal import from_hex
from runtime.codec.scale import Bytes64, codec
from runtime.crypto import ss58
from runtime.shared.receipts import (
    MILLI,
    RECEIPT_VERSION,
    SEEDS,
    Evidence,
    Receipt,
    Sampling,
    SignedReceipt,
    Voucher,
    evidence_hash,
    receipt_hash,
    salted_hash,
    voucher_hash,
)
from runtime.types.primitives import Hash

MODELS_LISTED_MAX: Final = 256
LOOK_TOKENS: Final = 32
"""After so many tokens it is seen whether the channel that pays is still open."""

logger = logging.getLogger(__name__)
_signed = codec(SignedReceipt)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An answer on its way, with all that its receipt is made of."""

    identity: str
    served: ServedModel
    transcript: Transcript
    payment: Payment


class PaidAnswerService:
    """An AnswerService over the chain's models."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        receipts: ReceiptStore,
        models: ServedModels,
        redeem_blocks: int,
        on_recorded: Callable[[SignedReceipt], None],
        owed_planck: Callable[[PalletViews], int],
        open_receipts: Callable[[int], int],
    ) -> None:
        """`on_recorded` hears of every receipt once it is on disk; `owed_planck` says what
        channels owe that the bond has to answer for, `open_receipts` how many answers of a model
        are in no epoch yet."""
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._receipts = receipts
        self._served = models
        self._vouchers = VoucherBook(chain.genesis_hash, submitter.account, receipts, redeem_blocks)
        self._on_recorded = on_recorded
        self._owed_planck = owed_planck
        self._open_receipts = open_receipts
        self._told: set[str] = set()
        """What the operator was told of the bond."""
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
        question = _question(request)
        payment = self._take_payment(request, model, question)
        try:
            async with aclosing(self._answer(request, model, question, payment)) as events:
                async for event in events:
                    yield event
        finally:
            self._vouchers.release(payment)

    async def _answer(
        self, request: AnswerRequest, model: int, question: str, payment: Payment
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a question whose channel is taken."""
        assert self._nursery is not None, "running"
        _check_sampling(request, payment.voucher.sampling)
        engine = await self._served.start(self._nursery)
        served = await self._served.get(model)
        _check_training(payment.voucher, served)
        _check_length(question, served, engine.capabilities.context_tokens)
        transcript = await trio.to_thread.run_sync(
            Transcript, served.tokenizer, question, request.stop
        )
        payment.check_price(len(transcript.prompt_tokens), request.max_tokens)
        identity = f"att-{secrets.token_hex(16)}"
        generation = GenerationRequest(
            request_id=identity,
            prompt_tokens=transcript.prompt_tokens,
            max_tokens=request.max_tokens,
            adapter=served.adapter_id,
            sampling=payment.voucher.sampling,
            stop_tokens=transcript.stop_tokens,
            vocabulary=transcript.vocabulary,
        )
        asked = _Asked(identity, served, transcript, payment)
        if self._is_closing(payment):
            raise VoucherRefusedError("The voucher's channel is closing. Open another one.")
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
                    tokens = len(transcript.answer_tokens)
                    if tokens % LOOK_TOKENS == 0 and self._is_closing(payment):
                        break  # what was sent is redeemed while the channel can be
                    event = await anext(events, None)
            tail = transcript.finish()
            if tail:
                yield Delta(tail)
            finished = await self._finish(asked)
            is_recorded = True
            yield finished
        except RequestInvalidError as error:
            raise ContextExceededError(str(error)) from error
        except (QueueFullError, EngineClosedError) as error:
            raise ServiceBusyError(str(error)) from error
        finally:
            if not is_recorded and transcript.cut():
                await self._record_broken_off(asked)

    def _is_closing(self, payment: Payment) -> bool:
        """Return whether the channel that pays is closing since: an answer may take longer than
        its server has to redeem it."""
        with self._reader.at() as state:
            channel = state.inference.channels.get(payment.voucher.channel)
        return channel is None or channel.closes_at is not None

    async def _record_broken_off(self, asked: _Asked) -> None:
        """Leave a receipt for what was sent; what ended the answer does not end this."""
        with trio.CancelScope(shield=True):
            try:
                await self._finish(asked)
            except Exception:
                logger.exception("answer-unpaid id=%s", asked.identity)

    def _take_payment(self, request: AnswerRequest, model: int, question: str) -> Payment:
        """Check what pays for the answer, before anything costs time; its channel is taken."""
        offer = Offer(
            model=model,
            question=question,
            max_tokens=request.max_tokens,
            voucher=request.voucher,
            salt=request.salt,
        )
        with self._reader.at() as state:
            if not state.inference.is_bonded(self._submitter.account):
                self._tell("server-not-bonded", "`openledger server register`")
                raise ServiceBusyError(
                    "This node's account is no bonded server, so nobody can pay it. Ask another "
                    "node, or this one when its operator has bonded it."
                )
            payment = self._vouchers.take(offer, state.inference, self._chain.best.number)
            room = state.inference.redeemable(model, self._submitter.account)
            promised = self._owed_planck(state) + self._vouchers.promised_planck
            if room is not None and promised > room:
                self._vouchers.release(payment)
                self._tell("server-bond-too-small", "`openledger server add-bond`")
                raise ServiceBusyError(
                    "This node's bond answers for no more answers until an epoch is settled. Ask "
                    "again later, or another node."
                )
            open_receipts = self._open_receipts(model) + self._vouchers.running
            if room is not None and open_receipts > _receipts_max(state):
                self._vouchers.release(payment)
                raise ServiceBusyError(
                    "This node has given as many answers of this model as one epoch takes, until "
                    "that is settled. Ask again later, or another node."
                )
            return payment

    def _tell(self, event: str, command: str) -> None:
        """Tell the operator once what is wrong with the bond."""
        if event not in self._told:
            self._told.add(event)
            logger.warning(
                "%s account=%s do='%s'",
                event,
                ss58.encode(self._submitter.account),
                command,
            )

    async def _finish(self, asked: _Asked) -> Finished:
        """Sign the receipt of an answer and keep it."""
        transcript, payment = asked.transcript, asked.payment
        question, answer = transcript.question, transcript.text
        evidence = await trio.to_thread.run_sync(asked.served.evidence, question, answer)
        receipt = self._receipt(asked, evidence)
        signature = Bytes64(self._submitter.sign(receipt_hash(receipt)))
        signed = SignedReceipt(payment.signed, receipt, evidence, signature)
        stored = StoredReceipt(
            signed=signed,
            identity=asked.identity,
            question=question,
            answer=answer,
            salt=payment.salt,
            tokens=transcript.answer_tokens,
        )
        await trio.to_thread.run_sync(self._receipts.record, stored)
        self._on_recorded(signed)
        logger.info(
            "answer-served model=%d channel=%d sequence=%d tokens_out=%d fee_planck=%d",
            signed.model,
            signed.channel,
            signed.sequence,
            receipt.tokens_out,
            receipt.fee_planck,
        )
        reason: Literal["stop", "length"] = (
            "stop" if transcript.reason is FinishReason.STOP else "length"
        )
        attribution = self._attribution(asked.identity, signed, asked.served)
        return Finished(reason, receipt.tokens_in, receipt.tokens_out, attribution)

    def _receipt(self, asked: _Asked, evidence: Evidence) -> Receipt:
        release, transcript = asked.served.release, asked.transcript
        voucher = asked.payment.voucher
        tokens_in, tokens_out = len(transcript.prompt_tokens), len(transcript.answer_tokens)
        fee = voucher.fee(tokens_in, tokens_out)
        assert fee <= voucher.price_planck, "an answer has no more tokens than are paid for"
        return Receipt(
            version=RECEIPT_VERSION,
            voucher=voucher_hash(voucher),
            server=self._submitter.account,
            index_job=release.index_job,
            adapter=release.adapter,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            fee_planck=fee,
            answer=salted_hash(asked.payment.salt, transcript.text),
            evidence=evidence_hash(evidence),
        )

    # -------------------------------------------------------------------------- attribution

    async def attribution(
        self, attribution_id: str, salt: bytes | None
    ) -> Mapping[str, Json] | None:
        """Return the attribution of an answer by its id or its receipt's hash; with the texts for
        who knows the salt that the answer was asked with."""
        stored = self._receipts.find(attribution_id)
        if stored is None:
            return self._learned(attribution_id)
        signed = stored.signed
        served = await self._loaded(signed.model)
        shown = self._attribution(stored.identity, signed, served)
        if salt is None or not secrets.compare_digest(salt, stored.salt):
            return shown
        return {**shown, "question": stored.question, "answer": stored.answer}

    async def channel_receipt(self, channel: int) -> bytes | None:
        """Return the SCALE of the last receipt of a channel; it holds no texts."""
        last = await trio.to_thread.run_sync(self._receipts.last, channel)
        return None if last is None else _signed.encode(last)

    def _learned(self, name: str) -> Mapping[str, Json] | None:
        """Return the attribution of an answer of another node, whose texts are not here."""
        try:
            signed = self._receipts.learned(Hash(from_hex(name)))
        except ValueError:
            return None
        return None if signed is None else self._attribution(name, signed, None)

    def _attribution(
        self, identity: str, signed: SignedReceipt, served: ServedModel | None
    ) -> Mapping[str, Json]:
        """Return the document of a receipt; rows of another index are named by number only."""
        epoch = self._receipts.epoch_of(receipt_hash(signed.receipt))
        if served is None or served.release.index_job != signed.receipt.index_job:
            return attribution_document(identity, signed, None, epoch)
        rows = served.rows
        return attribution_document(
            identity, signed, lambda row: (rows.contributors[row], rows.rows[row].prompt), epoch
        )

    async def _loaded(self, model: int) -> ServedModel | None:
        if self._nursery is None:
            return None
        try:
            await self._served.start(self._nursery)
            return await self._served.get(model)
        except ModelUnknownError:
            return None


def _check_sampling(request: AnswerRequest, sampling: Sampling) -> None:
    """Refuse a request that says otherwise than its voucher how tokens are chosen: the voucher is
    what counts when the answer is checked. Raises VoucherRefusedError."""
    for name, asked, signed in (
        ("temperature", _milli(request.temperature), sampling.temperature_milli),
        ("top_p", _milli(request.top_p), sampling.top_p_milli),
        ("seed", None if request.seed is None else request.seed % SEEDS, sampling.seed),
    ):
        if asked not in (None, signed):
            raise VoucherRefusedError(
                f"The request has another {name} than its voucher. Sign for it, or leave it out."
            )


def _milli(value: float | None) -> int | None:
    return None if value is None else round(value * MILLI)


def _check_training(voucher: Voucher, served: ServedModel) -> None:
    """Refuse a voucher for another training than the one that answers. Raises
    VoucherRefusedError."""
    if voucher.train_job != served.release.train_job:
        raise VoucherRefusedError(
            f"The voucher is for training {voucher.train_job}, and training "
            f"{served.release.train_job} answers now. Sign a voucher for that."
        )


def _receipts_max(state: PalletViews) -> int:
    """Return how many answers an epoch has room for: what is due beyond that would be slashed."""
    return state.attribution.parameters().receipts_maximum


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
