from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from node.operations.metrics import Metrics

NAME = re.compile(r"openledger(_[a-z0-9]+){2,}")


def test_every_metric_is_named_after_its_noun_and_unit() -> None:
    names = {family.name for family in Metrics().registry.collect()}
    assert len(names) > 10
    assert all(NAME.fullmatch(name) for name in names)


def test_each_node_has_metrics_of_its_own() -> None:
    one, other = Metrics(), Metrics()
    one.rpc_refused.inc()
    assert one.rpc_refused._value.get() == 1
    assert other.rpc_refused._value.get() == 0


def test_heights_are_read_when_metrics_are_asked_for() -> None:
    metrics, heights = Metrics(), [7, 5]
    metrics.watch_heights(lambda: heights[0], lambda: heights[1])
    heights[:] = [9, 8]
    families = {
        family.name: family for family in text_string_to_metric_families(metrics.text().decode())
    }
    samples = families["openledger_chain_height_blocks"].samples
    assert {sample.labels["status"]: sample.value for sample in samples} == {
        "best": 9,
        "finalized": 8,
    }
