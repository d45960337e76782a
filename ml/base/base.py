"""Load a base model; `ml.base.content` names it by its content.

A base is a folder of a transformers causal LM: config.json, tokenizer.json and *.safetensors. The
shipped base is this folder itself. Rules: safetensors only, no code from the folder is ever run.
"""

from __future__ import annotations

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

from ml.base.content import (
    SHIPPED_FOLDER,
    BaseNotFoundError,
    BaseWithoutSafetensorsError,
    check_folder,
    content_hash,
)

__all__ = [
    "SHIPPED_NAME",
    "BaseNotFoundError",
    "BaseTokenizerUnusableError",
    "BaseWithoutSafetensorsError",
    "content_hash",
    "load_base",
]

SHIPPED_NAME: Final = "openledger-base"


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
