"""How many requests of a client address may be refused: refusing costs the node alone.

Answers that are paid for are never counted. An address that was refused too often is told to wait
before its next body is read; IPv6 addresses count by their /64, which one client has for itself.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import trio

REFUSALS_MAX: Final = 60
REFUSALS_PER_SECOND: Final = 1.0
ADDRESSES_MAX: Final = 4_096
IPV6_PREFIX_BITS: Final = 64


class RefusalLimit:
    """A leaky bucket of refusals for each address; the longest silent address is forgotten."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._refused: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, address: str) -> float:
        """Return how long an address must wait; 0 where it may ask now."""
        excess = self._level(_network(address)) - REFUSALS_MAX + 1
        return max(0.0, excess / REFUSALS_PER_SECOND)

    def add(self, address: str) -> None:
        """Count a refused request."""
        network = _network(address)
        self._refused[network] = (self._level(network) + 1, self._clock())
        self._refused.move_to_end(network)
        while len(self._refused) > ADDRESSES_MAX:
            self._refused.popitem(last=False)

    def _level(self, network: str) -> float:
        level, at = self._refused.get(network, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) * REFUSALS_PER_SECOND)


def _network(address: str) -> str:
    """Return what stands for an address: itself, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX_BITS), strict=False))
