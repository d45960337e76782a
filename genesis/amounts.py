"""Amounts as people write and read them: texts such as `1.5OPEN` to planck, and back."""

from __future__ import annotations

import re
from typing import Final

from runtime.errors import ExitCode, OpenLedgerError
from runtime.types.primitives import OPEN

DIGITS_MAX: Final = 80
"""The most digits of an amount that is read; more would only cost time."""
PLANCK_MAX: Final = 2**128 - 1
"""The most that a Balance of the runtime holds."""
DECIMALS_SHOWN: Final = 6
_AMOUNT: Final = re.compile(r"^\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*(OPEN|mOPEN|uOPEN|planck)?\s*$")
_GROUPED: Final = re.compile(
    r"^(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,2}(?:_[0-9]{3})+)(?:\.[0-9]+)?$"
)
"""Nothing in groups begins with 0: in 0,500 the comma can only be a decimal sign."""
_LONE_COMMA: Final = re.compile(r"^[0-9]{1,3},[0-9]{3}$")
"""Half the world reads this as thousands, the other half as three decimals."""
_UNITS: Final[dict[str | None, int]] = {
    "OPEN": OPEN,
    "mOPEN": OPEN // 10**3,
    "uOPEN": OPEN // 10**6,
    "planck": 1,
    None: 1,
}


class ValueTextError(OpenLedgerError, ValueError):
    """A text stands for no value of the type it is for; the message names the place."""

    exit_code = ExitCode.USAGE


def parse_amount(text: str) -> int:
    """Return planck for texts such as `1.5OPEN`, `20 mOPEN`, `1000`. Raises ValueTextError.

    The decimal sign is a point. Commas (or underscores) part groups of three digits; a comma that
    could be a decimal sign elsewhere, as in 1,500, is refused.
    """
    match = _AMOUNT.match(text)
    if match is None:
        raise ValueTextError(f"{text!r} is no amount; write 1.5OPEN, 20mOPEN or planck as digits")
    if not _GROUPED.match(match[1]):
        raise ValueTextError(
            f"{text!r} is no amount: commas part groups of three digits, the decimal sign is a "
            "point. Write 1.5OPEN for one and a half, 1500 OPEN for fifteen hundred."
        )
    if _LONE_COMMA.match(match[1]):
        unit = f" {match[2]}" if match[2] else ""
        thousands = match[1].replace(",", "")
        decimal = match[1].replace(",", ".").rstrip("0").rstrip(".")
        raise ValueTextError(
            f"{text!r} is ambiguous: its comma parts thousands in some countries and decimals in "
            f"others. Write {thousands}{unit} or {decimal}{unit}."
        )
    whole, _, part = match[1].replace(",", "").replace("_", "").partition(".")
    if len(whole) + len(part) > DIGITS_MAX:
        raise ValueTextError(f"{text!r:.60} has more than {DIGITS_MAX} digits")
    planck, rest = divmod(int(whole + part) * _UNITS[match[2]], 10 ** len(part))
    if rest:
        unit = "" if match[2] else f"; write {text.strip()}OPEN for OPEN"
        raise ValueTextError(f"{text!r} is not a whole number of planck (10^-18 OPEN){unit}")
    if planck > PLANCK_MAX:
        raise ValueTextError(
            f"{text!r:.90} is more than any account can have: at most {PLANCK_MAX // OPEN:,} OPEN "
            "fit the chain. Check the unit."
        )
    return int(planck)


def format_amount(planck: int) -> str:
    """Return an amount in OPEN, exact when it is short, else rounded down to six decimals."""
    sign, planck = ("-", -planck) if planck < 0 else ("", planck)
    whole, rest = divmod(planck, OPEN)
    decimals = f"{rest:018d}"
    short = decimals[:DECIMALS_SHOWN].rstrip("0")
    if rest and not whole and not short:
        return f"{sign}{planck:,} planck"
    return f"{sign}{whole:,}{'.' if short else ''}{short} OPEN"
