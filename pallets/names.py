"""Names that people give to datanets and models, and the key by which two are the same.

Only ASCII: what counts as a letter in Unicode differs between versions of Python, and look-alike
letters would let one name pass for another.
"""

from __future__ import annotations

import re
from typing import Final

NAME_BYTES_MIN: Final = 3
NAME_BYTES_MAX: Final = 64

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]*[A-Za-z0-9])?")


def is_name(name: str) -> bool:
    """Return whether a name is 3 to 64 ASCII letters, digits, blanks, dots, dashes, underscores."""
    return NAME_BYTES_MIN <= len(name) <= NAME_BYTES_MAX and _NAME.fullmatch(name) is not None


def name_key(name: str) -> str:
    """Return the key of a name, which is unique: the name in lower case."""
    return name.lower()
