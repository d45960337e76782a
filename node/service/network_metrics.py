"""Metrics of the network and of consensus, read from them whenever metrics are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.finality.status import finality_status
from node.operations.metrics import PREFIX
from node.service.networking import Networking


class NetworkCollector(Collector):
    """Counters of the network service and the state of consensus, read when they are asked for."""

    def __init__(self, networking: Networking) -> None:
        self._networking = networking

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        status = finality_status(self._networking.chain, self._networking.participant)
        gauges = {
            "consensus_epoch": ("The epoch of the next block.", status.epoch),
            "consensus_view": ("The view of this node in its epoch.", status.view),
            "consensus_heard_stake_ratio": (
                "Part of the stake whose votes are heard; finality needs more than 2/3.",
                status.active_weight / status.total_weight,
            ),
            "consensus_silent_validators": (
                "Validators of this epoch that are not heard.",
                sum(validator.is_silent for validator in status.validators),
            ),
            "consensus_voting_status": ("1 where this node votes.", int(status.is_voting)),
            "consensus_halted_status": ("1 after conflicting finality.", int(status.is_halted)),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)
        ping = GaugeMetricFamily(
            f"{PREFIX}_network_ping_seconds",
            "Round trip of the last ping, by peer.",
            labels=["peer"],
        )
        for peer in self._networking.service.peers():
            if peer.ping_s is not None:
                ping.add_metric([peer.peer], peer.ping_s)
        yield ping
        counters = self._networking.service.counters
        for field in dataclasses.fields(counters):
            text = f"Network: {field.name.replace('_', ' ')} since the start."
            value = getattr(counters, field.name)
            yield CounterMetricFamily(f"{PREFIX}_network_{field.name}", text, value=value)
