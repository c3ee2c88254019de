"""What steps say together: ratios to the smallest volume, laws of growth, and what accounts for an excess. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.experiments.scale.laws import Growth, fit_growth
from eventmark.experiments.scale.steps import AccountPair, Counter, Relation, Round, Step
from eventmark.results.targets import QUANTILES
from eventmark.stats.quantiles import latency_of
from eventmark.stats.ranks import NS_PER_MS
from eventmark.stats.ratios import Ratio, quantile_ratio, ratio_of_means

LATENCY_QUANTILES = ("p50", "p95")
RESOLUTION = 0.01
"""Latencies closer than this are not told apart, however many samples agree: the grain of clock and machine."""

COUNTER_RESOLUTION = 0.005
"""Of pages per call, however many calls agree."""

PLAN_RESOLUTION = 0.05
"""Of the pages per row of a single EXPLAIN, whose stream or place is another one at each volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One operation's quantile at one volume: as measured, against the small corpus, and free of drift.

    ``value_ms`` is the ratio times the small corpus' quantile of all steps, with its standard error.
    """

    volume: int
    small_ms: float
    large_ms: float
    ratio: Ratio
    value_ms: float
    error_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One operation's quantile over the volumes, and its law."""

    operation: str
    quantile: str
    points: tuple[Measured, ...]
    growth: Growth


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterCurve:
    """A counter over the volumes, and its law."""

    name: str
    values: tuple[tuple[int, float], ...]
    growth: Growth


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What the server read for single calls of both corpora. Times in milliseconds.

    ``without_reads``: the p95 of latencies without their reads, large to small.
    """

    small_p95_ms: float
    large_p95_ms: float
    small_reads: float  # per call
    large_reads: float
    large_read_ms: float  # per call
    read_us: float | None  # each, of the large corpus
    without_reads: Ratio
    timed: bool  # whether the server timed its reads


def curves_of(steps: Sequence[Step], operation: str, random: np.random.Generator) -> list[Curve]:
    """p50 and p95 of an operation over the volumes; empty where no step has it."""
    measured = [
        (step.volume, step.rounds[operation]) for step in steps if _usable(step.rounds.get(operation))
    ]
    if not measured:
        return []
    return [_curve(operation, quantile, measured, random) for quantile in LATENCY_QUANTILES]


def _usable(rounds: Sequence[Round] | None) -> bool:
    return bool(rounds) and all(
        len(pair.small.samples_ns) and len(pair.large.samples_ns) for pair in rounds or ()
    )


def _curve(
    operation: str,
    quantile: str,
    measured: Sequence[tuple[int, Sequence[Round]]],
    random: np.random.Generator,
) -> Curve:
    reference_ms = float(
        np.exp(np.mean([math.log(_pooled_ms(rounds, "small", quantile)) for _, rounds in measured]))
    )
    points = tuple(_measured(volume, rounds, quantile, reference_ms, random) for volume, rounds in measured)
    growth = fit_growth(
        [point.volume for point in points],
        [point.value_ms for point in points],
        [point.error_ms for point in points],
    )
    return Curve(operation=operation, quantile=quantile, points=points, growth=growth)


def _measured(
    volume: int, rounds: Sequence[Round], quantile: str, reference_ms: float, random: np.random.Generator
) -> Measured:
    pairs = [(pair.large.samples_ns, pair.small.samples_ns) for pair in rounds]
    ratio = quantile_ratio(pairs, QUANTILES[quantile], random=random)
    value_ms = ratio.value * reference_ms
    spread = (math.log(ratio.high) - math.log(max(ratio.low, 1e-9))) / (2 * 1.96)
    return Measured(
        volume=volume, small_ms=_pooled_ms(rounds, "small", quantile), large_ms=_pooled_ms(rounds, "large", quantile),
        ratio=ratio, value_ms=value_ms, error_ms=max(spread, RESOLUTION) * value_ms,
    )  # fmt: skip


def _pooled_ms(rounds: Sequence[Round], side: str, quantile: str) -> float:
    samples = np.concatenate([getattr(pair, side).samples_ns for pair in rounds])
    return max(float(getattr(latency_of(samples), quantile)), 1 / NS_PER_MS)


def counter_curves(steps: Sequence[Step], operations: Sequence[str]) -> list[CounterCurve]:
    """Pages per call of each operation, counted call by call."""
    curves = []
    for name in operations:
        values = [
            (step.volume, pages)
            for step in steps
            if len(pages := _pages(step.accounts.get(name, []), "large")) > 1
        ]
        if values:
            means = [(volume, float(pages.mean())) for volume, pages in values]
            errors = [float(pages.std(ddof=1)) / math.sqrt(len(pages)) for _, pages in values]
            curves.append(_counter_curve(name, means, errors))
    return curves


def plan_curves(steps: Sequence[Step]) -> list[CounterCurve]:
    """Pages per row of each statement under each condition, as EXPLAIN counted them."""
    pages: dict[str, list[tuple[int, float]]] = {}
    for step in steps:
        for counter in step.counters:
            pages.setdefault(_plan_name(counter), []).append((step.volume, counter.buffers_per_row))
    return [
        _counter_curve(name, values, [PLAN_RESOLUTION * value for _, value in values])
        for name, values in sorted(pages.items())
    ]


def _plan_name(counter: Counter) -> str:
    return f"{counter.statement}, {counter.condition}"


def _counter_curve(name: str, values: Sequence[tuple[int, float]], errors: Sequence[float]) -> CounterCurve:
    growth = fit_growth(
        [volume for volume, _ in values],
        [value for _, value in values],
        [
            max(error, COUNTER_RESOLUTION * value, 1e-6)
            for error, (_, value) in zip(errors, values, strict=True)
        ],
    )
    return CounterCurve(name=name, values=tuple(values), growth=growth)


def _pages(pairs: Sequence[AccountPair], side: str) -> NDArray[np.float64]:
    """Pages of each call."""
    counted = [getattr(pair, side).pages for pair in pairs]
    return np.concatenate(counted).astype(np.float64) if counted else np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Pages per call of both corpora. ``ratio`` is of large to small; ``but_for_levels`` the same without the
    ``of_levels`` pages that more levels of indexes cost."""

    small: float
    large: float
    of_levels: float
    ratio: Ratio
    but_for_levels: Ratio


def pages_of(step: Step, operation: str) -> Pages | None:
    """At one volume; None where nothing was counted."""
    small, large = (_pages(step.accounts.get(operation, []), side) for side in ("small", "large"))
    if not small.sum() or not large.sum():
        return None
    of_levels = _pages_of_levels(step, operation)
    return Pages(
        small=float(small.mean()),
        large=float(large.mean()),
        of_levels=of_levels,
        ratio=ratio_of_means(large, small),
        but_for_levels=ratio_of_means(np.maximum(large - of_levels, 1e-9), small),
    )


def accounting_of(pairs: Sequence[AccountPair], random: np.random.Generator) -> Accounting | None:
    """Of single calls; None where there are none."""
    if not pairs:
        return None
    small, large = ([getattr(pair, side) for pair in pairs] for side in ("small", "large"))
    latency = {
        side: np.concatenate([read.latency_ns for read in of_side])
        for side, of_side in (("s", small), ("l", large))
    }
    reads = {
        side: np.concatenate([read.reads for read in reads]) for side, reads in (("s", small), ("l", large))
    }
    read_ns = np.concatenate([read.read_ns for read in large])
    calls, total = len(read_ns), float(reads["l"].sum())
    return Accounting(
        small_p95_ms=latency_of(latency["s"]).p95,
        large_p95_ms=latency_of(latency["l"]).p95,
        small_reads=float(reads["s"].mean()),
        large_reads=total / calls,
        large_read_ms=float(read_ns.mean()) / NS_PER_MS,
        read_us=float(read_ns.sum()) / total / 1e3 if total else None,
        without_reads=quantile_ratio(
            [
                (
                    np.maximum(pair.large.latency_ns - pair.large.read_ns, 1),
                    np.maximum(pair.small.latency_ns - pair.small.read_ns, 1),
                )
                for pair in pairs
            ],
            QUANTILES["p95"],
            random=random,
        ),
        timed=not total or bool(read_ns.any()),
    )


def events_per_call(operation: str) -> int:
    """How many events a call is about, as its name says; 1 where it says none."""
    number = operation.partition("[")[2].rstrip("]")
    return int(number) if number.isdigit() else 1


def _levels_gained(step: Step) -> dict[str, int]:
    """By index: how many levels more the large corpus' has than the small one's."""
    small = {relation.name: relation for relation in step.relations_small if relation.levels is not None}
    return {
        relation.name: relation.levels - (small[relation.name].levels or 0)
        for relation in step.relations_large
        if relation.levels is not None
        and relation.name in small
        and relation.levels > (small[relation.name].levels or 0)
    }


def _pages_of_levels(step: Step, operation: str) -> float:
    """How many pages more a call must touch because indexes have more levels: one for each level and descent.

    An append descends every index once for each event, and others as often as they were searched in.
    """
    scans = step.scans.get(operation, {})
    inserted = events_per_call(operation) if operation.startswith("append_events") else 0
    of_events = _indexes_of_events(step.relations_large)
    return sum(
        gained * (scans.get(name, 0.0) + (inserted if name in of_events else 0))
        for name, gained in _levels_gained(step).items()
    )


def _indexes_of_events(relations: Sequence[Relation]) -> set[str]:
    """All but those of snapshots, by their name: an event is put into each."""
    return {
        relation.name
        for relation in relations
        if relation.kind == "index" and "snapshot" not in relation.name
    }


def hit_ratio(step: Step) -> float | None:
    """The share of pages found in shared buffers while the large corpus was measured."""
    total = step.hits + step.reads
    return step.hits / total if total else None


def measured_operations(steps: Sequence[Step]) -> Iterator[str]:
    """In the order in which they were measured."""
    yield from dict.fromkeys(name for step in steps for name in step.rounds)
