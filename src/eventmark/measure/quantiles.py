"""Quantiles of raw samples, each with an interval that says how far it can be trusted.

Two intervals are computed and the wider bounds are taken. The first is distribution-free: the ranks between
which a quantile lies with 95% probability follow from the binomial distribution alone, if samples are
independent. They are not: a checkpoint slows a thousand in a row. The second resamples the measured series
in blocks, which keeps neighbours together, and shows how far the quantile moves (Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from eventmark.measure.results import Latency, LatencyInterval
from eventmark.measure.targets import QUANTILES

CONFIDENCE = 0.95
RESAMPLES = 200
BLOCKS_MIN = 20
_NS_PER_MS = 1e6


def latency_of(samples_ns: np.ndarray) -> Latency:
    """Quantiles in milliseconds: the smallest sample that at least the share ``q`` do not exceed."""
    ordered = np.sort(samples_ns)
    at = {name: float(ordered[_rank(len(ordered), q)]) / _NS_PER_MS for name, q in QUANTILES.items()}
    return Latency(**at, max=float(ordered[-1]) / _NS_PER_MS)


def intervals_of(series_ns: Sequence[np.ndarray], random: np.random.Generator) -> dict[str, LatencyInterval]:
    """The interval of each quantile. ``series_ns`` has one array per fork, in the order measured."""
    return {name: quantile_interval(series_ns, q, random=random) for name, q in QUANTILES.items()}


def quantile_interval(
    series_ns: Sequence[np.ndarray],
    quantile: float,
    *,
    random: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> LatencyInterval:
    """Milliseconds. ``high`` is None where no sample bounds the quantile from above."""
    ordered = np.sort(np.concatenate(list(series_ns)))
    low_rank, high_rank = _order_statistic_ranks(len(ordered), quantile, confidence)
    low = float(ordered[max(low_rank, 0)])
    high = float(ordered[high_rank]) if high_rank < len(ordered) else None
    block_low, block_high = _block_bootstrap(series_ns, quantile, confidence, random)
    return LatencyInterval(
        low=min(low, block_low) / _NS_PER_MS,
        high=None if high is None else max(high, block_high) / _NS_PER_MS,
    )


def _rank(count: int, quantile: float) -> int:
    """The place of the quantile among ``count`` ordered samples, from 0."""
    return min(max(int(np.ceil(quantile * count - 1e-9)), 1), count) - 1


def _order_statistic_ranks(count: int, quantile: float, confidence: float) -> tuple[int, int]:
    """Places, from 0, between which the quantile lies; -1 or ``count`` where no sample bounds it."""
    tail = (1 - confidence) / 2
    low = int(binom.ppf(tail, count, quantile)) - 1
    high = int(binom.ppf(1 - tail, count, quantile))
    return low, high


def _block_bootstrap(
    series_ns: Sequence[np.ndarray], quantile: float, confidence: float, random: np.random.Generator
) -> tuple[float, float]:
    """Bounds of the quantile over resamples made of blocks, each fork resampled within itself."""
    parts = [_resample(series, random) for series in series_ns if len(series)]
    resampled = np.concatenate(parts, axis=1)
    rank = _rank(resampled.shape[1], quantile)
    found = np.partition(resampled, rank, axis=1)[:, rank]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _resample(series: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """``RESAMPLES`` rows as long as the series, each of blocks that begin anywhere, wrapping around."""
    count = len(series)
    length = max(1, min(int(np.sqrt(count)), count // BLOCKS_MIN or 1))
    blocks = -(-count // length)
    starts = random.integers(0, count, (RESAMPLES, blocks, 1))
    places = (starts + np.arange(length)) % count
    return np.asarray(series[places.reshape(RESAMPLES, -1)[:, :count]])
