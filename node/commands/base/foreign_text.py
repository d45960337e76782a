"""Text of others on a terminal: names of keys, agents of peers, answers of models.

A terminal obeys control characters: they colour, move and rename. Printed here, they are shown as
what they are, an escape for one as its four characters. So are marks that turn the direction of
writing: by them one address can look like another.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return a text whose control characters are written out; line breaks and tabs stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(text: str) -> str:
    """Return the text of a JSON document with the same characters as JSON escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
