"""A result as metrics: verdicts, quantiles and figures, for whoever scrapes or collects text files."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Gauge

from eventmark.results.results import RunResult, Verdict
from eventmark.results.targets import QUANTILES
from eventmark.text import one_line


class ResultGauges:
    """Gauges of a registry that ``show`` sets from a result."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._verdict = Gauge(
            "eventmark_verdict", "1 for the verdict of a part of the run, else 0.", ["part", "verdict"],
            registry=registry,
        )  # fmt: skip
        self._latency = Gauge(
            "eventmark_latency_seconds", "Quantile of an operation's latency.", ["operation", "percentile"],
            registry=registry,
        )  # fmt: skip
        self._target = Gauge(
            "eventmark_target_seconds", "What the quantile has to stay below.", ["operation", "percentile"],
            registry=registry,
        )  # fmt: skip
        self._figure = Gauge("eventmark_figure", "A figure of the run.", ["name", "unit"], registry=registry)

    def show(self, result: RunResult) -> None:
        for part, part_verdict in _verdicts(result):
            for verdict in Verdict:
                self._verdict.labels(one_line(part), verdict.value).set(int(part_verdict is verdict))
        for name, operation in result.operations.items():
            for quantile in QUANTILES:
                if (value := operation.quantile_ms(quantile)) is not None:
                    self._latency.labels(one_line(name), quantile).set(value / 1e3)
            if operation.target_ms:
                self._target.labels(one_line(name), operation.target_quantile).set(operation.target_ms / 1e3)
        for name, figure in result.figures.items():
            self._figure.labels(one_line(name), one_line(figure.unit)).set(figure.value)


def _verdicts(result: RunResult) -> Iterator[tuple[str, Verdict]]:
    yield "run", result.verdict
    for name, operation in result.operations.items():
        yield name, operation.verdict
    for ordering in result.orderings:
        yield ordering.ordering, ordering.verdict
    for section in result.sections:
        if section.verdict is not None:
            yield section.name, section.verdict
