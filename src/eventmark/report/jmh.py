"""``jmh.json``: the format in which the Java harness JMH writes results (``-rf json``), for its many viewers."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from eventmark.report.histogram import Decoded, decode
from eventmark.results.results import OperationResult, RunResult
from eventmark.stats.student import student_quantile
from eventmark.text import one_line

JMH_VERSION = "1.37"  # whose fields these are
PERCENTILES = ("0.0", "50.0", "90.0", "95.0", "99.0", "99.9", "99.99", "99.999", "99.9999", "100.0")
CONFIDENCE = 0.999  # JMH's own for score and error


def render_jmh(result: RunResult) -> str:
    """An array of one benchmark per operation. One whose histogram cannot be read is left out."""
    benchmarks = [
        _benchmark(name, operation, decoded, result)
        for name, operation in result.operations.items()
        if (decoded := decode(operation.histogram)) is not None
    ]
    return json.dumps(benchmarks, indent=4, allow_nan=False) + "\n"


def _benchmark(name: str, operation: OperationResult, decoded: Decoded, result: RunResult) -> dict[str, Any]:
    implementation, _, version = one_line(result.environment.host.python).partition(" ")
    return {
        "jmhVersion": JMH_VERSION,
        "benchmark": "eventmark." + (re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "operation"),
        "mode": "sample",
        "threads": 1,
        "forks": len(operation.forks),
        "jvm": implementation,
        "jvmArgs": [],
        "jdkVersion": version,
        "vmName": implementation,
        "vmVersion": version,
        "warmupIterations": max((fork.warmup_iterations for fork in operation.forks), default=0),
        "warmupTime": "NONE",
        "warmupBatchSize": 1,
        "measurementIterations": 1,
        "measurementTime": "NONE",
        "measurementBatchSize": 1,
        "params": {
            "events": str(result.corpus.events if result.corpus else 0),
            "store": one_line(result.environment.store.name),
        },
        "primaryMetric": {
            **_score(decoded),
            "scorePercentiles": {percent: decoded.percentile_ms(float(percent)) for percent in PERCENTILES},
            "scoreUnit": "ms/op",
            # fork, iteration, then pairs: the forks' histograms are kept as one
            "rawDataHistogram": [[list(zip(decoded.latencies_ms, decoded.counts, strict=True))]],
        },
        "secondaryMetrics": {},
    }


def _score(decoded: Decoded) -> dict[str, Any]:
    """The mean with JMH's error: half of Student's interval, the text NaN where there is none."""
    mean_ms, samples = decoded.mean_ms, decoded.samples
    if samples < 3:
        return {"score": mean_ms, "scoreError": "NaN", "scoreConfidence": ["NaN", "NaN"]}
    factor = student_quantile(samples - 1, 1 - (1 - CONFIDENCE) / 2)
    error_ms = factor * decoded.deviation_ms / math.sqrt(samples)
    return {
        "score": mean_ms,
        "scoreError": error_ms,
        "scoreConfidence": [mean_ms - error_ms, mean_ms + error_ms],
    }
