from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml.rows.near_duplicates import are_similar, cluster_rows, row_shingles
from ml.rows.row import Row

WORDS = ["one", "two", "three", "four"]
rows = st.builds(
    lambda words: Row("", " ".join(words)),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
)


def jaccard_by_definition(left: Row, right: Row) -> bool:
    def grams(row: Row) -> set[tuple[str, ...]]:
        tokens = row.completion.split()
        return {tuple(tokens[i : i + 4]) for i in range(max(1, len(tokens) - 3))}

    a, b = grams(left), grams(right)
    return len(a & b) * 1000 >= len(a | b) * 450


def clusters_by_definition(rows_drawn: list[Row]) -> tuple[int, ...]:
    earliest: list[int] = []
    for i, row in enumerate(rows_drawn):
        match = next((j for j in range(i) if jaccard_by_definition(row, rows_drawn[j])), None)
        earliest.append(i if match is None else earliest[match])
    return tuple(earliest)


@given(rows, rows)
def test_similarity_is_jaccard_over_four_tokens(left: Row, right: Row) -> None:
    similar = are_similar(row_shingles(left), row_shingles(right))
    assert similar == jaccard_by_definition(left, right)


@given(st.lists(rows, max_size=12))
def test_clusters_are_those_of_comparing_all_pairs(rows_drawn: list[Row]) -> None:
    # MinHash may miss a pair right at the threshold with probability 2e-5; these rows are tiny,
    # so equal sets dominate and the oracle holds.
    assert cluster_rows(rows_drawn).earliest == clusters_by_definition(rows_drawn)


def test_an_edited_copy_joins_the_original_and_the_original_stays() -> None:
    text = "Return the absolute value of a number, which may be an integer or a float."
    original, copy = Row("abs(x)", text), Row("abs(x)", text.replace("float", "double"))
    other = Row("hex(x)", "Write an integer in base sixteen with a prefix, in lower case.")
    clusters = cluster_rows([original, other, copy])
    assert clusters.earliest == (0, 1, 0)
    assert clusters.representatives == (0, 1)


def test_a_chain_of_edits_stays_in_the_first_cluster() -> None:
    words = [f"w{i}" for i in range(40)]
    chain = []
    for edit in range(6):
        words = [*words[6:], *(f"e{edit}{i}" for i in range(6))]
        chain.append(Row("", " ".join(words)))
    assert set(cluster_rows(chain).earliest) == {0}


def test_no_rows_make_no_clusters() -> None:
    assert cluster_rows([]).representatives == ()
