"""Results of the Java harness JMH (``-rf json``) as entries of a history."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventmark.errors import UsageError
from eventmark.history.entries import Entry, Measurement
from eventmark.history.units import is_rate

_REMEDY = "write it with: java -jar benchmarks.jar -rf json"
_DIGITS = re.compile(r"(\d+)")
CHECKOUT_S = 120.0
"""Files whose times lie closer than this were copied or checked out together: their times tell nothing."""


def read_jmh(path: Path) -> Entry:
    """One file as one entry, whose moment is the file's own time: JMH keeps none. Raises ``UsageError``.

    A benchmark whose score is no number is told as ``unjudged``, so that one bad run does not end a history.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
        changed_s = path.stat().st_mtime
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a file of JMH's") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a result of JMH: {error}", remedy=_REMEDY) from error
    if not isinstance(document, list) or not document or not all(map(_is_benchmark, document)):
        raise UsageError(f"{path} holds no benchmark of JMH's", remedy=_REMEDY)
    measurements: dict[str, Measurement] = {}
    unjudged: dict[str, str] = {}
    for entry in document:
        for name, score, unit, better in _scores(entry):
            if name in measurements or name in unjudged:
                unjudged[name] = "two values of one run"
                measurements.pop(name, None)
            elif (value := _number(score)) is None:
                unjudged[name] = f"{score!r:.40} is not a number"
            else:
                measurements[name] = Measurement(value=value, unit=unit, better=better)
    return Entry(
        at=changed_s, moment=datetime.fromtimestamp(changed_s, UTC).strftime("%Y-%m-%d %H:%M:%S"), commit="",
        file=str(path), place=str(path), kind="JMH", machine="JMH", measurements=measurements, unjudged=unjudged,
    )  # fmt: skip


def read_jmh_files(paths: Sequence[Path]) -> list[Entry]:
    """Several files, in the order of their numbers where names differ in nothing else, as run-2 and run-10 do.

    Other names are in the order of the files' times; where those are all the same, in the order given.
    """
    entries = [read_jmh(path) for path in paths]
    if len({_DIGITS.sub("0", str(path)) for path in paths}) == 1 and len(paths) > 1:
        return [_by_name(entry) for entry in sorted(entries, key=lambda entry: _natural(entry.file))]
    times = [entry.at or 0.0 for entry in entries]
    if len(entries) > 1 and max(times) - min(times) < CHECKOUT_S:
        return [_by_name(entry) for entry in entries]
    return sorted(entries, key=lambda entry: entry.at or 0.0)


def _by_name(entry: Entry) -> Entry:
    return replace(entry, at=None, moment=Path(entry.file).name)


def _natural(name: str) -> list[int]:
    return [int(digits) for digits in _DIGITS.findall(name)]


def _is_benchmark(benchmark: Any) -> bool:
    return (
        isinstance(benchmark, dict)
        and all(isinstance(benchmark.get(key), str) for key in ("benchmark", "mode"))
        and isinstance(benchmark.get("primaryMetric"), dict)
    )


def _scores(benchmark: dict[str, Any]) -> Iterator[tuple[str, Any, str, str]]:
    """Name, score, unit and what is better: the median and the 95th percentile of sampled times, else the score."""
    metric, mode, name = benchmark["primaryMetric"], benchmark["mode"], _name(benchmark)
    unit = metric.get("scoreUnit") if isinstance(metric.get("scoreUnit"), str) else ""
    better = "more" if mode == "thrpt" or is_rate(unit) else "less"
    quantiles = metric.get("scorePercentiles")
    if mode == "sample" and isinstance(quantiles, dict) and "50.0" in quantiles:
        for label, key in (("p50", "50.0"), ("p95", "95.0")):
            yield f"{name} {label}", quantiles.get(key), unit, better
    else:
        yield f"{name} {mode}", metric.get("score"), unit, better


def _number(score: Any) -> float | None:
    """A finite number; None for anything else, the text NaN included."""
    try:
        value = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else math.nan
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _name(benchmark: dict[str, Any]) -> str:
    """With its parameters and threads: the same benchmark with others is another number."""
    params = benchmark.get("params")
    given = dict(params) if isinstance(params, dict) else {}
    if benchmark.get("threads", 1) != 1:
        given["threads"] = benchmark["threads"]
    parts = ", ".join(f"{key}={value}" for key, value in sorted(given.items()))
    return f"{benchmark['benchmark']}({parts})" if parts else str(benchmark["benchmark"])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return members
