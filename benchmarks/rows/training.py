"""LoRA training, beside transformers' Trainer with PEFT under the same settings.

A model of the shape of the shipped base with random weights: speed does not depend on them. Both
sides see the same encoded rows, the same batch and rank, AdamW at the same rate, clipping at 1,
float32, one thread, rows of like length together. Neither evaluates or writes checkpoints. Ours
also hashes its whole state into the trace after every step.
"""

from __future__ import annotations

import contextlib
import copy
import io
import random
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from benchmarks.figures import CannotRunError, Effort, Figure, Measured, version_of
from benchmarks.timing import interleaved, median_ratio, medians
from ml.rows.row import Row
from ml.train.data import IGNORED, Example, collate, encode_row
from ml.train.loop import train
from ml.train.loss import padding_id
from runtime.shared.documents import Recipe

WORK: Final = "train a LoRA adapter: tokens a CPU second, and the same bytes from two runs"
GOAL: Final = 1.0
SEED: Final = 3
WORDS: Final = (
    "state",
    "trie",
    "node",
    "proof",
    "block",
    "signs",
    "a",
    "the",
    "of",
    "and",
    "key",
    "root",
)


def run(effort: Effort) -> Measured:
    """Train the same rows in turns."""
    rows_count, repeats = effort.pick((384, 3), (64, 1), (4, 1))
    small = effort is Effort.SMOKE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(rows_count, repeats, small)
    finally:
        torch.set_num_threads(threads)


def _measure(rows_count: int, repeats: int, small: bool) -> Measured:
    tokenizer, model = _tokenizer(), _model(small)
    recipe = Recipe(evaluation_permille=0, seed=SEED, batch_rows=4 if small else 16)
    rows = _rows(rows_count)
    examples = [encode_row(row, tokenizer, recipe.max_tokens, at) for at, row in enumerate(rows)]
    tokens = sum(len(example.ids) for example in examples)
    # Its copy is taken before ours runs: training sets the model to eager attention.
    trainer = _TrainerRun(copy.deepcopy(model), examples, recipe, padding_id(tokenizer))
    adapters: list[bytes] = []

    def ours() -> None:
        adapters.append(train(model, tokenizer, rows, recipe).adapter)

    started, cpu_started = time.perf_counter(), time.process_time()
    ours()
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    samples = interleaved({"ours": ours, "theirs": trainer.run}, repeats, warm=not small)
    if len(set(adapters)) != 1:
        raise CannotRunError("Two runs of ours gave different adapters: the comparison is void.")
    per_second = {name: tokens / seconds for name, seconds in medians(samples).items()}
    other = f"{version_of('transformers')} Trainer + {version_of('peft')}"
    return Measured(
        (
            Figure(
                "LoRA training",
                ours=per_second["ours"],
                unit="tokens/s",
                other=other,
                theirs=per_second["theirs"],
                ratio=median_ratio(samples, "ours", "theirs"),
                goal=GOAL,
            ),
            Figure("runs with equal adapter bytes", len(adapters), f"of {len(adapters)}"),
        ),
        (
            f"{rows_count} rows, {tokens:,} tokens, {model.num_parameters():,} parameters, rank "
            f"{recipe.rank}, batch {recipe.batch_rows}, one thread; our first run took "
            f"{wall:.1f} s of wall clock for {cpu:.1f} s of CPU",
        ),
    )


class _TrainerRun:
    """transformers' Trainer over a copy of the model with PEFT's LoRA layers."""

    def __init__(
        self, model: LlamaForCausalLM, examples: Sequence[Example], recipe: Recipe, padding: int
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._padding = padding
        self._features: list[dict[str, Any]] = [
            {"input_ids": list(example.ids), "example": example} for example in examples
        ]

    def run(self) -> None:
        """Train one epoch."""
        recipe = self._recipe
        configuration = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=0.0,
            target_modules=list(recipe.targets),
            bias="none",
            task_type="CAUSAL_LM",
        )
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            tempfile.TemporaryDirectory() as folder,
        ):
            warnings.simplefilter("ignore")
            wrapped = get_peft_model(copy.deepcopy(self._model), configuration)
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=recipe.batch_rows,
                num_train_epochs=recipe.epochs,
                learning_rate=recipe.learning_rate_nano / 1e9,
                lr_scheduler_type="linear",
                warmup_steps=recipe.warmup_steps,
                weight_decay=0.0,
                max_grad_norm=1.0,
                optim="adamw_torch",
                train_sampling_strategy="group_by_length",
                remove_unused_columns=False,
                dataloader_num_workers=0,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                seed=SEED,
            )
            Trainer(
                model=wrapped,
                args=arguments,
                train_dataset=self._features,
                data_collator=self._collate,
            ).train()

    def _collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = collate([f["example"] for f in features], self._padding, torch.device("cpu"))
        assert int(batch.labels.min()) == IGNORED
        return {"input_ids": batch.ids, "attention_mask": batch.mask, "labels": batch.labels}


def _rows(count: int) -> list[Row]:
    source = random.Random(SEED)

    def text(words: int) -> str:
        return " ".join(source.choice(WORDS) for _ in range(words))

    return [Row(text(source.randint(3, 8)), text(source.randint(6, 24))) for _ in range(count)]


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes, so that nothing has to be downloaded."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0, **{letter: at + 1 for at, letter in enumerate(alphabet)}}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token="<end>", pad_token="<end>"
    )


def _model(small: bool) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512 if small else 4_096,
            hidden_size=16 if small else 256,
            intermediate_size=32 if small else 512,
            num_hidden_layers=1 if small else 4,
            num_attention_heads=2 if small else 4,
            num_key_value_heads=1 if small else 2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=0,
        )
    )
