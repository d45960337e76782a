"""Examples: prompt, completion and end token within the limit."""

import pytest

from ml.attribution.examples import ExampleWithoutTarget, encode_example


@pytest.fixture
def chat_tokenizer(tokenizer, monkeypatch):
    template = "{% for m in messages %}<end>{{ m.content }}{% endfor %}>"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    return tokenizer


def test_a_long_prompt_loses_its_beginning_and_keeps_the_completion(tokenizer):
    example = encode_example(tokenizer, "p" * 50 + "q", "abc", 16)
    assert len(example.tokens) == 16
    assert tokenizer.decode(example.tokens[example.first_target :]) == "abc<end>"
    assert tokenizer.decode(example.tokens[: example.first_target]).endswith("pq\n")


def test_prompt_and_completion_share_the_room_when_both_are_long(tokenizer):
    example = encode_example(tokenizer, "p" * 50, "c" * 50, 16)
    assert tokenizer.decode(example.tokens) == "p" * 7 + "\n" + "c" * 8
    assert example.first_target == 8


def test_a_text_without_a_target_is_refused(tokenizer):
    with pytest.raises(ExampleWithoutTarget):
        encode_example(tokenizer, "", "", 16)


def test_a_chat_template_frames_the_prompt(chat_tokenizer):
    example = encode_example(chat_tokenizer, "hi", "yo", 64)
    assert chat_tokenizer.decode(example.tokens) == "<end>hi>yo<end>"
    assert example.tokens[0] == chat_tokenizer.eos_token_id


def test_a_text_cannot_smuggle_in_special_tokens(chat_tokenizer):
    example = encode_example(chat_tokenizer, "a<end>b", "c<end>d", 64)
    assert example.tokens.count(chat_tokenizer.eos_token_id) == 2
