from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.adapters.lora import RecipeRefusedError, lora_parameters
from ml.adapters.validation import load_adapter
from ml.rows.row import Row, row_hash
from ml.train.checkpoint import CHECKPOINT_NAME, CheckpointForeignError, CheckpointUnreadableError
from ml.train.curve import curve_lines
from ml.train.data import RowsTooFewError, held_out_rows
from ml.train.loop import Progress, TrainingDivergedError, TrainReport, learning_rate, train
from ml.train.loss import evaluate
from runtime.shared.documents import Recipe
from runtime.trie.merkle import blob_id, merkle_root

Base = tuple[PreTrainedModel, PreTrainedTokenizerFast]

RECIPE = Recipe(
    learning_rate_nano=20_000_000,
    max_steps=8,
    batch_rows=8,
    micro_batch_rows=4,
    rank=2,
    alpha=4,
    dropout_permille=100,
    max_tokens=64,
    warmup_steps=2,
    seed=11,
    evaluation_permille=150,
    checkpoint_steps=3,
)


class TrainingStoppedError(Exception):
    """The test interrupts a training with this."""


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tiny_rows: list[Row]) -> TrainReport:
    from ml.base.base import load_base

    return train(*load_base(str(tiny_folder)), tiny_rows, RECIPE)


def test_the_same_rows_and_recipe_give_the_same_adapter_bytes(
    whole: TrainReport, tiny_base: Base, tiny_rows: list[Row]
) -> None:
    again = train(*tiny_base, tiny_rows, RECIPE)
    assert again.adapter == whole.adapter
    assert again == whole


def test_a_training_cut_in_the_middle_resumes_to_the_same_bits(
    whole: TrainReport, tiny_base: Base, tiny_rows: list[Row], tmp_path: Path
) -> None:
    def cut(progress: Progress) -> None:
        if progress.step == 5:
            raise TrainingStoppedError

    with pytest.raises(TrainingStoppedError):
        train(*tiny_base, tiny_rows, RECIPE, work_folder=tmp_path, progress=cut)
    seen: list[Progress] = []
    resumed = train(*tiny_base, tiny_rows, RECIPE, work_folder=tmp_path, progress=seen.append)
    assert [p.step for p in seen] == [4, 5, 6, 7, 8]
    assert all(p.resumed for p in seen)
    assert resumed == whole


def test_training_lowers_the_held_out_loss(whole: TrainReport) -> None:
    assert whole.base_loss_micronats is not None
    assert whole.adapter_loss_micronats is not None
    assert whole.adapter_loss_micronats < whole.base_loss_micronats


def test_the_report_hashes_its_own_files(whole: TrainReport) -> None:
    assert whole.adapter_hash == blob_id(whole.adapter)
    assert whole.moments_hash == blob_id(whole.moments)
    assert whole.trace_root == merkle_root(whole.trace_leaves)
    assert len(whole.trace_leaves) == whole.steps == len(whole.step_losses_micronats) == 8


def test_second_moments_have_the_adapter_s_keys_and_shapes(
    whole: TrainReport, tiny_base: Base
) -> None:
    from safetensors.torch import load

    adapter, moments = load(whole.adapter), load(whole.moments)
    assert {k: v.shape for k, v in adapter.items()} == {k: v.shape for k, v in moments.items()}
    assert all(bool((v >= 0).all()) for v in moments.values())


def test_the_reported_adapter_loss_is_that_of_the_loaded_file(
    whole: TrainReport, tiny_base: Base, tiny_rows: list[Row]
) -> None:
    model, tokenizer = tiny_base
    model.set_attn_implementation("eager")
    numbers = held_out_rows([row_hash(row) for row in tiny_rows], RECIPE.evaluation_permille)
    measured = [tiny_rows[n] for n in sorted(numbers)]
    assert evaluate(model, tokenizer, measured, RECIPE.max_tokens) == whole.base_loss_micronats
    load_adapter(whole.adapter, RECIPE, model)
    assert evaluate(model, tokenizer, measured, RECIPE.max_tokens) == whole.adapter_loss_micronats


def test_training_leaves_the_base_as_it_was(tiny_base: Base, tiny_rows: list[Row]) -> None:
    model, tokenizer = tiny_base
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, tokenizer, tiny_rows, replace(RECIPE, max_steps=1))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_seed_gives_another_adapter(
    whole: TrainReport, tiny_base: Base, tiny_rows: list[Row]
) -> None:
    other = train(*tiny_base, tiny_rows, replace(RECIPE, seed=12))
    assert other.adapter_hash != whole.adapter_hash


def test_a_checkpoint_of_another_recipe_is_refused(
    tiny_base: Base, tiny_rows: list[Row], tmp_path: Path
) -> None:
    train(*tiny_base, tiny_rows, replace(RECIPE, max_steps=3), work_folder=tmp_path)
    with pytest.raises(CheckpointForeignError, match="another training"):
        train(*tiny_base, tiny_rows, RECIPE, work_folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(
    tiny_base: Base, tiny_rows: list[Row], tmp_path: Path
) -> None:
    train(*tiny_base, tiny_rows, replace(RECIPE, max_steps=3), work_folder=tmp_path)
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointUnreadableError, match="start the training again"):
        train(*tiny_base, tiny_rows, replace(RECIPE, max_steps=3), work_folder=tmp_path)


def test_a_loss_that_is_no_number_stops_the_training(tiny_base: Base, tiny_rows: list[Row]) -> None:
    model, tokenizer = tiny_base
    with torch.no_grad():
        next(iter(model.parameters()))[5] = float("inf")
    with pytest.raises(TrainingDivergedError, match="learning rate") as diverged:
        train(model, tokenizer, tiny_rows, replace(RECIPE, evaluation_permille=0))
    assert diverged.value.step == 1


def test_a_target_that_the_base_lacks_is_refused(tiny_base: Base, tiny_rows: list[Row]) -> None:
    with pytest.raises(RecipeRefusedError, match="c_attn"):
        train(*tiny_base, tiny_rows, replace(RECIPE, targets=("c_attn",)))


def test_settings_without_a_step_are_refused(tiny_base: Base, tiny_rows: list[Row]) -> None:
    with pytest.raises(RecipeRefusedError, match="epochs"):
        train(*tiny_base, tiny_rows, replace(RECIPE, epochs=0, max_steps=0))


def test_no_rows_are_too_few(tiny_base: Base) -> None:
    with pytest.raises(RowsTooFewError):
        train(*tiny_base, [], RECIPE)


def test_micro_batches_change_only_rounding(
    whole: TrainReport, tiny_base: Base, tiny_rows: list[Row]
) -> None:
    recipe = replace(RECIPE, max_steps=1, dropout_permille=0)
    split = train(*tiny_base, tiny_rows, recipe)
    joint = train(*tiny_base, tiny_rows, replace(recipe, micro_batch_rows=8))
    assert abs(split.step_losses_micronats[0] - joint.step_losses_micronats[0]) <= 5


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(step, 8, RECIPE) for step in range(8)]
    assert rates[0] < rates[1] == rates[2] == 0.02
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] > 0


def test_the_curve_has_a_line_per_step_and_begins_with_the_base(whole: TrainReport) -> None:
    lines = curve_lines(whole).splitlines()
    assert len(lines) == 9
    assert lines[0] == f'{{"step": 0, "held_out_micronats": {whole.base_loss_micronats}}}'
    assert '"loss_micronats"' in lines[-1]
    assert f'"held_out_micronats": {whole.adapter_loss_micronats}' in lines[-1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_training_repeats_itself_bit_by_bit(tiny_base: Base, tiny_rows: list[Row]) -> None:
    first = train(*tiny_base, tiny_rows, RECIPE, device="cuda")
    assert train(*tiny_base, tiny_rows, RECIPE, device="cuda").adapter == first.adapter


def test_lora_parameters_are_gone_after_training(tiny_base: Base, tiny_rows: list[Row]) -> None:
    model, tokenizer = tiny_base
    train(model, tokenizer, tiny_rows, replace(RECIPE, max_steps=1))
    assert not lora_parameters(model)  # type: ignore[arg-type]
