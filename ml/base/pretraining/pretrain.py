"""Train the shipped base model from scratch: tokenizer, weights, held-out figure.

    python -m ml.base.pretraining.pretrain --output FOLDER [--tokens 16000000] [--threads 1]

Stages: corpus (ml.base.pretraining.corpus) -> byte-level BPE of 4,096 tokens -> one shuffled
token stream -> a Llama of about 3.4M parameters. A run may be killed at any moment: every few
minutes it saves a resumable state and a usable model, and the same command resumes from the state.
Hidden matrices are trained by Muon, embeddings and norms by AdamW: at this tiny token
budget that reaches a lower loss than AdamW for all tensors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ml.base.pretraining.chunked_loss import ChunkedCrossEntropy
from ml.base.pretraining.corpus import Document, corpus_documents, installed_packages_folder

PADDING: Final = "<|padding|>"
END: Final = "<|end|>"
USER: Final = "<|user|>"
ASSISTANT: Final = "<|assistant|>"
SPECIAL_TOKENS: Final = [PADDING, END, USER, ASSISTANT]
VOCABULARY_SIZE: Final = 4096
CONTEXT_TOKENS: Final = 512
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>"
    "{% else %}<|user|>{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SAVE_SECONDS: Final = 150.0
EVALUATION_WINDOWS: Final = 48


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a pre-training run; the same settings and corpus give the same batches."""

    output: Path
    tokens: int
    minutes: float
    threads: int
    seed: int
    batch_rows: int
    matrix_rate: float
    embedding_rate: float
    warmup_steps: int


@dataclass(frozen=True, slots=True)
class Stream:
    """The tokenized corpus: one flat training stream, one held-out stream and its size in bytes."""

    training: numpy.ndarray[tuple[int], numpy.dtype[numpy.uint16]]  # [tokens]
    held_out: numpy.ndarray[tuple[int], numpy.dtype[numpy.uint16]]  # [tokens]
    held_out_bytes: int


def main(arguments: list[str] | None = None) -> int:
    """Run the pre-training, or the rest of an interrupted run."""
    settings = parse_settings(arguments)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    settings.output.mkdir(parents=True, exist_ok=True)
    state_folder = settings.output / "state"
    state_folder.mkdir(exist_ok=True)
    stream = load_or_build_stream(state_folder, settings)
    model = LlamaForCausalLM(model_configuration())
    train(model, stream, settings, state_folder)
    return 0


def parse_settings(arguments: list[str] | None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.base.pretraining.pretrain", description=__doc__
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the model and its state"
    )
    parser.add_argument("--tokens", type=int, default=16_000_000, help="training tokens in all")
    parser.add_argument(
        "--minutes",
        type=float,
        default=1e9,
        help="end the schedule early, after this much training time",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=20_260_101)
    parser.add_argument(
        "--batch-rows", type=int, default=8, help=f"rows of {CONTEXT_TOKENS} tokens"
    )
    parser.add_argument("--matrix-rate", type=float, default=0.02)
    parser.add_argument("--embedding-rate", type=float, default=0.003)
    parser.add_argument("--warmup-steps", type=int, default=60)
    return Settings(**vars(parser.parse_args(arguments)))


def model_configuration() -> LlamaConfig:
    """Return the architecture: 4 layers of 256, 4 heads on 2 key-value heads, tied embeddings."""
    return LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        initializer_range=0.02,
    )


# --- text to tokens -------------------------------------------------------------------------------


def load_or_build_stream(folder: Path, settings: Settings) -> Stream:
    """Return the token streams, from the state folder if an earlier call built them."""
    path = folder / "stream.npz"
    if not path.exists():
        documents = list(corpus_documents(installed_packages_folder()))
        tokenizer = train_tokenizer(documents)
        save_tokenizer(tokenizer, settings.output)
        # Shuffled once here: windows of the stream would otherwise hold one package at a time.
        order = numpy.random.default_rng(settings.seed).permutation(len(documents))
        shuffled = [documents[index] for index in order]
        training = encode_documents(tokenizer, [d for d in shuffled if not d.held_out])
        held_out_documents = [d for d in shuffled if d.held_out]
        held_out = encode_documents(tokenizer, held_out_documents)
        size = sum(len((d.prompt + d.text).encode()) for d in held_out_documents)
        numpy.savez(path, training=training, held_out=held_out, held_out_bytes=size)
        report(
            f"corpus documents={len(documents)} training_tokens={len(training)} "
            f"held_out_tokens={len(held_out)} held_out_bytes={size}"
        )
    with numpy.load(path) as arrays:
        return Stream(arrays["training"], arrays["held_out"], int(arrays["held_out_bytes"]))


def train_tokenizer(documents: list[Document]) -> Tokenizer:
    """Train the byte-level BPE on the training documents: lossless on any UTF-8 text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (f"{d.prompt}\n{d.text}" for d in documents if not d.held_out)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and its transformers settings, chat template included."""
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(str(folder))


def encode_documents(
    tokenizer: Tokenizer, documents: list[Document]
) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.uint16]]:
    """Encode documents to one flat stream [tokens]; one with a prompt becomes a chat turn."""
    texts = [
        f"{USER}{d.prompt}{ASSISTANT}{d.text}{END}" if d.prompt else f"{d.text}{END}"
        for d in documents
    ]
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return numpy.concatenate([numpy.array(e.ids, dtype=numpy.uint16) for e in encodings])


# --- tokens to weights ----------------------------------------------------------------------------


def train(model: LlamaForCausalLM, stream: Stream, settings: Settings, state_folder: Path) -> None:
    """Train up to the token budget with a cosine schedule, saving every few minutes."""
    optimizers = build_optimizers(model, settings)
    steps = settings.tokens // (settings.batch_rows * CONTEXT_TOKENS)
    state_path = state_folder / "state.safetensors"
    first, spent = load_state(state_path, model, optimizers)
    batches = training_batches(stream, settings, first)
    started = saved = time.monotonic()
    smoothed, done_steps, elapsed = math.nan, first, spent
    for step in range(first, steps):
        elapsed = spent + time.monotonic() - started
        # By steps or by time, whichever ends first: the schedule must reach its end to be useful.
        progress = max(step / steps, elapsed / (60 * settings.minutes))
        if progress >= 1:
            break
        scale = learning_rate_scale(step, progress, settings.warmup_steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * scale
        loss = train_step(model, next(batches), optimizers)
        smoothed = loss if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * loss
        if step % 25 == 0:
            done = (step + 1 - first) * settings.batch_rows * CONTEXT_TOKENS
            rate = done / (time.monotonic() - started)
            report(f"{step=} {progress=:.3f} loss={smoothed:.4f} tokens_per_second={rate:.0f}")
        if time.monotonic() - saved > SAVE_SECONDS:
            save_state(state_path, model, optimizers, step=step + 1, seconds=elapsed)
            save_model(model, stream, settings, step=step + 1, windows=EVALUATION_WINDOWS)
            saved = time.monotonic()
        done_steps = step + 1
    save_state(state_path, model, optimizers, step=done_steps, seconds=elapsed)
    save_model(model, stream, settings, step=done_steps, windows=None)


def train_step(
    model: LlamaForCausalLM, batch: torch.Tensor, optimizers: list[torch.optim.Optimizer]
) -> float:
    """Run one step on a batch [batch, tokens + 1] and return its loss in nats per token."""
    with torch.autocast("cpu", torch.bfloat16):  # Weights stay float32; products run in bfloat16.
        outputs = model.model(input_ids=batch[:, :-1], use_cache=False)
        hidden = outputs.last_hidden_state.flatten(0, 1)  # [batch * tokens, hidden]
        hidden = hidden.to(torch.bfloat16)
        loss = ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, model.lm_head.weight, batch[:, 1:].flatten()
        )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.item())


def build_optimizers(model: LlamaForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    """Give hidden matrices to Muon and everything else to AdamW."""
    # Muon orthogonalises updates, which fits matrices that map hidden states; embeddings are tables
    # of rows, and norms have no second dimension.
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=settings.matrix_rate, weight_decay=0.02, momentum=0.95)
    adamw = torch.optim.AdamW(
        others, lr=settings.embedding_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return [muon, adamw]


def learning_rate_scale(step: int, progress: float, warmup_steps: int) -> float:
    """Rise linearly, then fall along a half cosine to 2 % of the peak."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def training_batches(stream: Stream, settings: Settings, first_step: int) -> Iterator[torch.Tensor]:
    """Yield batches [batch, tokens + 1]: each pass shifts the windows and shuffles them.

    A resumed run draws and skips the batches before `first_step`: the order then depends only on
    the seed, and no generator state has to be saved.
    """
    step = 0
    passes = 0
    while True:
        generator = numpy.random.default_rng((settings.seed, passes))
        # Each pass cuts the stream at other places, so that passes do not repeat the same windows.
        offset = int(generator.integers(CONTEXT_TOKENS))
        windows = (len(stream.training) - offset - 1) // CONTEXT_TOKENS
        order = generator.permutation(windows)
        for start in range(0, windows - settings.batch_rows + 1, settings.batch_rows):
            if step >= first_step:
                windows_tokens = [
                    stream.training[
                        (p := offset + int(w) * CONTEXT_TOKENS) : p + CONTEXT_TOKENS + 1
                    ]
                    for w in order[start : start + settings.batch_rows]
                ]
                # [batch, tokens + 1]
                yield torch.from_numpy(numpy.stack(windows_tokens).astype(numpy.int64))
            step += 1
        passes += 1


# --- saving and measuring -------------------------------------------------------------------------


def load_state(
    path: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer]
) -> tuple[int, float]:
    """Load the resumable state if there is one; return the steps done and the seconds spent."""
    if not path.exists():
        return 0, 0.0
    tensors = load_file(path)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors[f"model.{name}"])
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = next(n for n, p in named.items() if p is parameter)
                prefix = f"optimizer.{name}."
                optimizer.state[parameter] = {
                    key.removeprefix(prefix): tensors[key]
                    for key in tensors
                    if key.startswith(prefix)
                }
    return int(tensors["step"].item()), float(tensors["seconds"].item())


def save_state(
    path: Path,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    *,
    step: int,
    seconds: float,
) -> None:
    """Write weights, optimizer state and step atomically."""
    tensors = {"step": torch.tensor(step), "seconds": torch.tensor(seconds)}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value
    write_tensors(path, tensors)


def save_model(
    model: LlamaForCausalLM, stream: Stream, settings: Settings, *, step: int, windows: int | None
) -> None:
    """Write the usable model in bfloat16 and its current figures."""
    weights = {
        name: parameter.detach().to(torch.bfloat16).contiguous()
        for name, parameter in model.named_parameters()
        if name != "lm_head.weight"  # The same tensor as the embeddings.
    }
    write_tensors(settings.output / "model.safetensors", weights)
    model.config.dtype = torch.bfloat16
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(settings.output)
    nats = held_out_nats(model, stream, windows)
    tokens_per_byte = len(stream.held_out) / stream.held_out_bytes
    figures = {
        "steps": step,
        "tokens_seen": step * settings.batch_rows * CONTEXT_TOKENS,
        "training_stream_tokens": len(stream.training),
        "held_out_nats_per_token": round(nats, 4),
        "held_out_bits_per_byte": round(nats / math.log(2) * tokens_per_byte, 4),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": settings.seed,
    }
    (settings.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    report(f"saved {json.dumps(figures)}")


@torch.no_grad()
def held_out_nats(model: LlamaForCausalLM, stream: Stream, windows: int | None) -> float:
    """Return nats per token on the held-out files, over all windows or the first few."""
    available = (len(stream.held_out) - 1) // CONTEXT_TOKENS
    total = 0.0
    count = min(available, windows or available)
    model.eval()  # type: ignore[no-untyped-call]
    for window in range(count):
        start = window * CONTEXT_TOKENS
        window_tokens = stream.held_out[start : start + CONTEXT_TOKENS + 1]
        ids = torch.from_numpy(window_tokens.astype(numpy.int64))  # [tokens + 1]
        # [tokens, vocabulary]
        logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0]
        total += torch.nn.functional.cross_entropy(logits, ids[1:]).item()
    model.train()
    return total / count


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file; a crash leaves the old file or the new one, never a part."""
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, metadata={"format": "pt"})
    with temporary.open("rb+") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)


def report(line: str) -> None:
    """Print one progress line without buffering."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
