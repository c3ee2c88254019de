"""How much samples depend on their neighbours in time.

Whether a quantile can be trusted is decided by the series "was this call slower than it": when slow calls
come in runs, a thousand samples say no more than a hundred independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]  # nanoseconds, in the order of time

_SERIES_MIN = 12  # shorter ones show nothing
_QUIET_LAGS = 5  # so many lags in a row without correlation end the search


@dataclass(frozen=True, slots=True)
class Dependence:
    """``block_length``: samples that have to stay together when resampling.

    ``inflation``: by how much the dependence multiplies the variance, 1.0 for independent samples; so many
    samples are worth one independent sample.
    """

    block_length: int
    inflation: float


def dependence_of(forks: Sequence[Samples], threshold_ns: int) -> Dependence:
    """Of the series "above ``threshold_ns``" in all forks, and of "above the median" for the length of blocks.

    The median's series is asked as well because few samples lie above a high quantile: runs of slow calls
    show in the middle of the distribution before they show in its tail.
    """
    median_ns = int(np.median(np.concatenate(forks)))
    tail, middle = (_of_series([fork > at for fork in forks]) for at in (threshold_ns, median_ns))
    return Dependence(max(tail.block_length, middle.block_length), tail.inflation)


def _of_series(above: Sequence[NDArray[np.bool_]]) -> Dependence:
    """Block length n^(1/3), or longer by the automatic selection of Politis and White.

    Theirs (2004, corrected 2009 with Patton, circular blocks) is (2 g^2 / d)^(1/3) n^(1/3), from the
    autocovariance under a flat-top window up to twice the lag after which correlation is noise. At most a
    third of the longest fork, so that a resample can differ from it.
    """
    count = sum(len(series) for series in above)
    longest = max(max(len(series) for series in above) // 3, 1)
    shortest = min(math.ceil(count ** (1 / 3)), longest)
    correlation = _autocorrelation(above, longest)
    window = min(2 * _last_telling_lag(correlation, count), len(correlation) - 1)
    if window <= 0:
        return Dependence(block_length=shortest, inflation=1.0)
    lags = np.arange(1, window + 1)
    weighted = np.minimum(1.0, 2 * (1 - lags / window)) * correlation[1 : window + 1]
    inflation = max(1 + 2 * float(weighted.sum()), 1.0)  # an estimate: it can even come out negative
    g = 2 * float((weighted * lags).sum())
    chosen = math.ceil((2 * g**2 / (4 / 3 * inflation**2) * count) ** (1 / 3))
    return Dependence(block_length=min(max(chosen, shortest), longest), inflation=inflation)


def _autocorrelation(forks: Sequence[NDArray[np.bool_]], lags: int) -> NDArray[np.float64]:
    """Of all forks together, by lag; empty where they are too short or do not vary.

    Each fork is centred on its own mean: that forks differ is another matter than that neighbours are alike.
    """
    covariance = np.zeros(lags)
    for series in forks:
        own = _autocovariance(series.astype(np.float64))[:lags]
        covariance[: len(own)] += own
    if lags * 3 < _SERIES_MIN or covariance[0] <= 0:
        return np.empty(0)
    correlation: NDArray[np.float64] = covariance / covariance[0]
    return correlation


def _autocovariance(series: NDArray[np.float64]) -> NDArray[np.float64]:
    deviations = series - series.mean()
    size = 1 << (2 * len(series) - 1).bit_length()  # padded: without it the ends would correlate
    spectrum = np.fft.rfft(deviations, size)
    covariance: NDArray[np.float64] = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(series)]
    return covariance


def _last_telling_lag(correlation: NDArray[np.float64], count: int) -> int:
    """The lag after which a run of lags shows no correlation beyond chance; 0 when none does."""
    noise = 2 * math.sqrt(math.log10(count) / count)
    quiet = np.abs(correlation[1:]) < noise
    if len(quiet) < _QUIET_LAGS:
        return 0
    runs = np.flatnonzero(np.convolve(quiet, np.ones(_QUIET_LAGS), mode="valid") >= _QUIET_LAGS)
    return int(runs[0]) if len(runs) else len(quiet)
