"""Gathers what a receipt rests on, proven or checked by hash, and replays it on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.client import Client, RequestRefusedError
from node.client.serving import StoredReceipt
from node.commands.output import Output
from runtime.documents import (
    BatchInput,
    Indexed,
    Receipt,
    RowsInput,
    SignedReceipt,
    Train,
    Trained,
    receipt_hash,
)
from runtime.merkle import sum_root
from runtime.primitives import Hash, Header
from runtime.proof import ProofError
from runtime.scale import codec

if TYPE_CHECKING:
    from ml.attribution.verify import Check, Material

PAGE = 256


@dataclass(frozen=True, slots=True)
class Verification:
    """The steps of a replay, and the model that the receipt is of."""

    model: int
    steps: tuple[Check, ...]


def verify_receipt_of(
    output: Output, client: Client, identity: Hash, *, is_quick: bool, base_model: str | None
) -> Verification:
    """Run every check of a receipt that can be run here."""
    stored = client.serving.receipt(identity)
    from ml.attribution.verify import Check, verify_receipt  # seconds; only when there is one

    receipt = stored.signed.receipt
    steps = [
        Check(
            "identity",
            "blake2b-256 of the receipt is the id that was asked for",
            receipt_hash(receipt) == identity and receipt.genesis == client.genesis_hash,
            f"receipt {receipt.sequence} of model {receipt.model} on this chain",
        )
    ]
    header = client.header(client.finalized_hash())
    indexed, proven = _commitments(client, receipt, header)
    steps.append(proven)
    if indexed is not None:
        output.note("Fetching what the receipt rests on, each file checked against its id.")
        with tempfile.TemporaryDirectory(prefix="openledger-verify-") as folder:
            material = _material(
                output,
                client,
                stored,
                indexed,
                Path(folder),
                is_quick=is_quick,
                base_model=base_model,
            )
            steps += verify_receipt(stored.signed, indexed, client.blobs.download, material)
    steps.append(_settlement(client, stored.signed, header))
    return Verification(receipt.model, tuple(steps))


def _commitments(client: Client, receipt: Receipt, header: Header) -> tuple[Indexed | None, Check]:
    """Return what the chain says of the index job, with its proof checked."""
    from ml.attribution.verify import Check

    name, how = "chain commitments", "storage proof against the header of a final block"
    try:
        indexed = client.query_proven("Attribution", "indexed", receipt.index_job, block=header)
    except ProofError as error:
        return None, Check(name, how, False, str(error))
    if indexed is None:
        detail = f"index job {receipt.index_job} is not on the chain at block {header.number}"
        return None, Check(name, how, False, detail)
    return indexed, Check(name, how, True, f"index job {receipt.index_job}, block {header.number}")


def _settlement(client: Client, signed: SignedReceipt, header: Header) -> Check:
    """Check that the receipt is counted in its epoch, when that is closed."""
    from ml.attribution.verify import Check

    receipt = signed.receipt
    name, how = "settlement", "Merkle-sum root over the epoch's receipts against the chain"
    key = (receipt.model, receipt.epoch)
    try:
        epoch = client.query_proven("Attribution", "epochs", *key, block=header)
        listed = client.call("openledger_receipts", receipt.model, receipt.epoch)
    except ProofError as error:
        return Check(name, how, False, str(error))
    except RequestRefusedError:
        return Check(name, how, None, "the node does not list the epoch's receipts")
    if epoch is None:
        return Check(name, how, None, f"epoch {receipt.epoch} is still open")
    receipts = [_decoded(entry["signedReceipt"]).receipt for entry in listed]
    root, total = sum_root((receipt_hash(each), each.contributor_fee_planck) for each in receipts)
    good = root == epoch.receipts_root and total == epoch.fees_planck and receipt in receipts
    return Check(name, how, good, f"one of {len(receipts)} receipts of epoch {receipt.epoch}")


def _material(
    output: Output,
    client: Client,
    stored: StoredReceipt,
    indexed: Indexed,
    folder: Path,
    *,
    is_quick: bool,
    base_model: str | None,
) -> Material:
    """Return texts, and unless it is to be quick rows and model, for the replay."""
    from ml.attribution.verify import Material

    question, answer = (stored.details.get(name) for name in ("question", "answer"))
    texts: dict[str, Any] = {
        "question": question if isinstance(question, str) else None,
        "answer": answer if isinstance(answer, str) else None,
    }
    if is_quick:
        return Material(**texts)
    from ml.adapters.validation import load_adapter
    from ml.attribution.index import QuerySketcher
    from ml.attribution.sketch import load_moments
    from ml.base.base import content_hash, load_base
    from ml.jobs.inputs import read_job_rows

    receipt = stored.signed.receipt
    spec, trained, seed = _training(client, receipt)
    _write_rows(client, spec, folder)
    rows = read_job_rows(folder)
    if content_hash(base_model) != spec.base:
        output.note(
            f"The base model here is not the trained one (0x{spec.base.hex()}), so no gradient is "
            "run again. Name the folder of that one with --base-model."
        )
        return Material(**texts, rows=rows.rows, contributors=rows.contributors)
    model, tokenizer = load_base(base_model)
    wrapped = load_adapter(client.blobs.download(receipt.adapter), spec.recipe, model)
    moments = load_moments(client.blobs.download(trained.moments))
    sketcher = QuerySketcher(
        wrapped, tokenizer, moments, seed, indexed.sketch_size, spec.recipe.max_tokens
    )
    return Material(
        **texts,
        tokenizer=tokenizer,
        max_tokens=spec.recipe.max_tokens,
        sketcher=sketcher,
        rows=rows.rows,
        contributors=rows.contributors,
    )


def _training(client: Client, receipt: Receipt) -> tuple[Train, Trained, bytes]:
    """Return the training behind a receipt and the seed of its sketches, from the chain."""
    train = client.api("JobsApi_job", receipt.train_job)
    index = client.api("JobsApi_job", receipt.index_job)
    trained = client.api("JobsApi_output", receipt.train_job)
    if train is None or index is None or index.seed is None or not isinstance(trained, Trained):
        raise RequestRefusedError(
            f"The jobs behind this receipt ({receipt.train_job} and {receipt.index_job}) are not "
            "on the chain. Verify it with --quick, or ask an archive node."
        )
    assert isinstance(train.spec, Train), "a receipt names its training job"
    return train.spec, trained, bytes(index.seed)


def _write_rows(client: Client, spec: Train, folder: Path) -> None:
    """Lay out the batches that the training read, as its executor had them."""
    batches = tuple(batch for use in spec.datanets for batch in _batches(client, use))
    for batch in batches:
        (folder / batch.blob.hex()).write_bytes(client.blobs.download(batch.blob))
    (folder / "rows.scale").write_bytes(codec(RowsInput).encode(RowsInput(batches)))


def _batches(client: Client, use: Any) -> Iterator[BatchInput]:
    version = client.api("DatanetsApi_version", use.datanet, use.version)
    for start in range(0, version.batches, PAGE):
        count = min(PAGE, version.batches - start)
        for info in client.api("DatanetsApi_accepted_batches", use.datanet, start, count):
            batch = info.batch
            yield BatchInput(use.datanet, info.number, batch.contributor, batch.blob, batch.rows)


def _decoded(text: str) -> SignedReceipt:
    return codec(SignedReceipt).decode(bytes.fromhex(text.removeprefix("0x")))
