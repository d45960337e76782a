from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from node.operations.metrics import Metrics

NAME = re.compile(r"openledger(_[a-z0-9]+){2,}")


def test_every_metric_is_named_after_its_noun_and_unit() -> None:
    names = {family.name for family in Metrics().registry.collect()}
    assert len(names) > 10
    assert all(NAME.fullmatch(name) for name in names if not name.startswith("process_"))


def test_the_process_has_the_standard_names() -> None:
    names = {family.name for family in Metrics().registry.collect()}
    expected = {"cpu_seconds", "resident_memory_bytes", "open_fds", "start_time_seconds"}
    assert {f"process_{name}" for name in expected} <= names


def test_no_series_is_doubled_by_its_time_of_birth() -> None:
    metrics = Metrics()
    metrics.rpc_calls.labels(method="system_name").inc()
    metrics.rpc_time.labels(method="system_name").observe(0.1)
    assert b"_created" not in metrics.text()


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
