"""Load a base model and name it by its content.

A base is a folder of a transformers causal LM: config.json, tokenizer.json and *.safetensors. The
shipped base is this folder itself. Rules: safetensors only, no code from the folder is ever run,
and the content hash covers every file that can change a token, so that two machines agree on what
"the base" is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from runtime.errors import ExitCode, OpenLedgerError

SHIPPED_FOLDER: Final = Path(__file__).parent
SHIPPED_NAME: Final = "openledger-base"
CONTENT_HASH_CONTEXT: Final = b"openledger/base"
READ_BYTES: Final = 1 << 20

# The files that decide which tokens come out. Anything else in the folder (cards, scripts) may
# change.
HASHED_NAMES: Final = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "model.safetensors.index.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
    }
)
FORBIDDEN_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


class BaseNotFoundError(OpenLedgerError):
    """The path has no config.json."""

    exit_code = ExitCode.USAGE


class BaseWithoutSafetensorsError(OpenLedgerError):
    """The folder has weights, but only in a format that can run code when opened."""

    exit_code = ExitCode.USAGE


class BaseTokenizerUnusableError(Exception):
    """The tokenizer is not a fast tokenizer with an end-of-text token."""


def load_base(path_or_name: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return (float32 model, tokenizer) of the shipped base, a local folder or a hub id.

    Raises BaseNotFoundError, BaseWithoutSafetensorsError, BaseTokenizerUnusableError.
    """
    location = str(SHIPPED_FOLDER) if path_or_name in (None, SHIPPED_NAME) else str(path_or_name)
    folder = Path(location)
    is_local = folder.exists()
    if is_local:
        check_folder(folder)
    elif folder.is_absolute() or location.startswith("."):
        raise BaseNotFoundError(f"The folder {location} does not exist; give a folder or a hub id.")
    # transformers would draw its bar on stderr, into the lines of a node's log.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # No trust_remote_code: a folder's own Python never runs. float32 whatever the file has, because
    # the arithmetic of narrower types differs between processors.
    model = AutoModelForCausalLM.from_pretrained(
        location, dtype=torch.float32, use_safetensors=True, local_files_only=is_local
    )
    tokenizer = AutoTokenizer.from_pretrained(location, use_fast=True, local_files_only=is_local)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or tokenizer.eos_token_id is None:
        raise BaseTokenizerUnusableError(
            f"The tokenizer of {location} is not a fast tokenizer with an end token; "
            "add a tokenizer.json whose configuration names eos_token."
        )
    model.eval()  # type: ignore[no-untyped-call]
    model.requires_grad_(False)
    return model, tokenizer


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a model or whose weights are not safetensors."""
    if not (folder / "config.json").is_file():
        raise BaseNotFoundError(
            f"{folder} has no config.json; give the folder of a transformers causal LM."
        )
    if any(folder.glob("*.safetensors")):
        return
    offered = sorted(path.name for path in folder.iterdir() if path.suffix in FORBIDDEN_SUFFIXES)
    raise BaseWithoutSafetensorsError(
        f"{folder} has no .safetensors weights (found {', '.join(offered) or 'none'}); "
        "convert them to safetensors first, other formats can run code when opened."
    )


def content_hash(folder: Path | str | None = None) -> bytes:
    """Return blake2b-256 over the sorted names and contents of weights, configuration and
    tokenizer.
    """
    digest = hashlib.blake2b(CONTENT_HASH_CONTEXT, digest_size=32)
    for path in hashed_files(Path(folder) if folder is not None else SHIPPED_FOLDER):
        # Lengths before contents: otherwise bytes could move from one file to the next unnoticed.
        name = path.name.encode()
        digest.update(len(name).to_bytes(4, "big") + name)
        digest.update(path.stat().st_size.to_bytes(8, "big"))
        with path.open("rb") as handle:
            while part := handle.read(READ_BYTES):
                digest.update(part)
    return digest.digest()


def hashed_files(folder: Path) -> Iterator[Path]:
    """Yield the files that the content hash covers, sorted by name."""
    check_folder(folder)
    for path in sorted(folder.iterdir(), key=lambda item: item.name):
        if path.is_file() and (path.name in HASHED_NAMES or path.suffix == ".safetensors"):
            yield path
