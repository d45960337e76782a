"""No text of others controls the terminal on which it is printed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.commands.base.foreign_text import printable, printable_json
from node.commands.base.output import Output
from node.commands.wallet.key_document import KeyDocument

HOSTILE = "\x1b[31mred\x1b]0;title\x07\u202eno\r\x9b"


@given(st.text())
def test_a_text_without_control_characters_stays(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@given(st.text())
def test_json_holds_the_same_text(text: str) -> None:
    written = printable_json(json.dumps({"text": text}, indent=2, ensure_ascii=False))
    assert json.loads(written) == {"text": text}


@pytest.mark.parametrize("as_json", [True, False])
def test_every_way_of_printing_writes_control_characters_out(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(as_json)
    output.note(HOSTILE)
    output.say(HOSTILE)
    output.show(KeyDocument(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE))
    output.fail("Kind", HOSTILE, 1)
    printed = capsys.readouterr()
    assert not set("\x1b\x07\r\x9b\u202e") & set(printed.out + printed.err)
    assert "\\x1b[31mred" in printed.err
