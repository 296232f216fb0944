"""Metrics: fixed names and fixed label values, read by one local verb; there is no TCP port.

Every process answers `de.praxissafe.Process.ReadMetrics` in the Prometheus text format, from a registry of its
own. A label value must be one of those given when the metric is made (docs/threats.md, A27).
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client import Counter as PrometheusCounter

REGISTRY = CollectorRegistry(auto_describe=True)


class Counter:
    """Counts events by a closed set of outcomes."""

    def __init__(
        self, name: str, meaning: str, outcomes: Iterable[str], registry: CollectorRegistry = REGISTRY
    ) -> None:
        metric = PrometheusCounter(f"praxis_{name}", meaning, ["outcome"], registry=registry)
        self._by_outcome = {outcome: metric.labels(outcome) for outcome in outcomes}

    def add(self, outcome: str) -> None:
        """Count one event; KeyError for an outcome outside the set."""
        self._by_outcome[outcome].inc()


def gauge(name: str, meaning: str, registry: CollectorRegistry = REGISTRY) -> Gauge:
    """Make a gauge without labels."""
    return Gauge(f"praxis_{name}", meaning, registry=registry)


def render() -> str:
    """Give all metrics of this process in the Prometheus text exposition format 0.0.4."""
    return generate_latest(REGISTRY).decode()
