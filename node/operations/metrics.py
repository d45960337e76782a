"""What the node counts and measures, for Prometheus: one registry for each node, never the global.

Names are openledger_<noun>_<unit>, counters end in _total. The process has the standard names of
Prometheus' clients (process_resident_memory_bytes, ...), on which public dashboards are built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from runtime.frame.executive import ExecutedBlock

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
PREFIX: Final = "openledger"
CALL_SECONDS: Final = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
BLOCK_SECONDS: Final = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)

# A second series with a time of birth for each counter and bucket: nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one node."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.rpc_calls = Counter(
            "openledger_rpc_calls_total", "JSON-RPC calls answered.", ["method"], registry=registry
        )
        self.rpc_errors = Counter(
            "openledger_rpc_errors_total",
            "JSON-RPC calls answered by an error.",
            ["method"],
            registry=registry,
        )
        self.rpc_time = Histogram(
            "openledger_rpc_call_seconds",
            "Time that JSON-RPC calls took.",
            ["method"],
            registry=registry,
            buckets=CALL_SECONDS,
        )
        self.rpc_connections = Gauge(
            "openledger_rpc_open_connections", "Open connections of clients.", registry=registry
        )
        self.rpc_sessions = Gauge(
            "openledger_rpc_open_sessions", "Open WebSocket sessions.", registry=registry
        )
        self.rpc_refused = Counter(
            "openledger_rpc_refused_connections_total",
            "Connections of clients refused for a limit.",
            registry=registry,
        )
        self.rpc_dropped = Counter(
            "openledger_rpc_dropped_connections_total",
            "Connections of clients cut off because they took nothing.",
            registry=registry,
        )
        self.chain_height = Gauge(
            "openledger_chain_height_blocks",
            "Height of the best and of the finalized block.",
            ["status"],
            registry=registry,
        )
        self.pool_transactions = Gauge(
            "openledger_pool_waiting_transactions",
            "Transactions that wait for a block.",
            registry=registry,
        )
        self.network_peers = Gauge(
            "openledger_network_connected_peers", "Connected nodes.", registry=registry
        )
        self.block_time = Histogram(
            "openledger_block_execution_seconds",
            "Time that making or executing a block took.",
            registry=registry,
            buckets=BLOCK_SECONDS,
        )
        self.block_extrinsics = Counter(
            "openledger_block_extrinsics_total",
            "Extrinsics in the blocks made or executed.",
            registry=registry,
        )

    def observe_block(self, executed: ExecutedBlock, seconds: float) -> None:
        """Count a block that was made or executed."""
        self.block_time.observe(seconds)
        self.block_extrinsics.inc(len(executed.extrinsics))

    def watch_heights(self, best: Callable[[], int], finalized: Callable[[], int]) -> None:
        """Read the heights whenever metrics are asked for."""
        self.chain_height.labels(status="best").set_function(best)
        self.chain_height.labels(status="finalized").set_function(finalized)

    def watch(self, collector: Collector) -> None:
        """Read a collector's metrics whenever metrics are asked for."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
