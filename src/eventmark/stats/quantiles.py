"""Quantiles of latency samples, and how far each can be trusted.

Definition used everywhere: nearest rank, see ``ranks.nearest_rank``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.results.results import Latency, LatencyInterval
from eventmark.results.targets import QUANTILES
from eventmark.stats.block_maxima import block_maxima_bound
from eventmark.stats.dependence import Samples, dependence_of
from eventmark.stats.ranks import CONFIDENCE, NS_PER_MS, least_samples, nearest_rank

RESAMPLES = 400
BLOCKS_MAX = 2000  # per resample; beyond it blocks get longer, which costs a little precision and no truth


def latency_of(samples_ns: Samples) -> Latency:
    """p50, p95, p99, p99.9 and max of raw samples by nearest rank, milliseconds.

    Raises ``ValueError`` for no samples.
    """
    count = len(samples_ns)
    if count == 0:
        raise ValueError("no samples")
    ranks = {name: nearest_rank(q, count) - 1 for name, q in QUANTILES.items()}
    placed = np.partition(samples_ns, [*ranks.values(), count - 1])
    values_ms = {name: float(placed[rank]) / NS_PER_MS for name, rank in ranks.items()}
    return Latency(**values_ms, max=float(placed[-1]) / NS_PER_MS)


def intervals_of(
    samples_ns_by_fork: Sequence[Samples], random: np.random.Generator, *, confidence: float = CONFIDENCE
) -> dict[str, LatencyInterval]:
    """``quantile_interval`` of each of p50, p95, p99 and p999."""
    return {
        name: quantile_interval(samples_ns_by_fork, q, confidence=confidence, random=random)
        for name, q in QUANTILES.items()
    }


def quantile_interval(
    samples_ns_by_fork: Sequence[Samples],
    q: float,
    *,
    confidence: float = CONFIDENCE,
    random: np.random.Generator,
) -> LatencyInterval:
    """The confidence interval of the q-quantile of all forks together, milliseconds.

    Each array holds one fork's samples in the order of time. Two intervals are made and each side is the
    wider of the two:

    - order statistics: exact for independent samples of any distribution. Latencies are not independent, a
      checkpoint or a vacuum slows many calls in a row, so it is taken for as many samples as the
      autocorrelation leaves independent;
    - a block bootstrap, which keeps runs of neighbouring samples together and draws whole forks, so that
      both slow stretches and forks unlike each other widen it.

    Where not even the largest sample bounds the quantile, because dependence leaves too few independent ones,
    ``high`` is the bound from block maxima, well above all samples. It is None where there are fewer samples than
    ``least_samples``; ``low`` is always given, at worst the smallest sample. Raises ``ValueError`` for no samples.
    """
    forks = [fork for fork in samples_ns_by_fork if len(fork)]
    if not forks:
        raise ValueError("no samples")
    ordered = np.sort(np.concatenate(forks))
    quantile_ns = int(ordered[nearest_rank(q, len(ordered)) - 1])
    dependence = dependence_of(forks, quantile_ns)
    low, high = _order_statistic_bounds(len(ordered), q, confidence, dependence.inflation)
    blocks = _draw_blocks(forks, dependence.block_length, random)
    low_blocks, high_blocks = _bootstrap_bounds(blocks, ordered, q, confidence)
    high_ns: float | None = None
    if high is not None:
        high_ns = float(ordered[max(high, high_blocks)])
    elif len(ordered) >= least_samples(q, confidence=confidence)[1]:
        high_ns = block_maxima_bound(forks, confidence=confidence)
    return LatencyInterval(
        low=float(ordered[min(low, low_blocks)]) / NS_PER_MS,
        high=None if high_ns is None else high_ns / NS_PER_MS,
    )


def _order_statistic_bounds(
    count: int, q: float, confidence: float, inflation: float
) -> tuple[int, int | None]:
    """0-based places among the sorted samples.

    How many of n independent samples lie below the true quantile is binomial(n, q), whatever their
    distribution: the r-th smallest lies above it when fewer than r do, below it when at least r do. n is
    ``count / inflation``; its ranks are carried over to the samples there are.
    """
    tail = (1 - confidence) / 2
    independent = max(int(count / inflation), 1)
    low_rank = max(_binomial_quantile(tail, independent, q), 1)
    high_rank = _binomial_quantile(1 - tail, independent, q) + 1
    low = max(low_rank * count // independent, 1) if independent < count else low_rank
    high = min(math.ceil(high_rank * count / independent), count)
    return low - 1, high - 1 if high_rank <= independent else None


def _binomial_quantile(probability: float, n: int, q: float) -> int:
    """The smallest k with P(X <= k) >= ``probability`` for X binomial(n, q).

    By the special functions alone: all of ``scipy.stats`` takes half a second to import, in every process.
    """
    from scipy.special import bdtr, bdtrik  # see ``student``

    k: int = math.ceil(bdtrik(probability, n, q))
    return k - 1 if k > 0 and bdtr(k - 1, n, q) >= probability else k


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Where each resample takes its blocks, in an array that holds the forks one after the other.

    Every fork is followed by its own beginning, so that a block may wrap around: without that the first and
    the last samples of a fork would be drawn less often than the others.
    """

    samples: Samples
    starts: NDArray[np.intp]  # resamples x blocks
    length: int

    @property
    def resample_size(self) -> int:
        return int(self.starts.shape[1]) * self.length

    def counts_up_to(self, value_ns: int) -> NDArray[np.int64]:
        """Of each resample, how many samples are at most ``value_ns``."""
        totals = np.concatenate(([0], np.cumsum(self.samples <= value_ns)))
        of_block = totals[self.length :] - totals[: -self.length]  # that begins at each sample
        counts: NDArray[np.int64] = of_block[self.starts].sum(axis=1)
        return counts


def _draw_blocks(forks: Sequence[Samples], length: int, random: np.random.Generator) -> _Blocks:
    """Each resample: as many forks as there are, drawn by their size, the same number of blocks of each."""
    sizes = np.array([len(fork) for fork in forks])
    total = int(sizes.sum())
    length = max(length, math.ceil(total / BLOCKS_MAX))
    offsets = np.concatenate(([0], np.cumsum(sizes + length)))[:-1]
    drawn = random.choice(len(forks), size=(RESAMPLES, len(forks)), p=sizes / total)
    drawn = np.repeat(drawn, math.ceil(total / (len(forks) * length)), axis=1)
    starts = offsets[drawn] + (random.random(drawn.shape) * sizes[drawn]).astype(np.intp)
    wrapped = [np.resize(fork, len(fork) + length) for fork in forks]  # repeats it from its beginning
    return _Blocks(samples=np.concatenate(wrapped), starts=starts, length=length)


def _bootstrap_bounds(blocks: _Blocks, ordered: Samples, q: float, confidence: float) -> tuple[int, int]:
    """0-based places among the sorted samples: the percentile interval of the resamples' quantiles.

    No resample is ever written out: its quantile is at most x exactly when it holds enough samples up to x,
    and that count is a difference of running totals per block. So both ends are found by bisection.
    """
    needed = nearest_rank(q, blocks.resample_size)

    def share_up_to(count: int) -> float:
        return float(np.mean(blocks.counts_up_to(int(ordered[count])) >= needed))

    tail = (1 - confidence) / 2
    places = range(len(ordered))
    return (
        bisect_left(places, tail, key=share_up_to, hi=len(ordered) - 1),
        bisect_left(places, 1 - tail, key=share_up_to, hi=len(ordered) - 1),
    )
