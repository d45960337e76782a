from __future__ import annotations

from pathlib import Path

import pytest

from ml.base.pretraining import corpus
from ml.base.pretraining.corpus import (
    PACKAGES,
    clean_text,
    comment_blocks,
    python_docstrings,
    word_shingles,
)

SOURCE = '''
"""About the module."""
# A comment of one line is skipped.

# A block of
# two lines is kept.
class Box:
    """A box."""
    def __init__(self, size: int = 3): ...
    def open(self, key, *, slowly=False):
        """Open the box."""
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "box.py"
    path.write_text(SOURCE)
    return path


def test_docstrings_come_with_their_qualified_signature(source: Path) -> None:
    assert list(python_docstrings(source, "pack.box")) == [
        ("module", "pack.box", "About the module."),
        ("member", "pack.box.Box(size: int=3)", "A box."),
        ("member", "pack.box.Box.open(key, *, slowly=False)", "Open the box."),
    ]


def test_comment_blocks_have_at_least_two_lines(source: Path) -> None:
    assert list(comment_blocks(source)) == ["A block of\ntwo lines is kept."]


def test_a_source_that_does_not_parse_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "template.py"
    path.write_text("def {{ name }}(: 'unclosed")
    assert list(python_docstrings(path, "x")) == []
    assert list(comment_blocks(path)) == []


def test_licences_and_fragments_are_left_out() -> None:
    assert clean_text("Licensed under the Apache License " * 5) == ""
    assert clean_text("short") == ""
    assert clean_text("0.1 | 0.2 | 0.3 | " * 20) == ""
    assert clean_text("word " * 30).startswith("word word")


def test_text_of_the_standard_library_is_recognised() -> None:
    import textwrap

    assert textwrap.dedent.__doc__ is not None
    forbidden = frozenset(word_shingles(textwrap.dedent.__doc__))
    copied = "My own text. " + textwrap.dedent.__doc__.upper().replace("\n", " ")
    assert corpus.repeats_standard_library(copied, forbidden)
    assert not corpus.repeats_standard_library("Something else " * 20, forbidden)


def test_every_package_names_a_permissive_licence() -> None:
    assert not [n for n, text in PACKAGES.items() if any(w in text for w in ("GPL", "MPL", "PSF"))]


def test_held_out_files_drop_what_repeats_and_keep_their_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Words that stand in both files and are long enough to be kept as a document here."
    for name in ("a", "b"):
        (tmp_path / "click").mkdir(exist_ok=True)
        (tmp_path / "click" / f"{name}.py").write_text(f'def f():\n    """{text}"""\n')
    monkeypatch.setattr(corpus, "standard_library_shingles", frozenset)
    documents = list(corpus.corpus_documents(tmp_path))
    assert [(d.source, d.prompt, d.text) for d in documents] == [
        ("click/a.py", "click.a.f()", text)
    ]
