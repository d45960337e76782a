"""The base of a job, checked against the content hash that the chain names."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.base.base import load_base
from ml.base.content import content_hash
from runtime.types.primitives import Hash


class BaseMismatchError(Exception):
    """The base folder does not have the content hash that the job names."""


def load_job_base(folder: str, base: Hash) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load a base anew, for each job again: adapters of others are gone. An empty folder means the
    shipped base. Raises BaseMismatchError."""
    base_hash = content_hash(folder or None)
    if base_hash != base:
        raise BaseMismatchError(
            f"The base folder has the hash {base_hash.hex()}, the job names {bytes(base).hex()}; "
            "configure the folder of that base."
        )
    return load_base(folder or None)
