"""An upper bound from the largest samples of stretches of time, for series whose neighbours depend on each other.

Order statistics bound a quantile by what independent samples would allow. Where calls come in long slow and fast
stretches, thousands of samples are worth a handful of independent ones, and nothing bounds the quantile, though
every sample lay at a thousandth of the target. This bound asks another question: how far do the largest samples
of whole stretches lie apart?
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eventmark.stats.dependence import Samples
from eventmark.stats.student import student_quantile

BLOCKS_MIN = 20
"""Fewer maxima say too little about how far the next one may lie."""

MARGIN = 2.0
"""At least so many times the largest sample: nothing nearer is called far."""


RISING = 0.8
"""Correlation of the maxima with time: from here on they rise, and where they would end nobody knows."""


def block_maxima_bound(samples_by_fork: Sequence[Samples], *, confidence: float) -> float | None:
    """A value that the largest sample of one more stretch stays below, in the samples' unit.

    None for too few samples, and where they rise all the time.

    Every fork is cut into as many stretches as make ``BLOCKS_MIN`` or more of all forks together. The logarithms of
    their maxima are taken as normal, and the bound is the upper end of Student's prediction interval for one more of
    them (``confidence`` two-sided), at least ``MARGIN`` times the largest sample. A quantile is exceeded far less
    often than a maximum, so that as a bound of a quantile it errs on the high side.
    """
    forks = [fork for fork in samples_by_fork if len(fork)]
    per_fork = -(-BLOCKS_MIN // max(len(forks), 1))
    logs = np.array(
        [
            [math.log(max(int(stretch.max()), 1)) for stretch in np.array_split(fork, per_fork)]
            for fork in forks
            if len(fork) >= per_fork
        ]
    )
    if logs.size < BLOCKS_MIN or _rises(logs):
        return None
    spread = float(logs.std(ddof=1)) * (1 + 1 / logs.size) ** 0.5
    beyond = student_quantile(logs.size - 1, (1 + confidence) / 2) * spread
    return max(math.exp(float(logs.mean()) + beyond), MARGIN * math.exp(float(logs.max())))


def _rises(logs: NDArray[np.float64]) -> bool:
    """Whether the maxima rise through the forks (rows), each about its own mean."""
    times = np.arange(logs.shape[1]) - (logs.shape[1] - 1) / 2
    deviations = logs - logs.mean(axis=1, keepdims=True)
    spread = float(np.sqrt((deviations**2).sum() * (times**2).sum() * len(logs)))
    return spread > 0 and float((deviations * times).sum()) / spread > RISING
