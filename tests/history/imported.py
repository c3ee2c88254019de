"""Tables and files of JMH's made up for histories: a number for each run, steady or with a step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

BENCHMARK = "org.acme.AppendBench.appendOne"


def levels(*parts: tuple[int, float], seed: int = 1) -> list[float]:
    """So many runs at each level, 1% apart."""
    values = [level for runs, level in parts for _ in range(runs)]
    noise = np.random.default_rng(seed).normal(1, 0.01, len(values))
    return [float(value) for value in np.asarray(values) * noise]


def table(path: Path, columns: Mapping[str, Sequence[object]], *, times: Sequence[str] = ()) -> Path:
    """A column of days, one of commits, and those given."""
    runs = len(next(iter(columns.values())))
    days = [datetime(2025, 1, 1, 3, tzinfo=UTC) + timedelta(days=run) for run in range(runs)]
    moments = times or [f"{day:%Y-%m-%d %H:%M:%S} +0000" for day in days]
    rows = zip(moments, (f"c{run:04x}" for run in range(runs)), *columns.values(), strict=True)
    lines = [",".join(["time", "commit", *columns]), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def benchmark(
    score: object, *, unit: str = "us/op", mode: str = "avgt", name: str = BENCHMARK
) -> dict[str, Any]:
    percentiles = dict.fromkeys(("0.0", "50.0", "90.0", "95.0", "100.0"), score)
    metric = {"score": score, "scoreError": "NaN", "scorePercentiles": percentiles, "scoreUnit": unit}
    return {"benchmark": name, "mode": mode, "threads": 1, "primaryMetric": metric}


def jmh_files(folder: Path, runs: Iterable[Sequence[Mapping[str, Any]]]) -> list[Path]:
    """``jmh-0.json``, ``jmh-1.json`` and so on, in the shell's order: jmh-10 before jmh-2."""
    folder.mkdir()
    for number, benchmarks in enumerate(runs):
        (folder / f"jmh-{number}.json").write_text(json.dumps(list(benchmarks)))
    return sorted(folder.iterdir())
