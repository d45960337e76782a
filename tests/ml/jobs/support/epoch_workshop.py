"""A model trained on the shipped base, real answers of the engine, the files of their epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio

from ml.adapters.validation import load_adapter
from ml.attribution.epoch_files import (
    EPOCH_FILE,
    PAGE_RECEIPTS,
    TEXTS_FILE,
    ChannelRange,
    EpochInput,
    IndexInput,
)
from ml.attribution.index import QuerySketcher, load_index
from ml.attribution.sketch import load_moments
from ml.base.base import load_base
from ml.base.content import content_hash
from ml.engine.builtin import BuiltinEngine
from ml.engine.interface import GenerationRequest
from ml.engine.transcript import Transcript
from ml.jobs.frames import Job
from ml.jobs.kinds import Outcome, run_job
from ml.rows.row import Row, encode_batch
from ml.train.data import encode_prompt, encode_text
from ml.train.profile import native_profile
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.shared.documents import (
    BatchInput,
    DatanetVersion,
    Index,
    Indexed,
    JobOutput,
    JobSpec,
    Recipe,
    RowsInput,
    Settle,
    Settled,
    Train,
    Trained,
)
from runtime.shared.receipts import (
    GREEDY,
    RECEIPT_VERSION,
    EpochReceipts,
    Evidence,
    Rates,
    Receipt,
    Sampling,
    ShownText,
    ShownTexts,
    SignedReceipt,
    SignedVoucher,
    Voucher,
    drawn_receipts,
    evidence_hash,
    receipt_hash,
    salted_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.trie.merkle import blob_id, sum_root
from runtime.types.primitives import AccountId, Ed25519, Hash

GENESIS = Hash(b"g" * 32)
MODEL, TRAIN_JOB, INDEX_JOB = 3, 5, 6
SERVER = Keypair.from_uri("//Server")
ASKERS = tuple(Keypair.from_uri(f"//Asker{number}") for number in range(3))
RATES = Rates(10**15, 2 * 10**15, 10**14)
SEED = b"d" * 32
SKETCH_SIZE = 128
POOL = 10**18
TOKENS = 20
RECIPE = Recipe(
    learning_rate_nano=5_000_000,
    max_steps=30,
    batch_rows=8,
    micro_batch_rows=8,
    rank=8,
    max_tokens=64,
    checkpoint_steps=40,
    evaluation_permille=150,
)


@dataclass(frozen=True)
class Told:
    """An answer with its receipt, and what its server shows of it when it is drawn."""

    signed: SignedReceipt
    shown: ShownText


@dataclass(frozen=True)
class Workshop:
    """A trained and indexed model in the inputs folder of a settle job."""

    folder: Path
    index: IndexInput
    contributors: tuple[AccountId, ...]

    def settle(
        self,
        told: Sequence[Told],
        channels: Sequence[ChannelRange] | None = None,
        **changes: Any,
    ) -> Settled:
        """Settle an epoch; `changes` are to what its server declared, `texts` to what it shows."""
        return self.settled_with_shares(told, channels, **changes)[0]

    def settled_with_shares(
        self, told: Sequence[Told], channels: Sequence[ChannelRange] | None = None, **changes: Any
    ) -> tuple[Settled, bytes]:
        """Return the settlement and the file of shares."""
        return self.run(self.laid_out(told, channels, **changes))

    def run(self, spec: Settle) -> tuple[Settled, bytes]:
        """Settle from the files that are laid out."""
        outcome = run(codec(JobSpec).encode(spec), self.folder, seed=SEED)
        assert isinstance(outcome.output, Settled)
        codec(JobOutput).encode(outcome.output)
        files = [(work_of(self.folder) / "outputs" / name.hex()) for name in outcome.files]
        return outcome.output, files[0].read_bytes() if files else b""

    def laid_out(
        self,
        told: Sequence[Told],
        channels: Sequence[ChannelRange] | None = None,
        texts: Sequence[ShownText] | None = None,
        pages: Sequence[bytes] | None = None,
        **declared: Any,
    ) -> Settle:
        """Lay out the files of an epoch; returns what its server declared."""
        receipts = [each.signed for each in told]
        fees = [signed.receipt.fee_planck for signed in receipts]
        if pages is None:
            pages = [
                codec(EpochReceipts).encode(EpochReceipts(tuple(receipts[at : at + PAGE_RECEIPTS])))
                for at in range(0, len(receipts), PAGE_RECEIPTS)
            ]
        for page in pages:
            self.write(blob_id(page).hex(), page)
        epoch = EpochInput(
            genesis=GENESIS,
            channels=tuple(channels or channels_of(receipts)),
            indexes=(self.index,),
            pages=tuple(blob_id(page) for page in pages),
        )
        self.write(EPOCH_FILE, codec(EpochInput).encode(epoch))
        root, total = sum_root(
            (receipt_hash(signed.receipt), signed.receipt.fee_planck) for signed in receipts
        )
        spec = Settle(
            model=MODEL,
            server=AccountId(SERVER.account),
            epoch=0,
            receipts_root=root,
            receipts=len(receipts),
            fees_planck=total,
            pool_planck=POOL,
            bound_milli=0,
            draws=32,
            text_blocks=50,
        )
        if texts is None:
            texts = [told[at].shown for at in drawn_receipts(SEED, fees, spec.draws)]
        self.write(TEXTS_FILE, codec(ShownTexts).encode(ShownTexts(tuple(texts))))
        return replace(spec, **declared)

    def write(self, name: str, data: bytes) -> None:
        """Put a file into the inputs folder."""
        (self.folder / name).write_bytes(data)


def small_rows() -> list[Row]:
    """Return 64 short rows."""
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    return [
        Row(f"{a}.{b}(x)", f"Return {b} of {a}, number {i * 8 + j}, for {words[(i + j) % 8]}.")
        for i, a in enumerate(words)
        for j, b in enumerate(words)
    ]


def work_of(inputs: Path) -> Path:
    return inputs.parent / f"{inputs.name}-work"


def run(
    spec: bytes, inputs: Path, seed: bytes, train: bytes = b"", trained: bytes = b""
) -> Outcome:
    """Run a job in this process."""
    work = str(work_of(inputs))
    job = Job(1, spec, str(inputs), work, seed, "", train, trained)
    return run_job(job, lambda *_: None, native_profile(1))


def build(folder: Path, rows: Sequence[Row]) -> Workshop:
    """Train and index a model on the shipped base, on rows of eight contributors."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    owners = tuple(AccountId(bytes([number + 1]) * 32) for number in range(8))
    batches = []
    for number in range(len(owners)):
        part = rows[number :: len(owners)]
        blob = encode_batch(list(part))
        (inputs / blob_id(blob).hex()).write_bytes(blob)
        batches.append(BatchInput(0, number, owners[number], blob_id(blob), len(part)))
    (inputs / "rows.scale").write_bytes(codec(RowsInput).encode(RowsInput(tuple(batches))))
    train = Train(MODEL, Hash(content_hash()), (DatanetVersion(0, 1),), RECIPE)
    spec = codec(JobSpec).encode(train)
    first = run(spec, inputs, seed=b"s" * 32)
    assert isinstance(first.output, Trained)
    move_outputs(inputs)
    trained = codec(JobOutput).encode(first.output)
    index = codec(JobSpec).encode(Index(MODEL, TRAIN_JOB, SKETCH_SIZE))
    second = run(index, inputs, seed=b"i" * 32, train=spec, trained=trained)
    assert isinstance(second.output, Indexed)
    move_outputs(inputs)
    return Workshop(
        folder=inputs,
        index=IndexInput(
            index_job=INDEX_JOB,
            train_job=TRAIN_JOB,
            base=train.base,
            recipe=RECIPE,
            adapter=first.output.adapter,
            moments=first.output.moments,
            seed=Hash(b"i" * 32),
            indexed=second.output,
        ),
        contributors=owners,
    )


def move_outputs(inputs: Path) -> None:
    """Make the files that a job made inputs of the next one."""
    for path in (work_of(inputs) / "outputs").iterdir():
        path.rename(inputs / path.name)


def answer(
    workshop: Workshop, questions: Sequence[str], sampling: Sampling = GREEDY, stop: str = ""
) -> list[Told]:
    """Answer questions with the engine as a server does, one asker's channel after another."""
    model, tokenizer = load_base()
    engine = BuiltinEngine(model)

    def read(blob: Hash) -> bytes:
        return (workshop.folder / blob.hex()).read_bytes()

    transcripts: list[Transcript] = []

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            await engine.register("adapter", read(workshop.index.adapter), RECIPE)
            await nursery.start(engine.run)
            for at, question in enumerate(questions):
                transcript = Transcript(tokenizer, question, (stop,) if stop else ())
                request = GenerationRequest(
                    f"answer {at}",
                    transcript.prompt_tokens,
                    TOKENS,
                    adapter="adapter",
                    sampling=replace(sampling, seed=at),
                    stop_tokens=transcript.stop_tokens,
                    vocabulary=transcript.vocabulary,
                )
                async with aclosing(engine.generate(request)) as events:
                    async for event in events:
                        transcript.add(event)
                        if transcript.is_stopped:
                            break
                transcript.finish()
                transcripts.append(transcript)
            await engine.close()
            nursery.cancel_scope.cancel()

    trio.run(serve)
    evidence_of = _evidence(workshop, read)
    told: list[Told] = []
    for at, transcript in enumerate(transcripts):
        evidence = evidence_of(transcript.question, transcript.text)
        channel, number = divmod(at, -(-len(questions) // len(ASKERS)))
        before = told[-1].signed.ends_planck if number else 7 * 10**15
        told.append(
            receipt_of(
                transcript.question,
                transcript.text,
                transcript.prompt_tokens,
                transcript.answer_tokens,
                evidence,
                channel=channel,
                sequence=number + 1,
                before=before,
                adapter=workshop.index.adapter,
                sampling=replace(sampling, seed=at),
            )
        )
    return told


def _evidence(workshop: Workshop, read: Callable[[Hash], bytes]) -> Callable[[str, str], Evidence]:
    """Return the function that attributes an answer, as a serving node does."""
    model, tokenizer = load_base()
    wrapped = load_adapter(read(workshop.index.adapter), RECIPE, model)
    moments = load_moments(read(workshop.index.moments))
    sketcher = QuerySketcher(
        wrapped, tokenizer, moments, bytes(workshop.index.seed), SKETCH_SIZE, RECIPE.max_tokens
    )
    index = load_index(workshop.index.indexed, read)

    def evidence(question: str, text: str) -> Evidence:
        phi = sketcher.sketch(question, text)
        top = index.top(phi)
        spans = index.spans(encode_text(text, tokenizer))
        return Evidence(phi, top, spans, (), index.remainder_permille(phi, top))

    return evidence


def receipt_of(
    question: str,
    text: str,
    prompt: Sequence[int],
    tokens: Sequence[int],
    evidence: Evidence,
    *,
    channel: int,
    sequence: int,
    before: int,
    adapter: Hash,
    sampling: Sampling,
) -> Told:
    """Return a receipt that asker and server have signed."""
    asker, salt = ASKERS[channel], bytes([channel, sequence]) * 16
    fee = RATES.fee(len(prompt), len(tokens))
    voucher = Voucher(
        genesis=GENESIS,
        channel=channel,
        model=MODEL,
        train_job=TRAIN_JOB,
        sequence=sequence,
        before_planck=before,
        limit_planck=before + fee + 10**14,
        rates=RATES,
        question=salted_hash(salt, question),
        sampling=sampling,
        may_draw=True,
        expires_at=1_000,
    )
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(voucher),
        server=AccountId(SERVER.account),
        index_job=INDEX_JOB,
        adapter=adapter,
        tokens_in=len(prompt),
        tokens_out=len(tokens),
        fee_planck=fee,
        answer=salted_hash(salt, text),
        evidence=evidence_hash(evidence),
    )
    shown = ShownText(receipt_hash(receipt), salt, question, text, tuple(tokens))
    return Told(
        signed_by(
            SignedVoucher(
                voucher, AccountId(asker.account), Ed25519(asker.sign(voucher_payload(voucher)))
            ),
            receipt,
            evidence,
        ),
        shown,
    )


def signed_by(
    voucher: SignedVoucher, receipt: Receipt, evidence: Evidence, server: Keypair = SERVER
) -> SignedReceipt:
    """Sign a receipt as its server."""
    return SignedReceipt(voucher, receipt, evidence, server.sign(receipt_hash(receipt)))


def with_receipt(told: Told, **changes: Any) -> Told:
    """Return an answer whose receipt says something else, signed again; its text is shown still."""
    receipt = replace(told.signed.receipt, **changes)
    signed = signed_by(told.signed.voucher, receipt, told.signed.evidence)
    return Told(signed, replace(told.shown, receipt=receipt_hash(receipt)))


def with_evidence(told: Told, **changes: Any) -> Told:
    """Return an answer with other evidence, named and signed by the server."""
    evidence = replace(told.signed.evidence, **changes)
    receipt = replace(told.signed.receipt, evidence=evidence_hash(evidence))
    signed = signed_by(told.signed.voucher, receipt, evidence)
    return Told(signed, replace(told.shown, receipt=receipt_hash(receipt)))


def with_voucher(told: Told, asker: Keypair | None = None, **changes: Any) -> Told:
    """Return an answer with another voucher, signed by its asker or by another key."""
    voucher = replace(told.signed.voucher.voucher, **changes)
    key = asker or ASKERS[told.signed.channel]
    signed = SignedVoucher(voucher, told.signed.asker, Ed25519(key.sign(voucher_payload(voucher))))
    receipt = replace(told.signed.receipt, voucher=voucher_hash(voucher))
    shown = replace(told.shown, receipt=receipt_hash(receipt))
    return Told(signed_by(signed, receipt, told.signed.evidence), shown)


def other_words(workshop: Workshop, told: Told, text: str) -> Told:
    """Return an answer with words that the model did not give, and an honest sketch of them."""

    def read(blob: Hash) -> bytes:
        return (workshop.folder / blob.hex()).read_bytes()

    _, tokenizer = load_base()
    voucher = told.signed.voucher.voucher
    return receipt_of(
        told.shown.question,
        text,
        encode_prompt(told.shown.question, tokenizer),
        encode_text(text, tokenizer),
        _evidence(workshop, read)(told.shown.question, text),
        channel=voucher.channel,
        sequence=voucher.sequence,
        before=voucher.before_planck,
        adapter=workshop.index.adapter,
        sampling=voucher.sampling,
    )


def channels_of(receipts: Sequence[SignedReceipt]) -> list[ChannelRange]:
    """Return the channels of honest receipts, redeemed exactly for them."""
    ranges: dict[int, ChannelRange] = {}
    for signed in receipts:
        start = signed.voucher.voucher.before_planck
        known = ranges.get(signed.channel)
        ranges[signed.channel] = ChannelRange(
            signed.channel,
            signed.asker,
            min(start, known.start_planck) if known else start,
            max(signed.ends_planck, known.end_planck) if known else signed.ends_planck,
        )
    return [ranges[channel] for channel in sorted(ranges)]
