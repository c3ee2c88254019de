"""``jmh.json``: the format in which the Java harness JMH writes results, read by its many viewers."""

from __future__ import annotations

import json
import re
from typing import Any

from hdrh.histogram import HdrHistogram

from eventmark.measure.results import OperationResult, RunResult

_PERCENTILES = ("0.0", "50.0", "90.0", "95.0", "99.0", "99.9", "99.99", "99.999", "99.9999", "100.0")
_NS_PER_MS = 1e6


def render_jmh(result: RunResult) -> str:
    return (
        json.dumps([_benchmark(name, one, result) for name, one in result.operations.items()], indent=2)
        + "\n"
    )


def _benchmark(name: str, one: OperationResult, result: RunResult) -> dict[str, Any]:
    histogram = HdrHistogram.decode(one.histogram)
    percentiles = {p: histogram.get_value_at_percentile(float(p)) / _NS_PER_MS for p in _PERCENTILES}
    mean_ms = histogram.get_mean_value() / _NS_PER_MS
    interval = one.interval_ms["p50"]
    high = interval.high if interval.high is not None else percentiles["100.0"]
    return {
        "jmhVersion": "1.37",
        "benchmark": "eventmark." + re.sub(r"\W+", "_", name).strip("_"),
        "mode": "sample",
        "threads": 1,
        "forks": len(one.forks),
        "jvm": result.environment.host.python,
        "jvmArgs": [],
        "vmName": result.environment.host.python.partition(" ")[0],
        "vmVersion": result.environment.host.python.partition(" ")[2],
        "warmupIterations": max((fork.warmup_iterations for fork in one.forks), default=0),
        "warmupTime": "1 s",
        "warmupBatchSize": 1,
        "measurementIterations": 1,
        "measurementTime": "1 s",
        "measurementBatchSize": 1,
        "params": {
            "events": str(result.corpus.events if result.corpus else 0),
            "store": result.environment.store.name,
        },
        "primaryMetric": {
            "score": mean_ms,
            "scoreError": (high - interval.low) / 2,
            "scoreConfidence": [interval.low, high],
            "scorePercentiles": percentiles,
            "scoreUnit": "ms/op",
            "rawDataHistogram": [[_raw(histogram)]],
        },
        "secondaryMetrics": {},
    }


def _raw(histogram: HdrHistogram) -> list[list[float]]:
    """Pairs of latency in milliseconds and how often it was seen."""
    return [
        [item.value_iterated_to / _NS_PER_MS, item.count_added_in_this_iter_step]
        for item in histogram.get_recorded_iterator()
    ]
