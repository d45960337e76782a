"""What all clients of the JSON-RPC server share: turns on the event loop, and subscriptions.

The loop that answers clients also votes. Trio runs every task that is ready before it looks at the
network again, so a thousand clients with five milliseconds of work each hold it up for seconds,
however often each of them yields. So one piece of work is done in each round of the loop, whoever
asked: a call, a notification, or a part of a long answer. The lock is fair.
"""

from __future__ import annotations

from collections import Counter

import trio

from node.rpc.limits import Limits


class Shares:
    """One turn for each round of the event loop, and the subscriptions of each peer."""

    def __init__(self, limits: Limits) -> None:
        self.turn = trio.Lock()
        """Held for one piece of work, and never while waiting for a client."""
        self._limits = limits
        self._subscriptions: Counter[str] = Counter()

    def take_subscription(self, peer: str) -> bool:
        """Count a subscription of a peer; False where it, or all together, have the most."""
        limits = self._limits
        is_full = (
            self._subscriptions[peer] >= limits.subscriptions_per_peer
            or self._subscriptions.total() >= limits.subscriptions
        )
        if not is_full:
            self._subscriptions[peer] += 1
        return not is_full

    def give_back_subscription(self, peer: str) -> None:
        """Count a subscription of a peer out."""
        self._subscriptions[peer] -= 1
        if not self._subscriptions[peer]:
            del self._subscriptions[peer]
