"""Results of the Java harness JMH (``-rf json``) as entries of a history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from eventmark.errors import UsageError
from eventmark.history.entries import Entry, Measurement

_RATES = ("thrpt",)
_REMEDY = "write it with: java -jar benchmarks.jar -rf json"


class _Metric(msgspec.Struct):
    """What JMH tells of a benchmark's metric; numbers that it does not have are the text NaN."""

    score: float | str
    scoreUnit: str
    scorePercentiles: dict[str, float | str] = {}


class _Benchmark(msgspec.Struct):
    benchmark: str
    mode: str
    primaryMetric: _Metric
    params: dict[str, str] = {}


def read_jmh(path: Path) -> Entry:
    """One file as one entry, whose moment is the file's own time: JMH keeps none. Raises ``UsageError``."""
    try:
        benchmarks = msgspec.json.decode(path.read_bytes(), type=list[_Benchmark])
        changed_s = path.stat().st_mtime
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a file of JMH's") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no result of JMH's: {error}", remedy=_REMEDY) from error
    measurements: dict[str, Measurement] = {}
    for one in benchmarks:
        measurements |= dict(_measurements(one))
    if not measurements:
        raise UsageError(f"{path} holds no benchmark", remedy=_REMEDY)
    moment = datetime.fromtimestamp(changed_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return Entry(
        moment=moment, commit="", file=str(path), kind="JMH", machine="JMH", measurements=measurements
    )


def _measurements(one: _Benchmark) -> Iterator[tuple[str, Measurement]]:
    """The median and the 95th percentile of times that were sampled, else the score."""
    metric, name = one.primaryMetric, _name(one.benchmark, one.params)
    quantiles = {
        label: value
        for label, key in (("p50", "50.0"), ("p95", "95.0"))
        if isinstance(value := metric.scorePercentiles.get(key), float)
    }
    if one.mode == "sample" and quantiles:
        for label, value in quantiles.items():
            yield f"{name} {label}", Measurement(value=value, unit=metric.scoreUnit)
    elif isinstance(metric.score, float):
        better = "more" if one.mode in _RATES else "less"
        yield f"{name} {one.mode}", Measurement(value=metric.score, unit=metric.scoreUnit, better=better)


def _name(benchmark: str, params: Mapping[str, Any]) -> str:
    """With its parameters: the same benchmark on another volume is another number."""
    given = ", ".join(f"{name}={value}" for name, value in sorted(params.items()))
    return f"{benchmark}({given})" if given else benchmark
