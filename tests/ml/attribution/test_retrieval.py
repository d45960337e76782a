"""Retrieval: deterministic BM25, citations, and the effect of single sources."""

import numpy as np

from ml.attribution.retrieval import Retriever, ablation_weights, cited, with_citations
from ml.rows.row import Row

ROWS = [
    Row("os.path.join", "Join path components with the separator."),
    Row("json.dumps", "Serialise an object to JSON text."),
    Row("json.loads", "Parse JSON text to an object."),
    Row("json.dumps", "Serialise an object to JSON text."),
]


def test_the_rows_with_the_asked_words_come_first_and_ties_in_order():
    hits = Retriever(ROWS).search("How do I serialise to JSON?", 3)
    assert [hit.row for hit in hits] == [1, 3, 2]
    assert hits[0].score == hits[1].score > hits[2].score > 0


def test_a_question_without_a_common_word_finds_nothing():
    assert Retriever(ROWS).search("zebra") == ()
    assert Retriever([]).search("zebra") == ()


def test_searching_twice_finds_the_same():
    retriever = Retriever(ROWS)
    assert retriever.search("json text") == retriever.search("json text")


def test_citations_name_rows_that_were_offered():
    prompt = with_citations("What is join?", [(0, ROWS[0]), (2, ROWS[2])])
    assert "[0] os.path.join" in prompt
    assert prompt.endswith("What is join?")
    assert cited("It joins [2][0], see [9].", [0, 2]) == (0, 2)


def test_ablation_finds_the_sources_that_matter():
    effects = np.array([2.0, 0.0, -1.0, 0.0, 0.5])
    weights = ablation_weights(lambda kept: float(effects @ np.array(kept)), 5, seed=1)
    assert np.allclose(weights, effects, atol=0.05)
