from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from ml.base.base import SHIPPED_NAME, BaseTokenizerUnusableError, load_base
from ml.base.content import (
    SHIPPED_FOLDER,
    BaseNotFoundError,
    BaseWithoutSafetensorsError,
    content_hash,
)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def test_the_shipped_base_is_small_and_complete() -> None:
    model, tokenizer = load_base()
    assert 3_000_000 <= sum(p.numel() for p in model.parameters()) <= 5_000_000
    assert (SHIPPED_FOLDER / "model.safetensors").stat().st_size <= 12 << 20
    assert len(tokenizer) == model.config.vocab_size == 4096
    assert model.dtype == torch.float32
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_the_shipped_base_predicts_documentation_better_than_chance() -> None:
    model, tokenizer = load_base(SHIPPED_NAME)
    ids = tokenizer("Return the number of elements in the array.", return_tensors="pt").input_ids
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss
    assert float(loss) < 6.0, "uniform guessing would be 8.3 nats"


@pytest.mark.parametrize("text", ["naïve café\n\tx = 'é'", "\u2028 emoji 🎈 <|not special|>", "\0"])
def test_the_tokenizer_is_lossless(text: str) -> None:
    _, tokenizer = load_base()
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_a_chat_renders_to_one_token_per_role() -> None:
    _, tokenizer = load_base()
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == "<|user|>a<|assistant|>b<|end|>"
    opened = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert len(tokenizer(opened).input_ids) == 3


def test_the_figures_stand_beside_the_weights() -> None:
    figures = json.loads((SHIPPED_FOLDER / "figures.json").read_text())
    assert 0.5 < figures["held_out_bits_per_byte"] < 2.5


def test_the_content_hash_covers_weights_configuration_and_tokenizer(folder: Path) -> None:
    seen = {content_hash(folder)}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        path = folder / name
        path.write_bytes(path.read_bytes() + b" ")
        seen.add(content_hash(folder))
    assert len(seen) == 5


def test_the_content_hash_ignores_cards_and_scripts(folder: Path) -> None:
    before = content_hash(folder)
    (folder / "README.md").write_text("a card")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    assert content_hash(folder) == before


def test_a_new_weights_file_changes_the_content_hash(folder: Path) -> None:
    before = content_hash(folder)
    (folder / "extra.safetensors").write_bytes(b"")
    assert content_hash(folder) != before


def test_weights_that_can_run_code_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseWithoutSafetensorsError, match=r"pytorch_model\.bin"):
        load_base(str(folder))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseNotFoundError, match=r"config\.json"):
        load_base(str(tmp_path))
    with pytest.raises(BaseNotFoundError, match="does not exist"):
        load_base(str(tmp_path / "none"))


def test_code_in_the_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    load_base(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_without_an_end_is_refused(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(BaseTokenizerUnusableError):
        load_base(str(folder))
