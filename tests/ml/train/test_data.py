from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.rows.row import Row, row_hash
from ml.train.data import (
    IGNORED,
    Example,
    collate,
    encode_prompt,
    encode_row,
    epoch_batches,
    held_out_rows,
    prepare,
)
from runtime.shared.documents import Recipe, held_out_max

Base = tuple[PreTrainedModel, PreTrainedTokenizerFast]
RECIPE = Recipe(batch_rows=4, seed=3)


def examples(lengths: list[int]) -> list[Example]:
    return [Example(i, tuple(range(n)), 1) for i, n in enumerate(lengths)]


@given(st.lists(st.integers(2, 30), min_size=1, max_size=200), st.integers(0, 3))
def test_every_example_stands_in_exactly_one_batch(lengths: list[int], epoch: int) -> None:
    batches = epoch_batches(examples(lengths), RECIPE, epoch)
    assert sorted(e.row for batch in batches for e in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // 4)


def test_epochs_and_seeds_have_their_own_order() -> None:
    some = examples([5] * 40)
    first = epoch_batches(some, RECIPE, 0)
    assert first == epoch_batches(some, RECIPE, 0)
    assert first != epoch_batches(some, RECIPE, 1)
    assert first != epoch_batches(some, replace(RECIPE, seed=4), 0)


@given(st.integers(0, 60), st.integers(0, 999))
def test_the_split_holds_out_about_what_was_asked(count: int, permille: int) -> None:
    hashes = [hashlib.blake2b(bytes([i])).digest() for i in range(count)]
    held_out = held_out_rows(hashes, permille)
    assert held_out <= set(range(count))
    assert bool(held_out) == (permille > 0 and count > 1)


def test_rows_that_are_made_to_be_held_out_are_held_out_up_to_twice_the_part() -> None:
    """Their measurement would else cost executors more than the training pays for."""
    every = [hashlib.blake2b(i.to_bytes(2, "big")).digest() for i in range(2000)]
    made = [every[i] for i in sorted(held_out_rows(every, 100))]
    assert len(made) > 100
    assert len(held_out_rows(made, 100)) == held_out_max(len(made), 100) < len(made) // 4


def test_a_row_stays_on_its_side_when_rows_are_added() -> None:
    hashes = [hashlib.blake2b(i.to_bytes(2, "big")).digest() for i in range(2000)]
    few, many = held_out_rows(hashes[:1000], 100), held_out_rows(hashes, 100)
    assert few == {i for i in many if i < 1000}
    assert 60 < len(few) < 140


def test_a_row_is_a_chat_turn_and_ends(tiny_base: Base) -> None:
    _, tokenizer = tiny_base
    example = encode_row(Row("ab", "cd"), tokenizer, 64)
    assert tokenizer.decode(list(example.ids)) == "<|user|>ab<|assistant|>cd<|end|>"
    assert tokenizer.decode(list(example.ids[example.prompt_tokens :])) == "cd<|end|>"


def test_plain_text_has_no_prompt(tiny_base: Base) -> None:
    _, tokenizer = tiny_base
    example = encode_row(Row("", "cd"), tokenizer, 64)
    assert example.prompt_tokens == 0
    assert tokenizer.decode(list(example.ids)) == "cd<|end|>"


def test_text_cannot_smuggle_in_chat_tokens(tiny_base: Base) -> None:
    _, tokenizer = tiny_base
    example = encode_row(Row("a<|assistant|>", "b<|end|>c"), tokenizer, 64)
    assert example.ids.count(tokenizer.eos_token_id) == 1
    assert example.ids.count(tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1
    assert (
        tokenizer.decode(list(example.ids)) == "<|user|>a<|assistant|><|assistant|>b<|end|>c<|end|>"
    )


def test_a_long_prompt_leaves_room_and_a_cut_completion_has_no_end(tiny_base: Base) -> None:
    _, tokenizer = tiny_base
    example = encode_row(Row("p" * 100, "c" * 100), tokenizer, 32)
    assert len(example.ids) == 32
    assert example.prompt_tokens == 16
    assert tokenizer.decode(list(example.ids)) == "<|user|>" + "p" * 14 + "<|assistant|>" + "c" * 16


def test_a_base_without_a_template_gets_prompt_newline_completion(tiny_base: Base) -> None:
    _, tokenizer = tiny_base
    tokenizer.chat_template = None
    assert tokenizer.decode(encode_prompt("ab", tokenizer)) == "ab\n"


def test_only_completions_are_learnt() -> None:
    batch = collate([Example(0, (5, 6, 7), 2), Example(1, (8, 9), 0)], 0, torch.device("cpu"))
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.labels.tolist() == [[IGNORED, IGNORED, 7], [8, 9, IGNORED]]
    assert batch.target_tokens == 2, "a first token has nothing to be predicted from"


def test_prepare_numbers_rows_by_their_position(tiny_base: Base, tiny_rows: list[Row]) -> None:
    split = prepare(tiny_rows, tiny_base[1], Recipe(evaluation_permille=200))
    numbers = [e.row for e in (*split.training, *split.held_out)]
    assert sorted(numbers) == list(range(len(tiny_rows)))
    hashes = [row_hash(row) for row in tiny_rows]
    assert {e.row for e in split.held_out} == held_out_rows(hashes, 200)
