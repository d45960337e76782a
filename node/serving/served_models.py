"""Models as this node serves them: adapter, attribution index and rows, loaded on first use.

The heavy work (torch, reading blobs, rebuilding clusters) happens in a worker thread. An adapter is
registered with the engine once; a bounded number of models stays loaded, the least recently used
one goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from ml.api.service import ModelUnknownError
from node.chain.state_reader import PalletViews, StateReader
from node.jobs.inputs import Inputs
from node.storage.blob_store import BlobStore
from pallets.models import Training
from runtime.shared.documents import Index, Indexed, Recipe, Train
from runtime.shared.receipts import Evidence
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from ml.attribution.index import AttributionIndex, QuerySketcher
    from ml.engine.builtin import BuiltinEngine
    from ml.jobs.inputs import JobRows

MODELS_LOADED_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Release:
    """What of a model is served: its training, its index and the recipe behind both."""

    model: int
    base: Hash
    train_job: int
    index_job: int
    adapter: Hash
    moments: Hash
    recipe: Recipe
    indexed: Indexed
    seed: Hash


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model."""

    release: Release
    adapter_id: str
    index: AttributionIndex
    sketcher: QuerySketcher
    rows: JobRows
    tokenizer: PreTrainedTokenizerFast
    longest_token_bytes: int

    def evidence(self, question: str, answer: str) -> Evidence:
        """Return what shaped an answer; nothing shapes an empty one."""
        from ml.train.data import encode_text

        if not answer:
            return Evidence(bytes(self.release.indexed.sketch_size), (), (), (), 0)
        phi = self.sketcher.sketch(question, answer)
        top = self.index.top(phi)
        spans = self.index.spans(encode_text(answer, self.tokenizer))
        return Evidence(
            phi=phi,
            top=top,
            spans=spans,
            retrieved=(),
            remainder_permille=self.index.remainder_permille(phi, top),
        )


def release_of(reader: StateReader, model: int) -> Release:
    """Return what of a model is to be served now. Raises ModelUnknownError."""
    with reader.at() as state:
        record = state.models.get(model)
        if record is None or record.is_retired:
            raise ModelUnknownError(f"The model '{model}' does not exist.")
        training = record.answering
        if training is None:
            raise ModelUnknownError(f"The model '{record.name}' is not trained and indexed yet.")
        return _release(state, model, training)


def _release(state: PalletViews, model: int, training: Training) -> Release:
    assert training.index_job is not None, "checked"
    jobs = state.jobs.jobs
    train, index = jobs.get(training.train_job), jobs.get(training.index_job)
    recorded = state.attribution.recorded_index(training.index_job)
    if train is None or index is None or index.seed is None or recorded is None:
        raise ModelUnknownError(f"The jobs of the model '{model}' are not on this chain any more.")
    assert isinstance(train.spec, Train), "a train job has a train spec"
    assert isinstance(index.spec, Index), "an index job has an index spec"
    return Release(
        model=model,
        base=train.spec.base,
        train_job=training.train_job,
        index_job=training.index_job,
        adapter=training.trained.adapter,
        moments=training.trained.moments,
        recipe=train.spec.recipe,
        indexed=recorded.indexed,
        seed=index.seed,
    )


class ServedModels:
    """The models that are loaded."""

    def __init__(
        self, reader: StateReader, blobs: BlobStore, inputs: Inputs, folder: Path, base_model: str
    ) -> None:
        self._reader = reader
        self._blobs = blobs
        self._inputs = inputs
        self._folder = folder
        self._base_model = base_model or None
        self._loaded: OrderedDict[int, ServedModel] = OrderedDict()
        self._lock = trio.Lock()
        self._thread_lock = threading.Lock()
        self._base_hash: bytes | None = None
        """The content hash of the base's files, once they are loaded."""
        self.engine: BuiltinEngine | None = None

    async def start(self, nursery: trio.Nursery) -> BuiltinEngine:
        """Load the base and start the engine, once."""
        async with self._lock:
            if self.engine is None:
                engine = await trio.to_thread.run_sync(self._load_base)
                # The installed stubs of trio are older than trio.
                await nursery.start(engine.run)  # type: ignore[arg-type]
                self.engine = engine
            return self.engine

    async def get(self, model: int) -> ServedModel:
        """Return a model, loading it first where needed; the base is started before.

        Raises ModelUnknownError, which includes models on another base than this node's: an adapter
        fits any base of its shape, and its answers and evidence would be wrong.
        """
        release = release_of(self._reader, model)
        assert self._base_hash is not None, "started"
        if release.base != self._base_hash:
            raise ModelUnknownError(
                f"The model '{model}' stands on the base 0x{release.base.hex()}, and this node "
                f"serves 0x{self._base_hash.hex()}. Ask a node that has it."
            )
        async with self._lock:
            found = self._loaded.get(model)
            if found is not None and found.release == release:
                self._loaded.move_to_end(model)
                return found
            loaded = await trio.to_thread.run_sync(self._load, release)
            await self._register(loaded)
            self._loaded[model] = loaded
            self._loaded.move_to_end(model)
            while len(self._loaded) > MODELS_LOADED_MAX:
                self._loaded.popitem(last=False)
            return loaded

    async def _register(self, loaded: ServedModel) -> None:
        assert self.engine is not None, "started"
        if loaded.adapter_id not in self.engine.adapters():
            adapter = await trio.to_thread.run_sync(self._inputs.read, loaded.release.adapter)
            await self.engine.register(loaded.adapter_id, adapter, loaded.release.recipe)

    def _load_base(self) -> BuiltinEngine:
        from ml.base.base import content_hash, load_base
        from ml.engine.builtin import BuiltinEngine

        self._base_hash = content_hash(self._base_model)
        model, _ = load_base(self._base_model)
        return BuiltinEngine(model)

    def _load(self, release: Release) -> ServedModel:
        from ml.adapters.validation import load_adapter
        from ml.attribution.index import QuerySketcher, load_index
        from ml.attribution.sketch import load_moments
        from ml.base.base import load_base
        from ml.base.limits import longest_token_bytes
        from ml.jobs.inputs import read_job_rows

        with self._thread_lock:
            model, tokenizer = load_base(self._base_model)
            wrapped = load_adapter(self._inputs.read(release.adapter), release.recipe, model)
            sketcher = QuerySketcher(
                wrapped,
                tokenizer,
                load_moments(self._inputs.read(release.moments)),
                bytes(release.seed),
                release.indexed.sketch_size,
                release.recipe.max_tokens,
            )
            index = load_index(release.indexed, self._inputs.read)
            inputs = self._folder / str(release.index_job)
            spec = Index(release.model, release.train_job, release.indexed.sketch_size)
            self._inputs.prepare(spec, inputs)
            rows = read_job_rows(inputs)
        return ServedModel(
            release=release,
            adapter_id=release.adapter.hex(),
            index=index,
            sketcher=sketcher,
            rows=rows,
            tokenizer=tokenizer,
            longest_token_bytes=longest_token_bytes(tokenizer),
        )
