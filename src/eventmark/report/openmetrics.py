"""``metrics.prom``: the result as metrics, for the text file collector of Prometheus' node exporter."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from eventmark.results.exposition import ResultGauges
from eventmark.results.results import RunResult


def render_openmetrics(result: RunResult) -> str:
    """The text format of Prometheus; label values are escaped by the library."""
    registry = CollectorRegistry()
    ResultGauges(registry).show(result)
    return generate_latest(registry).decode()
