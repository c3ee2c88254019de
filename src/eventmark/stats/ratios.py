"""How many times as slow, or as quick: ratios of what was measured in turns, and how far each can be trusted.

Two sides measured one after the other, A B B A, meet the same drift of the machine: it cancels in the ratio
of each round, though not in the figures themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.results.results import Verdict
from eventmark.stats.dependence import Samples, dependence_of
from eventmark.stats.ranks import CONFIDENCE, nearest_rank
from eventmark.stats.student import student_quantile

RESAMPLES = 400
_VALUES_AT_ONCE = 4_000_000  # of resamples, at 8 bytes each
SHOWN_MAX = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """``value`` with its interval, from ``count`` pairs, rounds or forks. ``high`` is infinite, and ``low`` 0, where
    nothing bounds it."""

    value: float
    low: float
    high: float
    count: int = 0

    @property
    def bounded(self) -> bool:
        return self.low > 0 and math.isfinite(self.high)

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """To be shown: None where nothing bounds it."""
        return (self.low, self.high) if self.bounded else (None, None)

    def is_above(self, ratio: float) -> bool:
        """Whether the whole interval is."""
        return self.low > ratio

    def is_below(self, ratio: float) -> bool:
        return self.high < ratio

    def judged(self, most: float) -> Verdict:
        """BROKEN when it is surely above ``most``, MET when it surely is not."""
        if self.is_above(most):
            return Verdict.BROKEN
        return Verdict.MET if self.is_below(most) else Verdict.INCONCLUSIVE

    @property
    def interval(self) -> str:
        """``0.98 to 1.05``; beyond a hundred times either way it bounds nothing."""
        low = f"{self.low:.3g}" if self.low > 1 / SHOWN_MAX else "0"
        return f"{low} to {self.high:.3g}" if self.high < SHOWN_MAX else f"{low} or more"

    def __str__(self) -> str:
        return f"{self.value:.3g} × ({self.interval})"


def mean_ratio(ratios: Sequence[float], *, confidence: float = CONFIDENCE) -> Ratio:
    """The geometric mean of the rounds' ratios, with Student's interval of their logarithms.

    One round bounds nothing. Raises ``ValueError`` for none, and for one that is not above 0.
    """
    if not ratios or min(ratios) <= 0:
        raise ValueError("ratios above 0 are needed")
    logs = np.log(np.array(ratios))
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return _of_logs(float(logs.mean()), error, len(logs) - 1, confidence, len(logs))


def paired_ratio(over: Sequence[float], under: Sequence[float], *, confidence: float = CONFIDENCE) -> Ratio:
    """``mean_ratio`` of pairs: the n-th of both were measured one right after the other, so that drift meets both.

    Raises ``ValueError`` for no pairs, sides of different lengths, and values that are not above 0.
    """
    if not over or len(over) != len(under) or min(*over, *under) <= 0:
        raise ValueError(f"{len(over)} and {len(under)} measurements are not pairs of values above 0")
    return mean_ratio(
        [numerator / other for numerator, other in zip(over, under, strict=True)], confidence=confidence
    )


def welch_ratio(over: Sequence[float], under: Sequence[float], *, confidence: float = CONFIDENCE) -> Ratio:
    """The ratio of two groups' geometric means with Welch's interval (1947) of their logarithms.

    The groups are independent, and need not vary alike. Raises ``ValueError`` for an empty group.
    """
    shift, error, freedom = welch(over, under)
    return _of_logs(shift, error, freedom, confidence, min(len(over), len(under)))


def welch(over: Sequence[float], under: Sequence[float]) -> tuple[float, float, float]:
    """Of two groups of values above 0: the difference of the means of their logarithms, its error, its freedom.

    The error is infinite for a group of one. Raises ``ValueError`` for an empty one.
    """
    if not len(over) or not len(under):
        raise ValueError("both groups need values")
    logs = [np.log(np.asarray(side, float)) for side in (over, under)]
    shift = float(logs[0].mean() - logs[1].mean())
    if min(map(len, logs)) < 2:
        return shift, math.inf, 0.0
    parts = [float(side.var(ddof=1)) / len(side) for side in logs]
    total = sum(parts)
    if total == 0:
        return shift, 0.0, float(sum(map(len, logs)) - 2)
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, logs, strict=True))
    return shift, math.sqrt(total), total**2 / spread


def _of_logs(shift: float, error: float, freedom: float, confidence: float, count: int) -> Ratio:
    """``shift`` is the logarithm of a ratio, with Student's interval."""
    value = math.exp(shift)
    if not math.isfinite(error):
        return Ratio(value=value, low=0.0, high=math.inf, count=count)
    reach = math.exp(student_quantile(freedom, (1 + confidence) / 2) * error)
    return Ratio(value=value, low=value / reach, high=value * reach, count=count)


def ratio_of_means(
    samples: NDArray[np.float64], other: NDArray[np.float64], *, confidence: float = CONFIDENCE
) -> Ratio:
    """The mean of independent values divided by that of others, with the interval of the delta method.

    Of counts that differ from call to call because of what was asked for. Fewer than two values on a side bound
    nothing, unless all are alike. Raises ``ValueError`` for no values, and for means that are not above 0.
    """
    if not len(samples) or not len(other) or min(samples.mean(), other.mean()) <= 0:
        raise ValueError("values with a mean above 0 are needed on both sides")
    count, error = min(len(samples), len(other)), math.inf
    if count > 1:
        shares = [float(side.var(ddof=1)) / len(side) / float(side.mean()) ** 2 for side in (samples, other)]
        error = math.sqrt(sum(shares))
    return _of_logs(math.log(float(samples.mean() / other.mean())), error, count - 1, confidence, count)


def quantile_ratio(
    rounds: Sequence[tuple[Samples, Samples]],
    q: float,
    *,
    random: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> Ratio:
    """The q-quantile of one side's samples, of all rounds together, divided by the other side's.

    A round is a pair of series measured close to each other, each in the order of time. The interval is of a
    bootstrap that draws whole rounds, so that drift stays paired, and blocks within each series, so that
    neighbours stay together; or Student's of the rounds' own ratios, whichever reaches further. Raises
    ``ValueError`` where a series is empty.
    """
    if not rounds or any(not len(series) for pair in rounds for series in pair):
        raise ValueError("every round needs samples of both sides")
    value = _pooled(rounds, 0, q) / _pooled(rounds, 1, q)
    drawn = _drawn_rounds(len(rounds), random)
    quantiles = [_resampled([pair[side] for pair in rounds], drawn, q, random) for side in (0, 1)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(quantiles[0] / quantiles[1], [tail, 1 - tail])
    own = mean_ratio(
        [_quantile(samples, q) / _quantile(other, q) for samples, other in rounds], confidence=confidence
    )
    if len(rounds) < 2:
        return Ratio(value=value, low=float(low), high=float(high))
    return Ratio(
        value=value,
        low=min(float(low), value * own.low / own.value),
        high=max(float(high), value * own.high / own.value),
    )


def _drawn_rounds(count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Which rounds each resample is made of: resamples x rounds."""
    return random.integers(0, count, size=(RESAMPLES, count))


def _resampled(
    series: Sequence[Samples], drawn: NDArray[np.intp], q: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """The quantile of each resample, all of which draw the same rounds for both sides."""
    threshold = int(np.quantile(np.concatenate(series), q))
    length = dependence_of(series, threshold).block_length
    blocks = [_all_blocks(samples, length) for samples in series]
    at_once = max(1, _VALUES_AT_ONCE // (drawn.shape[1] * max(map(len, series))))
    return np.concatenate(
        [_quantiles(blocks, drawn[at : at + at_once], q, random) for at in range(0, len(drawn), at_once)]
    )


def _quantiles(
    blocks: Sequence[Samples], drawn: NDArray[np.intp], q: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """The quantile of each resample, by nearest rank and of a nanosecond at least, as of ``_quantile``."""
    lengths = np.array([len(block) for block in blocks])
    values = np.full(
        (*drawn.shape, lengths.max()), np.iinfo(np.int64).max
    )  # what is filled up lies behind every rank
    for number, block in enumerate(blocks):
        here = drawn == number
        values[here, : len(block)] = _drawn_blocks(block, int(here.sum()), random)
    ranks = np.array([nearest_rank(q, int(count)) - 1 for count in lengths[drawn].sum(axis=1)])
    partitioned = np.partition(values.reshape(len(drawn), -1), np.unique(ranks), axis=1)
    quantiles = np.take_along_axis(partitioned, ranks[:, np.newaxis], axis=1)[:, 0]
    return np.asarray(np.maximum(quantiles, 1), np.float64)


def _all_blocks(series: Samples, length: int) -> Samples:
    """A view of the block that begins at each sample; those at the end go on at the beginning."""
    wrapped = np.resize(series, len(series) + length - 1)
    view: Samples = np.lib.stride_tricks.sliding_window_view(wrapped, length)
    return view


def _drawn_blocks(blocks: Samples, draws: int, random: np.random.Generator) -> Samples:
    """For each draw as many samples as the series has."""
    count, length = blocks.shape
    starts = random.integers(0, count, size=(draws, math.ceil(count / length)))
    drawn: Samples = blocks[starts].reshape(draws, -1)[:, :count]
    return drawn


def _pooled(rounds: Sequence[tuple[Samples, Samples]], side: int, q: float) -> float:
    return _quantile(np.concatenate([pair[side] for pair in rounds]), q)


def _quantile(samples: Samples, q: float) -> float:
    """By nearest rank, as everywhere; at least a nanosecond, so that it divides."""
    rank = nearest_rank(q, len(samples)) - 1
    return float(max(np.partition(samples, rank)[rank], 1))
