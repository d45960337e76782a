from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

from ml.base.base import load_base
from ml.base.pretraining import pretrain
from ml.base.pretraining.corpus import Document
from ml.base.pretraining.pretrain import (
    Stream,
    learning_rate_scale,
    parse_settings,
    training_batches,
)


def test_batches_go_on_where_a_cut_run_stopped(tmp_path: Path) -> None:
    stream = Stream(numpy.arange(20_000, dtype=numpy.uint16), numpy.zeros(1, numpy.uint16), 1)
    settings = parse_settings(["--output", str(tmp_path), "--batch-rows", "4"])
    whole = training_batches(stream, settings, 0)
    first = [next(whole) for _ in range(25)]
    rest = training_batches(stream, settings, 20)
    for batch in first[20:]:
        assert torch.equal(batch, next(rest))
    assert first[0].shape == (4, 513)


def test_the_learning_rate_ends_near_zero() -> None:
    assert learning_rate_scale(0, 0.0, 60) == pytest.approx(1 / 60)
    assert learning_rate_scale(60, 0.0, 60) == pytest.approx(1)
    assert learning_rate_scale(999, 1.0, 60) == pytest.approx(0.02)


def test_a_small_run_saves_a_usable_model_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The quick brown fox jumps over the lazy dog and number {} runs away again. " * 8
    documents = [Document("a", f"f{i}()", text.format(*range(i, i + 8)), i < 9) for i in range(60)]
    monkeypatch.setattr(pretrain, "corpus_documents", lambda _: iter(documents))
    monkeypatch.setattr(pretrain, "VOCABULARY_SIZE", 300)
    monkeypatch.setattr(pretrain, "CONTEXT_TOKENS", 32)
    arguments = ["--output", str(tmp_path), "--batch-rows", "2", "--warmup-steps", "1"]
    threads = torch.get_num_threads()
    assert pretrain.main([*arguments, "--tokens", "128"]) == 0
    assert pretrain.main([*arguments, "--tokens", "256"]) == 0
    torch.set_num_threads(threads)
    assert '"steps": 4' in (tmp_path / "figures.json").read_text()
    model, tokenizer = load_base(str(tmp_path))
    assert tokenizer("<|user|>").input_ids == [2]
    assert model.config.max_position_embeddings == 32
