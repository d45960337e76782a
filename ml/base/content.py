"""Name a base by the content of its files, without loading it or torch.

The content hash covers every file that can change a token, so that two machines agree on what "the
base" is; a folder without safetensors is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtime.errors import ExitCode, OpenLedgerError

SHIPPED_FOLDER: Final = Path(__file__).parent
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
