"""What the JSON-RPC server allows one client, one peer and all of them together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Maxima of the JSON-RPC server; sizes in bytes, times in seconds."""

    connections: int = 1_000
    connections_per_peer: int = 250
    subscriptions: int = 4_096
    """Of all connections together: each costs time with every block."""
    subscriptions_per_peer: int = 2_048
    subscriptions_per_connection: int = 1_024
    request_bytes: int = 15 * 1024 * 1024
    request_values: int = 65_536
    """How many values a request has at most: reading a value takes far longer than its bytes."""
    response_bytes: int = 64 * 1024 * 1024
    batch_calls: int = 1_000
    outbound_messages: int = 1_024
    outbound_bytes: int = 16 * 1024 * 1024
    send_timeout_s: float = 20.0
    """How long a peer may take none of the bytes that are sent to it."""
    request_timeout_s: float = 30.0
    """How long the body of a request may take to arrive."""
    idle_timeout_s: float = 60.0
    """How long an HTTP connection without a request is kept."""
    ping_interval_s: float = 20.0
    keys_per_page: int = 1_000
    keys_per_query: int = 2_048
    keys_listed: int = 16_384
    """How many keys state_getKeys lists; there may be more page by page."""
    blocks_per_query: int = 512
    values_per_query: int = 65_536
    """How many keys times blocks state_queryStorage reads."""
    keys_per_turn: int = 256
    """How many values are read before other tasks get their turn: some milliseconds."""
    follows_per_connection: int = 4
    pinned_finalized_blocks: int = 512
    pinned_blocks: int = 4_096
    operations_per_follow: int = 64
    broadcasts_per_connection: int = 16
