"""Build the pre-training corpus of the shipped base from the packages installed beside it.

Documents are docstrings, comment blocks and documentation files of permissively licensed packages,
and nothing else. The demo fine-tunes on the documentation of Python's standard library, so the base
must not contain that text: every document that shares a run of ten words with a standard-library
docstring is dropped. This module does not know tokens and tensors; it yields text in a
deterministic order.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

# Package -> SPDX licence of its own code (torch's metadata adds those of bundled C++ parts).
# Packages under MPL, LGPL or PSF terms (hypothesis, certifi, zeroconf, typing_extensions) and
# backports of the standard library are left out.
PACKAGES: Final[dict[str, str]] = {
    "numpy": "BSD-3-Clause",
    "torch": "BSD-3-Clause",
    "networkx": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "mpmath": "BSD-3-Clause",
    "transformers": "Apache-2.0",
    "peft": "Apache-2.0",
    "accelerate": "Apache-2.0",
    "huggingface_hub": "Apache-2.0",
    "safetensors": "Apache-2.0",
    "tokenizers": "Apache-2.0",
    "click": "BSD-3-Clause",
    "rich": "MIT",
    "typer": "MIT",
    "trio": "MIT OR Apache-2.0",
    "anyio": "MIT",
    "starlette": "BSD-3-Clause",
    "cryptography": "Apache-2.0 OR BSD-3-Clause",
    "Crypto": "BSD-2-Clause",
    "nacl": "Apache-2.0",
    "pydantic": "MIT",
    "pygments": "BSD-2-Clause",
    "jinja2": "BSD-3-Clause",
    "markdown_it": "MIT",
    "httpx": "BSD-3-Clause",
    "httpcore": "BSD-3-Clause",
    "h2": "MIT",
    "h11": "MIT",
    "urllib3": "MIT",
    "requests": "Apache-2.0",
    "dns": "ISC",
    "netaddr": "BSD-3-Clause",
    "fsspec": "BSD-3-Clause",
    "yaml": "MIT",
    "attr": "MIT",
    "pluggy": "MIT",
    "_pytest": "MIT",
    "packaging": "Apache-2.0 OR BSD-2-Clause",
    "psutil": "BSD-3-Clause",
    "prometheus_client": "Apache-2.0",
    "sortedcontainers": "Apache-2.0",
    "tomlkit": "MIT",
    "grimp": "BSD-2-Clause",
    "mypy": "MIT",
    "libp2p": "MIT AND Apache-2.0",
    "hypercorn": "MIT",
    "aioquic": "BSD-3-Clause",
    "cbor2": "MIT",
    "setuptools": "MIT",
}

# Vendored copies under these folder names may carry other licences or standard-library text.
SKIPPED_FOLDERS: Final = frozenset(
    {
        "_vendor",
        "vendor",
        "_distutils",
        "tests",
        "test",
        "testing",
        "_vendored",
        "extern",
        "typeshed",
    }
)
DOCUMENTATION_SUFFIXES: Final = frozenset({".md", ".rst"})
SHINGLE_WORDS: Final = 10
DOCUMENT_CHARACTERS_MAX: Final = 3_000
DOCUMENT_CHARACTERS_MIN: Final = 60
SIGNATURE_CHARACTERS_MAX: Final = 160
SOURCE_BYTES_MAX: Final = 2 << 20
HELD_OUT_PERMILLE: Final = 15

# Modules whose import opens a window, a browser, or prints.
UNSAFE_MODULES: Final = frozenset(
    {
        "antigravity",
        "this",
        "idlelib",
        "test",
        "tkinter",
        "turtle",
        "turtledemo",
        "lib2to3",
        "ensurepip",
    }
)

WORD: Final = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the corpus; an empty prompt means running text."""

    source: str
    prompt: str
    text: str
    held_out: bool


def corpus_documents(packages_folder: Path) -> Iterator[Document]:
    """Yield the documents of `PACKAGES` under a site-packages folder, in a fixed order."""
    forbidden = standard_library_shingles()
    seen: set[bytes] = set()
    for package in sorted(PACKAGES):
        root = packages_folder / package
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(packages_folder)
            if SKIPPED_FOLDERS & set(relative.parts) or not path.is_file():
                continue
            if path.stat().st_size > SOURCE_BYTES_MAX:
                continue
            held_out = is_held_out(relative.as_posix())
            for prompt, text in file_documents(path, relative):
                text = clean_text(text)
                if not text:
                    continue
                digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if digest in seen or repeats_standard_library(text, forbidden):
                    continue
                seen.add(digest)
                yield Document(relative.as_posix(), prompt, text, held_out)


def is_held_out(relative_path: str) -> bool:
    """Return whether a file belongs to the held-out part.

    Whole files and not documents are held out, because neighbours in one file repeat each other.
    """
    digest = hashlib.blake2b(relative_path.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % 1000 < HELD_OUT_PERMILLE


def standard_library_shingles() -> frozenset[int]:
    """Return the hashed ten-word runs of every docstring of this Python's standard library."""
    shingles: set[int] = set()
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        for _, _, text in python_docstrings(path, ""):
            shingles.update(word_shingles(text))
    for name in sorted(sys.stdlib_module_names - UNSAFE_MODULES):
        if not name.startswith("_") or name in {"_io", "_thread", "_collections"}:
            shingles.update(compiled_shingles(name))
    return frozenset(shingles)


def compiled_shingles(module_name: str) -> set[int]:
    """Return the runs of docstrings that exist only at run time (modules written in C)."""
    shingles: set[int] = set()
    try:
        module = import_module(module_name)
    except ImportError:
        return shingles  # Windows-only modules: their text is not on this machine either.
    for _, member in inspect.getmembers(module):
        shingles.update(word_shingles(inspect.getdoc(member) or ""))
        if isinstance(member, type):
            for _, attribute in inspect.getmembers(member):
                shingles.update(word_shingles(getattr(attribute, "__doc__", None) or ""))
    return shingles


def word_shingles(text: object) -> Iterator[int]:
    """Yield a hash of each run of ten words, case and punctuation ignored."""
    words = WORD.findall(str(text).lower())
    for start in range(len(words) - SHINGLE_WORDS + 1):
        run = " ".join(words[start : start + SHINGLE_WORDS])
        yield int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "little")


def repeats_standard_library(text: str, forbidden: frozenset[int]) -> bool:
    """Return whether a text shares a run of ten words with the standard library's docstrings."""
    return any(shingle in forbidden for shingle in word_shingles(text))


def file_documents(path: Path, relative: Path) -> Iterator[tuple[str, str]]:
    """Yield (prompt, text) pairs of one file: docstrings, comment blocks, documentation."""
    if path.suffix == ".py":
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        for kind, prompt, text in python_docstrings(path, module):
            yield ("" if kind == "module" else prompt), text
        yield from (("", block) for block in comment_blocks(path))
    elif path.suffix in DOCUMENTATION_SUFFIXES:
        yield "", path.read_text("utf-8", errors="replace")


def python_docstrings(path: Path, module: str) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, name and signature, docstring) of a source file without running it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # Templates and deliberately broken samples carry a .py name too.
    yield from _docstrings_of(tree, module)


def _docstrings_of(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[tuple[str, str, str]]:
    documentation = ast.get_docstring(node)
    if documentation:
        if isinstance(node, ast.Module):
            yield "module", name, documentation
        else:
            yield "member", name + _signature(node), documentation
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _docstrings_of(child, f"{name}.{child.name}")


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.FunctionDef) and child.name == "__init__":
                return _signature(child)
        return "()"
    text = ast.unparse(node.args)
    text = re.sub(r"^(self|cls)(, |$)", "", text)
    if len(text) > SIGNATURE_CHARACTERS_MAX:
        text = ", ".join(argument.arg for argument in node.args.args if argument.arg != "self")
    if len(text) > SIGNATURE_CHARACTERS_MAX:
        text = text[:SIGNATURE_CHARACTERS_MAX].rpartition(",")[0] + ", ..."
    return f"({text})"


def comment_blocks(path: Path) -> Iterator[str]:
    """Yield runs of two or more full-line comments, without the licence header of the file."""
    block: list[str] = []
    last_line = -1
    source = io.BytesIO(path.read_bytes())
    try:
        tokens = list(tokenize.tokenize(source.readline))
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return
    for token in tokens:
        if token.type != tokenize.COMMENT or token.line.strip() != token.string:
            continue
        if token.start[0] != last_line + 1:
            if len(block) > 1:
                yield "\n".join(block)
            block = []
        block.append(token.string.lstrip("#").strip())
        last_line = token.start[0]
    if len(block) > 1:
        yield "\n".join(block)


def clean_text(text: str) -> str:
    """Return the text as trained on, or "" if it is too short, a licence or mostly not letters."""
    text = "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip()
    text = re.sub(r"\n{3,}", "\n\n", text)
    if len(text) > DOCUMENT_CHARACTERS_MAX:
        text = text[:DOCUMENT_CHARACTERS_MAX].rpartition("\n")[0]
    if len(text) < DOCUMENT_CHARACTERS_MIN:
        return ""
    lowered = text.lower()
    if (
        "licensed under the" in lowered
        or "copyright" in lowered
        or "all rights reserved" in lowered
    ):
        return ""
    letters = sum(character.isalpha() or character == " " for character in text)
    return text if letters * 10 >= len(text) * 6 else ""


def installed_packages_folder() -> Path:
    """Return this interpreter's site-packages folder."""
    return Path(sysconfig.get_paths()["purelib"])


if __name__ == "__main__":
    totals: dict[str, int] = {}
    for document in corpus_documents(installed_packages_folder()):
        name = document.source.split("/")[0]
        totals[name] = totals.get(name, 0) + len(document.text)
    for name, characters in sorted(totals.items(), key=lambda item: -item[1]):
        sys.stdout.write(f"{characters:>10} {name} {PACKAGES[name]}\n")
