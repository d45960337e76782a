from __future__ import annotations

import pytest

from ml.rows.formats import FieldError, Shape, ShapeUnknownError, convert_record, detect_shape
from ml.rows.row import Row


@pytest.mark.parametrize(
    ("record", "shape", "row"),
    [
        (
            {"instruction": "Add", "input": "1 2", "output": "3"},
            Shape.ALPACA,
            Row("Add\n\n1 2", "3"),
        ),
        ({"instruction": "Add", "input": "", "output": "3"}, Shape.ALPACA, Row("Add", "3")),
        ({"instruction": "Add", "output": "3"}, Shape.ALPACA, Row("Add", "3")),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
            Shape.SHAREGPT,
            Row("Hi", "Ho"),
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be kind"},
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Ho"},
                    {"role": "user", "content": "More"},
                    {"role": "assistant", "content": "Ha"},
                    {"role": "user", "content": "Bye"},
                ]
            },
            Shape.MESSAGES,
            Row("Be kind\n\nHi\n\nHo\n\nMore", "Ha"),
        ),
        ({"prompt": "P", "completion": "C"}, Shape.PROMPT_COMPLETION, Row("P", "C")),
        ({"question": "Q", "answer": "A"}, Shape.PROMPT_COMPLETION, Row("Q", "A")),
        ({"text": "T", "url": 3}, Shape.TEXT, Row("", "T")),
    ],
)
def test_each_shape_becomes_a_row(record: dict[str, object], shape: Shape, row: Row) -> None:
    assert detect_shape(record) is shape
    assert convert_record(record, shape) == row


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ShapeUnknownError, match="body, title"):
        detect_shape({"title": "a", "body": "b"})


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        ({"prompt": 1, "completion": "c"}, Shape.PROMPT_COMPLETION),
        ({"text": None}, Shape.TEXT),
        ({"text": "only"}, Shape.PROMPT_COMPLETION),
        ({"messages": []}, Shape.MESSAGES),
        ({"messages": "x"}, Shape.MESSAGES),
        ({"messages": ["x"]}, Shape.MESSAGES),
        ({"messages": [{"role": "user", "content": "only a question"}]}, Shape.MESSAGES),
        ({"messages": [{"role": "wizard", "content": "x"}]}, Shape.MESSAGES),
        ({"messages": [{"role": "user"}] * 300}, Shape.MESSAGES),
    ],
)
def test_a_wrong_field_is_refused(record: dict[str, object], shape: Shape) -> None:
    with pytest.raises(FieldError):
        convert_record(record, shape)
