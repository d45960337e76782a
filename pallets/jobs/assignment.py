"""Who executes a job: weighted sampling without replacement, in integers.

Efraimidis and Spirakis (Information Processing Letters 97, 2006): candidate i draws u_i uniform in
(0, 1] and the ones with the largest u_i^(1/w_i) are chosen; equivalently the smallest
-log(u_i) / w_i. The logarithm is fixed point, from a table with linear interpolation (error below
3e-6); a draw is bound to account and registration, so a new registration is a new draw.

Rules that hold here: pure functions of their arguments, no float; a heavier candidate is never
ordered later because of its weight; ties are broken by the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import AccountId, Hash

FRACTION_BITS: Final = 40
TICKET_BITS: Final = 64
_TABLE_BITS = 8
_KEY_SHIFT = 160


@dataclass(frozen=True, slots=True)
class Candidate:
    """An executor that may be drawn; `weight` is positive."""

    account: AccountId
    registration: int
    profile: Hash
    weight: int


def _log2_of_mantissa(numerator: int, denominator: int) -> int:
    """Return log2(numerator / denominator) for a ratio in [1, 2], bit by bit, in fixed point."""
    if numerator >= 2 * denominator:
        return 1 << FRACTION_BITS
    scale = 96
    value = (numerator << scale) // denominator
    result = 0
    for _ in range(FRACTION_BITS):
        value = value * value >> scale
        result <<= 1
        if value >> scale >= 2:
            result |= 1
            value >>= 1
    return result


_LOG2 = tuple(
    _log2_of_mantissa((1 << _TABLE_BITS) + step, 1 << _TABLE_BITS)
    for step in range((1 << _TABLE_BITS) + 1)
)


def negative_log2(ticket: int) -> int:
    """Return -log2(ticket / 2^64) in fixed point, for a ticket in 1..2^64."""
    assert 0 < ticket <= 1 << TICKET_BITS, "a ticket has 64 bits and is not zero"
    exponent = ticket.bit_length() - 1
    mantissa = (ticket << TICKET_BITS >> exponent) - (1 << TICKET_BITS)
    step = mantissa >> TICKET_BITS - _TABLE_BITS
    rest = mantissa & (1 << TICKET_BITS - _TABLE_BITS) - 1
    low, high = _LOG2[step], _LOG2[step + 1]
    fraction = low + ((high - low) * rest >> TICKET_BITS - _TABLE_BITS)
    return (TICKET_BITS - exponent << FRACTION_BITS) - fraction


def ordered(candidates: Sequence[Candidate], randomness: Hash) -> list[Candidate]:
    """Return the candidates in the order in which they are drawn without replacement."""

    def key(candidate: Candidate) -> tuple[int, bytes]:
        bound = candidate.account + candidate.registration.to_bytes(4, "little")
        digest = blake2b_256(b"openledger/assign" + randomness + bound)
        ticket = int.from_bytes(digest[:8], "little") + 1
        return (negative_log2(ticket) << _KEY_SHIFT) // candidate.weight, candidate.account

    return sorted(candidates, key=key)


def draw(
    candidates: Sequence[Candidate], count: int, needed: int, randomness: Hash
) -> tuple[Candidate, ...]:
    """Draw up to `count` executors of one profile; none where no profile has as many as `needed`.

    Results are compared bit by bit, which only makes sense within a profile: the first candidate
    drawn whose profile can fill the job decides the profile.
    """
    sizes = Counter(candidate.profile for candidate in candidates)
    fitting = [candidate for candidate in candidates if sizes[candidate.profile] >= needed]
    if not fitting:
        return ()
    drawn = ordered(fitting, randomness)
    same = [candidate for candidate in drawn if candidate.profile == drawn[0].profile]
    return tuple(same[:count])
