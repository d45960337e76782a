"""Retrieval: the rows that match a question, by BM25, and each retrieved row's effect on an answer.

Ties go to the earlier row, so the same rows and question give the same result. Words are runs of
letters, digits and underscores in lower case, the same for rows and questions.

`ablation_weights` follows ContextCite (Cohen-Wang et al., 2024): leave sources out at random, see
how the answer's log probability moves, and fit one weight per source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import bm25s
import numpy as np
import numpy.typing as npt

from ml.rows.row import Row

RETRIEVED_MAX: Final = 16
ABLATIONS: Final = 32
RIDGE: Final = 1e-3
WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A row that matches a question, with its BM25 score."""

    row: int
    score: float


class Retriever:
    """Finds rows by the words of a question."""

    def __init__(self, rows: Sequence[Row]) -> None:
        words = [words_of(f"{row.prompt}\n{row.completion}") for row in rows]
        self._known = {word for text in words for word in text}
        self._bm25 = bm25s.BM25()
        if self._known:
            self._bm25.index(words, show_progress=False)

    def search(self, question: str, count: int = RETRIEVED_MAX) -> tuple[Retrieved, ...]:
        """Return the best rows, at most `count`; rows without a common word are left out."""
        asked = [word for word in words_of(question) if word in self._known]
        if not asked:
            return ()
        # [rows]
        scores = np.asarray(self._bm25.get_scores(asked), np.float64)
        best = np.argsort(-scores, kind="stable")[:count]
        return tuple(Retrieved(int(row), float(scores[row])) for row in best if scores[row] > 0)


def words_of(text: str) -> list[str]:
    """Return the words of a text that BM25 counts."""
    return WORD.findall(text.lower())


def with_citations(question: str, rows: Sequence[tuple[int, Row]]) -> str:
    """Return a prompt that offers rows as numbered sources and asks to cite them as [number]."""
    sources = "\n\n".join(f"[{number}] {row.prompt}\n{row.completion}" for number, row in rows)
    return f"Sources:\n\n{sources}\n\nAnswer and cite sources as [number].\n\n{question}"


def cited(answer: str, retrieved: Sequence[int]) -> tuple[int, ...]:
    """Return the retrieved rows that an answer cites as [number], ascending."""
    named = {int(number) for number in re.findall(r"\[(\d{1,10})\]", answer)}
    return tuple(sorted(named.intersection(retrieved)))


def ablation_weights(
    log_probability: Callable[[Sequence[bool]], float], sources: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return the effect of each source on the log probability of an answer [sources].

    `log_probability(kept)` scores the answer with the sources that are True. Half of the sources
    are left out each time; the weights are those of a ridge regression.
    """
    draws = np.random.Generator(np.random.PCG64(seed))
    kept = draws.random((ABLATIONS, sources)) < 0.5  # [ablations, sources]
    # [ablations]
    values = np.array([log_probability([bool(keep) for keep in row]) for row in kept], np.float64)
    design = kept.astype(np.float64) - kept.mean(axis=0)  # [ablations, sources]
    normal = design.T @ design + RIDGE * ABLATIONS * np.eye(sources)  # [sources, sources]
    weights: npt.NDArray[np.float64] = np.linalg.solve(normal, design.T @ (values - values.mean()))
    return weights
