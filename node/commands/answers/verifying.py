"""Replays receipts on this machine, on inputs that are proven or checked by hash.

Model, rows and the steps that all receipts of an index job share are loaded and run once. Their ids
are taken from the chain, never from a receipt, so a receipt that names others fails.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ml.jobs.frames import ROWS_FILE
from node.client import Client, RequestRefusedError
from node.client.asker_ledger import salt_of
from node.client.serving import ServedReceipt
from node.client.token_counts import count_problem
from node.commands.answers.receipt_pages import signed_receipts_of
from node.commands.base.output import Output
from pallets.attribution.records import Epoch
from pallets.jobs.job import Job
from runtime.codec.scale import codec
from runtime.shared.documents import BatchInput, Index, Indexed, RowsInput, Train, Trained
from runtime.shared.receipts import SignedReceipt, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.trie.proof import ProofError
from runtime.types.primitives import AccountId, Hash, Header

if TYPE_CHECKING:
    from ml.attribution.verify import Check, Material
    from ml.jobs.inputs import JobRows

PAGE: Final = 256
COMMITMENTS: Final = (
    "chain commitments",
    "storage proof against the header of a final block",
)
COUNTS: Final = ("token counts", "the question's tokens again, the answer's by its bytes")
SETTLEMENT: Final = ("settlement", "Merkle-sum root over the epoch's receipts against the chain")


@dataclass(frozen=True, slots=True)
class Verification:
    """The steps of a replay, and the model that the receipt is of."""

    model: int
    steps: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class _Training:
    """The training job behind an index job, as the chain has it."""

    model: int
    train_job: int
    seed: bytes
    spec: Train
    trained: Trained


@dataclass(slots=True)
class _Index:
    """An index job with the inputs that its receipts share.

    `first` are the steps of the first replay, which ran those of the job too; None before it.
    """

    indexed: Indexed
    training: _Training | None
    material: Material
    of_rows: Check | None
    read: Callable[[Hash], bytes]
    first: tuple[Check, ...] | None = None


@dataclass(frozen=True, slots=True)
class _EpochReceipts:
    """The sums of the receipts that a node lists of an epoch."""

    root: Hash
    fees_planck: int
    hashes: frozenset[Hash]


_EpochKey: TypeAlias = tuple[int, AccountId, int]
"""Model, server and number of an epoch."""


class Verifier:
    """Replays receipts against one final block of one chain."""

    def __init__(
        self,
        output: Output,
        client: Client,
        *,
        is_quick: bool,
        base_model: str | None,
        keys_folder: Path,
        salt: bytes | None,
    ) -> None:
        """`salt` opens the texts; without one the books below the folder of keys are asked."""
        self._output = output
        self._client = client
        self._is_quick = is_quick
        self._base_model = base_model
        self._keys_folder = keys_folder
        self._salt = salt
        self._header: Header = client.header(client.finalized_hash())
        self._indexes: dict[int, _Index | str] = {}
        self._epochs: dict[_EpochKey, _EpochReceipts] = {}
        self._closed: dict[_EpochKey, Epoch | None] = {}

    def verify(self, identity: Hash) -> Verification:
        """Run every check of a receipt that can be run here."""
        salt = self._salt or salt_of(self._keys_folder, self._client.genesis_hash, identity)
        stored = self._client.serving.receipt(identity, salt)
        from ml.attribution.verify import Check  # seconds; only when there is a receipt

        signed = stored.signed
        voucher, receipt = signed.voucher.voucher, signed.receipt
        good = receipt_hash(receipt) == identity and voucher.genesis == self._client.genesis_hash
        steps = [
            Check(
                "identity",
                "blake2b-256 of the receipt is the id that was asked for",
                good,
                f"answer {signed.sequence} of channel {signed.channel} on this chain"
                if good
                else "what the node sent is another receipt, or one of another chain",
            )
        ]
        # First of all: a node forgets the state of a block within minutes, and replays take longer.
        settlement = self._settlement(stored)
        index = self._index(receipt.index_job)
        if isinstance(index, str):
            steps.append(Check(*COMMITMENTS, False, index))
        else:
            steps.append(self._commitments(signed, index.training))
            steps += self._replay(stored, index, salt)
        steps.append(settlement)
        return Verification(signed.model, tuple(steps))

    # --------------------------------------------------------------------------- one receipt

    def _commitments(self, signed: SignedReceipt, training: _Training | None) -> Check:
        """Check the model, training job and adapter of the receipt against the chain."""
        from ml.attribution.verify import Check

        receipt = signed.receipt
        where = f"index job {receipt.index_job}, block {self._header.number}"
        if training is None:
            return Check(*COMMITMENTS, True, where)
        channel = self._proven("Inference", "channels", signed.channel)
        paid = (signed.asker, receipt.server, signed.model)
        real_paid = paid if channel is None else (channel.asker, channel.server, channel.model)
        wrong = [
            name
            for name, claimed, real in (
                ("channel", paid, real_paid),
                ("model", signed.model, training.model),
                ("training job", signed.voucher.voucher.train_job, training.train_job),
                ("adapter", receipt.adapter, training.trained.adapter),
            )
            if claimed != real
        ]
        detail = f"{where} has another {', '.join(wrong)}" if wrong else where
        return Check(*COMMITMENTS, not wrong, detail)

    def _replay(self, stored: ServedReceipt, index: _Index, salt: bytes | None) -> list[Check]:
        """Run a receipt's own steps, and those of its index job if none did before it."""
        from ml.attribution.verify import verify_receipt

        material = dataclasses.replace(index.material, salt=salt, **_texts(stored.details))
        steps = verify_receipt(
            stored.signed, index.indexed, index.read, material, with_index=index.first is None
        )
        if index.first is None:
            index.first = tuple(steps)
        steps.append(_counts(stored.signed, material))
        own = {step.name for step in steps}
        steps += [step for step in index.first if step.name not in own]
        return steps if index.of_rows is None else [*steps, index.of_rows]

    def _settlement(self, stored: ServedReceipt) -> Check:
        """Check that the receipt is counted in the epoch that its node names, once it is in one."""
        from ml.attribution.verify import Check

        signed, number = stored.signed, stored.details.get("epoch")
        if not isinstance(number, int):
            return Check(*SETTLEMENT, None, "its server has closed no epoch with it yet")
        key = (signed.model, signed.receipt.server, number)
        try:
            if key not in self._closed:
                self._closed[key] = self._proven("Attribution", "epochs", *key)
            epoch, listed = self._closed[key], self._listed(key)
        except ProofError as error:
            return Check(*SETTLEMENT, False, str(error))
        except RequestRefusedError:
            return Check(*SETTLEMENT, None, "the node does not list the epoch's receipts")
        if epoch is None:
            return Check(*SETTLEMENT, None, f"epoch {number} is still open")
        sums = listed.root == epoch.receipts_root and listed.fees_planck == epoch.fees_planck
        good = sums and receipt_hash(signed.receipt) in listed.hashes
        count = len(listed.hashes)
        return Check(*SETTLEMENT, good, f"one of {count} receipts of epoch {number}")

    def _listed(self, key: _EpochKey) -> _EpochReceipts:
        sums = self._epochs.get(key)
        if sums is None:
            leaves = [
                (receipt_hash(signed.receipt), signed.receipt.fee_planck)
                for signed, _ in signed_receipts_of(self._client, *key)
            ]
            root, total = sum_root(leaves)
            sums = _EpochReceipts(root, total, frozenset(leaf for leaf, _ in leaves))
            self._epochs[key] = sums
        return sums

    # ----------------------------------------------------------------------------- index job

    def _index(self, job: int) -> _Index | str:
        """Return an index job with its inputs, or the reason why the chain has none."""
        if job not in self._indexes:
            try:
                self._indexes[job] = self._load_index(job)
            except ProofError as error:
                self._indexes[job] = str(error)
        return self._indexes[job]

    def _load_index(self, job: int) -> _Index | str:
        from ml.attribution.verify import Material

        recorded = self._proven("Attribution", "indexed", job)
        if recorded is None:
            return f"index job {job} is not on the chain at block {self._header.number}"
        indexed = recorded.indexed
        training = self._training(job)
        read = functools.cache(self._client.blobs.download)
        if self._is_quick:
            return _Index(
                indexed=indexed, training=training, material=Material(), of_rows=None, read=read
            )
        if training is None:
            raise RequestRefusedError(
                f"The jobs behind the index job {job} are not on the chain. Verify its receipts "
                "with --quick."
            )
        self._output.note(f"Fetching what index job {job} rests on, each file by its id.")
        rows = _rows(self._client, training.spec)
        material = Material(
            max_tokens=training.spec.recipe.max_tokens,
            rows=rows.rows,
            contributors=rows.contributors,
        )
        material = self._with_model(material, indexed, training)
        return _Index(
            indexed=indexed,
            training=training,
            material=material,
            of_rows=_of_rows(rows, training.trained),
            read=read,
        )

    def _training(self, job: int) -> _Training | None:
        """Return the training behind an index job, proven; None where the chain has no more."""
        index: Job | None = self._proven("Jobs", "jobs", job)
        if index is None or not isinstance(index.spec, Index) or index.seed is None:
            return None
        train: Job | None = self._proven("Jobs", "jobs", index.spec.train_job)
        if train is None or not isinstance(train.spec, Train) or train.root is None:
            return None
        trained = self._proven("Jobs", "outputs", index.spec.train_job, train.root)
        if not isinstance(trained, Trained):
            return None
        number = index.spec.train_job
        return _Training(
            model=index.spec.model,
            train_job=number,
            seed=bytes(index.seed),
            spec=train.spec,
            trained=trained,
        )

    def _with_model(self, material: Material, indexed: Indexed, training: _Training) -> Material:
        """Add tokenizer and sketcher, if the base model here is the trained one."""
        from ml.adapters.validation import load_adapter
        from ml.attribution.index import QuerySketcher
        from ml.attribution.sketch import load_moments
        from ml.base.base import content_hash, load_base

        spec, download = training.spec, self._client.blobs.download
        if content_hash(self._base_model) != spec.base:
            self._output.note(
                f"The base model here is not the trained one (0x{spec.base.hex()}), so no gradient "
                "is run again. Name the folder of that one with --base-model."
            )
            return material
        model, tokenizer = load_base(self._base_model)
        wrapped = load_adapter(download(training.trained.adapter), spec.recipe, model)
        moments = load_moments(download(training.trained.moments))
        sketcher = QuerySketcher(
            model=wrapped,
            tokenizer=tokenizer,
            moments=moments,
            seed=training.seed,
            sketch_size=indexed.sketch_size,
            max_tokens=spec.recipe.max_tokens,
        )
        return dataclasses.replace(material, tokenizer=tokenizer, sketcher=sketcher)

    def _proven(self, pallet: str, item: str, *keys: Any) -> Any:
        return self._client.query_proven(pallet, item, *keys, block=self._header)


def _texts(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts that the node has; their hashes are checked in the replay."""
    texts = {name: details.get(name) for name in ("question", "answer")}
    return {name: text if isinstance(text, str) else None for name, text in texts.items()}


def _counts(signed: SignedReceipt, material: Material) -> Check:
    """Check the token counts of a receipt by its texts."""
    from ml.attribution.verify import Check

    question, answer, tokenizer = material.question, material.answer, material.tokenizer
    if question is None or answer is None or tokenizer is None:
        return Check(*COUNTS, None, "the texts or the model's tokenizer are not at hand")
    problem = count_problem(signed.receipt, question, answer, tokenizer)
    counted = f"{signed.receipt.tokens_in} in, {signed.receipt.tokens_out} out"
    return Check(*COUNTS, not problem, problem or counted)


def _of_rows(rows: JobRows, trained: Trained) -> Check:
    """Check that the rows here are those that were trained on."""
    from ml.attribution.verify import Check

    how = "Merkle root over the rows' hashes against the training job"
    return Check("rows", how, rows.root == trained.row_root, f"{len(rows.rows)} rows")


def _rows(client: Client, spec: Train) -> JobRows:
    """Return the rows that the training read."""
    from ml.jobs.inputs import read_job_rows

    with tempfile.TemporaryDirectory(prefix="openledger-verify-") as folder:
        _write_rows(client, spec, Path(folder))
        return read_job_rows(Path(folder))


def _write_rows(client: Client, spec: Train, folder: Path) -> None:
    """Lay out the batches that the training read, as its executor had them."""
    batches = tuple(batch for use in spec.datanets for batch in _batches(client, use))
    for batch in batches:
        (folder / batch.blob.hex()).write_bytes(client.blobs.download(batch.blob))
    (folder / ROWS_FILE).write_bytes(codec(RowsInput).encode(RowsInput(batches)))


def _batches(client: Client, use: Any) -> Iterator[BatchInput]:
    version = client.api("DatanetsApi_version", use.datanet, use.version)
    for start in range(0, version.batches, PAGE):
        count = min(PAGE, version.batches - start)
        for info in client.api("DatanetsApi_accepted_batches", use.datanet, start, count):
            batch = info.batch
            yield BatchInput(
                datanet=use.datanet,
                batch=info.number,
                contributor=batch.contributor,
                blob=batch.blob,
                rows=batch.rows,
            )
