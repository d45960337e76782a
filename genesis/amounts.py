"""Amounts as people read them: planck in, OPEN out. Reading them is genesis/values.parse_amount."""

from __future__ import annotations

from typing import Final

PLANCK_PER_OPEN: Final = 10**18
DECIMALS_SHOWN: Final = 6


def format_amount(planck: int) -> str:
    """Return an amount in OPEN, exact when it is short, else rounded down to six decimals."""
    sign, planck = ("-", -planck) if planck < 0 else ("", planck)
    whole, rest = divmod(planck, PLANCK_PER_OPEN)
    decimals = f"{rest:018d}"
    short = decimals[:DECIMALS_SHOWN].rstrip("0")
    if rest and not whole and not short:
        return f"{sign}{planck:,} planck"
    return f"{sign}{whole:,}{'.' if short else ''}{short} OPEN"
