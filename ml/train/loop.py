"""Train a LoRA adapter: equal rows, recipe and profile give equal bytes, crash or no crash.

The loop does not know jobs or chains. Per step: take the batch that the hashes decide, sum the loss
over its micro-batches, clip, AdamW, hash the state into the trace. Learning rate: linear warm-up,
then linear decay to zero. It stops with a named error when the loss is not finite or diverges.

Equal bytes need one order of every sum, so three faster ways are refused: fused attention kernels,
AdamW over lists of tensors (foreach, fused), and a norm over lists of tensors. `ml.train.profile`
fixes what the process decides: threads, instruction set, deterministic kernels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.adapters.lora import (
    RecipeRefusedError,
    adapter_bytes,
    attached_lora,
    lora_parameters,
    tensors_bytes,
)
from ml.rows.row import Row, row_hash
from ml.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ml.train.data import Example, Split, batch_id, collate, epoch_batches, prepare
from ml.train.loss import MICRONATS, evaluate_examples, padding_id, summed_loss
from ml.train.trace import state_hash, trace_leaf
from runtime.codec.scale import codec
from runtime.shared.documents import CURVE_EVALUATIONS, Recipe
from runtime.trie.merkle import blob_id, merkle_root
from runtime.types.primitives import Hash

NANO: Final = 1_000_000_000
ADAM_BETAS: Final = (0.9, 0.999)
ADAM_EPSILON: Final = 1e-8
GRADIENT_NORM_MAX: Final = 1.0
STEPS_MAX: Final = 1_000_000
DIVERGENCE_FACTOR: Final = 3.0
DIVERGENCE_WINDOW: Final = 10


class TrainingDivergedError(Exception):
    """The loss or the gradient is not finite, or the loss rose far above its first values.

    `step` is the step at which it did, counted from 1: the same on every machine of a profile.
    """

    def __init__(self, step: int, message: str) -> None:
        super().__init__(message)
        self.step = step


class TrainingCancelledError(Exception):
    """A progress callback stopped the training; it can be resumed from the last checkpoint."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The argument of a callback after a step; losses in micro-nats per token."""

    step: int
    steps: int
    loss_micronats: int
    held_out_micronats: int | None
    resumed: bool


@dataclass(frozen=True, slots=True)
class TrainReport:
    """The outcome of a training; losses in micro-nats per token, None without held-out rows."""

    adapter: bytes
    adapter_hash: Hash
    moments: bytes
    moments_hash: Hash
    trace_leaves: tuple[bytes, ...]
    trace_root: Hash
    steps: int
    step_losses_micronats: tuple[int, ...]
    held_out_curve: tuple[tuple[int, int], ...]
    rows_trained: int
    rows_held_out: int
    base_loss_micronats: int | None
    adapter_loss_micronats: int | None


@dataclass(slots=True)
class _Run:
    """The state of one training."""

    recipe: Recipe
    split: Split
    steps: int
    padding: int
    wrapped: PeftModel
    optimizer: torch.optim.AdamW
    identity: bytes
    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, int]] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return lora_parameters(self.wrapped)


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    recipe: Recipe,
    *,
    work_folder: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    context: bytes = b"",
    device: str | None = None,
) -> TrainReport:
    """Train an adapter on rows and leave the model as it was.

    With a work folder the training saves a checkpoint there every `checkpoint_steps` and resumes
    from it; `context` (job, base, profile) distinguishes the checkpoints of other runs.

    Raises RowsTooFewError, RecipeRefusedError, TrainingDivergedError, CheckpointForeignError,
    CheckpointUnreadableError, and every error of the progress callback.
    """
    check_recipe(recipe)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model.to(chosen)  # type: ignore[arg-type]
    model.set_attn_implementation("eager")  # Fused kernels add in other orders on other machines.
    split = prepare(rows, tokenizer, recipe)
    padding = padding_id(tokenizer)
    base_loss = evaluate_examples(model, split.held_out, padding) if split.held_out else None
    with attached_lora(model, recipe) as wrapped:
        run = _Run(
            recipe=recipe,
            split=split,
            steps=planned_steps(len(split.training), recipe),
            padding=padding,
            wrapped=wrapped,
            optimizer=build_optimizer(wrapped, recipe),
            identity=run_identity(rows, recipe, context),
        )
        resumed = _resume(run, work_folder)
        _train_steps(run, model, work_folder, progress=progress, resumed=resumed)
        final = evaluate_examples(model, split.held_out, padding) if split.held_out else None
        return _report(run, base_loss, final)


def check_recipe(recipe: Recipe) -> None:
    """Refuse settings that no training can use. Raises RecipeRefusedError."""
    if recipe.batch_rows < 1 or recipe.micro_batch_rows < 1 or recipe.checkpoint_steps < 1:
        raise RecipeRefusedError(
            "batch_rows, micro_batch_rows and checkpoint_steps must be at least 1."
        )
    if recipe.max_tokens < 4:
        raise RecipeRefusedError("max_tokens must be at least 4; 192 suits short documentation.")
    if recipe.dropout_permille >= 1000 or recipe.evaluation_permille >= 1000:
        raise RecipeRefusedError("dropout_permille and evaluation_permille must be below 1000.")
    if recipe.epochs < 1 and recipe.max_steps < 1:
        raise RecipeRefusedError("Set epochs or max_steps; both are 0.")


def planned_steps(training_rows: int, recipe: Recipe) -> int:
    """Return the number of steps of the whole training. Raises RecipeRefusedError."""
    per_epoch = math.ceil(training_rows / recipe.batch_rows)
    steps = recipe.max_steps or recipe.epochs * per_epoch
    if steps > STEPS_MAX:
        raise RecipeRefusedError(f"{steps} steps exceed {STEPS_MAX}; train fewer epochs.")
    return steps


def run_identity(rows: Sequence[Row], recipe: Recipe, context: bytes) -> bytes:
    """Return the hash that binds a checkpoint to its rows, recipe and context."""
    digest = hashlib.blake2b(codec(Recipe).encode(recipe), digest_size=32)
    digest.update(len(context).to_bytes(4, "little") + context)
    for row in rows:
        digest.update(row_hash(row))
    return digest.digest()


def build_optimizer(wrapped: PeftModel, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW over the LoRA parameters in key order, one tensor at a time.

    foreach and fused kernels group tensors differently from version to version and device to
    device; the LoRA tensors are small, so the plain loop costs little.
    """
    return torch.optim.AdamW(
        list(lora_parameters(wrapped).values()),
        lr=recipe.learning_rate_nano / NANO,
        betas=ADAM_BETAS,
        eps=ADAM_EPSILON,
        weight_decay=recipe.weight_decay_nano / NANO,
        foreach=False,
        fused=False,
    )


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Return the learning rate of a step, counted from 0."""
    peak = recipe.learning_rate_nano / NANO
    warmup = min(recipe.warmup_steps, steps // 2)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / (steps - warmup)


def _train_steps(
    run: _Run,
    model: PreTrainedModel,
    work_folder: Path | None,
    *,
    progress: Callable[[Progress], None] | None,
    resumed: bool,
) -> None:
    per_epoch = math.ceil(len(run.split.training) / run.recipe.batch_rows)
    batches: list[tuple[Example, ...]] = []
    epoch = -1
    measure_each = max(1, math.ceil(run.steps / CURVE_EVALUATIONS))
    for step in range(len(run.losses), run.steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            batches = epoch_batches(run.split.training, run.recipe, epoch)
        _train_step(run, model, step, batches[step % per_epoch])
        held_out: int | None = None
        if run.split.held_out and (step + 1) % measure_each == 0 and step + 1 < run.steps:
            held_out = evaluate_examples(model, run.split.held_out, run.padding)
            run.evaluations.append((step + 1, held_out))
        if work_folder is not None and (step + 1) % run.recipe.checkpoint_steps == 0:
            save_checkpoint(work_folder, _checkpoint(run))
        if progress is not None:
            progress(
                Progress(
                    step=step + 1,
                    steps=run.steps,
                    loss_micronats=round(run.losses[-1] * MICRONATS),
                    held_out_micronats=held_out,
                    resumed=resumed,
                )
            )


def _train_step(
    run: _Run, model: PreTrainedModel, step: int, examples: tuple[Example, ...]
) -> None:
    # Dropout draws from a generator that is seeded for each step: a resume needs none of its state.
    mixed = hashlib.blake2b(
        run.recipe.seed.to_bytes(8, "little") + step.to_bytes(4, "little"), digest_size=8
    ).digest()
    torch.manual_seed(int.from_bytes(mixed, "little") >> 1)
    model.train()
    size = run.recipe.micro_batch_rows
    parts = [
        collate(examples[i : i + size], run.padding, model.device)
        for i in range(0, len(examples), size)
    ]
    tokens = sum(part.target_tokens for part in parts)
    loss = 0.0
    for part in parts:
        scaled = summed_loss(model, part) / tokens  # scalar: this part's share of the mean
        scaled.backward()  # type: ignore[no-untyped-call]
        # Added up as a Python float: float64 and in one order, whatever the device.
        loss += float(scaled.detach())
    parameters = list(run.parameters.values())
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM_MAX, foreach=False))
    _refuse_divergence(run, step, loss, norm)
    # Set from the step's number and not by a scheduler, which would be one more state to save.
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(step, run.steps, run.recipe)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.losses.append(loss)
    run.leaves.append(
        trace_leaf(
            step=step,
            state=state_hash(_state(run)),
            loss=loss,
            gradient_norm=norm,
            batch=batch_id(examples),
        )
    )


def _refuse_divergence(run: _Run, step: int, loss: float, norm: float) -> None:
    advice = "lower the learning rate or add warm-up steps"
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TrainingDivergedError(
            step + 1, f"Step {step + 1} has loss {loss} and gradient {norm}; {advice}."
        )
    # Means of windows: a single batch of unusual rows is no divergence.
    recent = run.losses[-DIVERGENCE_WINDOW:]
    if len(run.losses) >= 2 * DIVERGENCE_WINDOW:
        began = sum(run.losses[:DIVERGENCE_WINDOW]) / DIVERGENCE_WINDOW
        if sum(recent) / len(recent) > DIVERGENCE_FACTOR * began + 1:
            message = f"The loss ran away by step {step + 1}; {advice}."
            raise TrainingDivergedError(step + 1, message)


def _moments(run: _Run, kind: str) -> dict[str, torch.Tensor]:
    """Return AdamW's moments of one kind by the keys and in the shapes of the LoRA parameters."""
    state = run.optimizer.state
    return {name: state[p][kind] for name, p in run.parameters.items() if p in state}


def _state(run: _Run) -> dict[str, torch.Tensor]:
    groups: dict[str, Mapping[str, torch.Tensor]] = {
        "adapter": run.parameters,
        "first": _moments(run, "exp_avg"),
        "second": _moments(run, "exp_avg_sq"),
    }
    return {
        f"{group}/{name}": tensor
        for group, members in groups.items()
        for name, tensor in members.items()
    }


def _checkpoint(run: _Run) -> Checkpoint:
    return Checkpoint(
        identity=run.identity,
        step=len(run.losses),
        adapter=run.parameters,
        first_moments=_moments(run, "exp_avg"),
        second_moments=_moments(run, "exp_avg_sq"),
        losses=tuple(run.losses),
        evaluations=tuple(run.evaluations),
        leaves=tuple(run.leaves),
    )


def _resume(run: _Run, work_folder: Path | None) -> bool:
    """Load the work folder's checkpoint into the run; return whether there was one."""
    if work_folder is None:
        return False
    work_folder.mkdir(parents=True, exist_ok=True)
    saved = load_checkpoint(work_folder, run.identity)
    if saved is None:
        return False
    for name, parameter in run.parameters.items():
        with torch.no_grad():
            parameter.copy_(saved.adapter[name])
        run.optimizer.state[parameter] = {
            "step": torch.tensor(float(saved.step)),
            "exp_avg": saved.first_moments[name].to(parameter.device),
            "exp_avg_sq": saved.second_moments[name].to(parameter.device),
        }
    run.losses.extend(saved.losses)
    run.evaluations.extend(saved.evaluations)
    run.leaves.extend(saved.leaves)
    return True


def _report(run: _Run, base_loss: int | None, adapter_loss: int | None) -> TrainReport:
    adapter = adapter_bytes(run.wrapped)
    moments = tensors_bytes(_moments(run, "exp_avg_sq"))
    curve = list(run.evaluations)
    if base_loss is not None and adapter_loss is not None:
        curve = [(0, base_loss), *curve, (run.steps, adapter_loss)]
    return TrainReport(
        adapter=adapter,
        adapter_hash=blob_id(adapter),
        moments=moments,
        moments_hash=blob_id(moments),
        trace_leaves=tuple(run.leaves),
        trace_root=merkle_root(run.leaves),
        steps=run.steps,
        step_losses_micronats=tuple(round(loss * MICRONATS) for loss in run.losses),
        held_out_curve=tuple(curve),
        rows_trained=len(run.split.training),
        rows_held_out=len(run.split.held_out),
        base_loss_micronats=base_loss,
        adapter_loss_micronats=adapter_loss,
    )
