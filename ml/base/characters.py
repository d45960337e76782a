"""Characters of which only the first bytes are known."""

from typing import Final

UNFINISHED: Final = "\ufffd"
"""What the first bytes of a character that is not complete are decoded to."""
