"""How much slower: the ratio of a quantile between two runs, from the forks' own quantiles.

A fork is what is replicated. Samples within one share its process, its connection and the minute it ran in;
counted as independent, thousands of them would make any two runs differ "significantly".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eventmark.results.results import Document
from eventmark.stats.ratios import welch, welch_ratio
from eventmark.stats.student import student_quantile

POWER = 0.9
FORKS_MIN = 2  # a side; a single fork says nothing of how forks differ


class RatioEffect(Document, frozen=True, kw_only=True):
    """Candidate over base: 1.10 is 10% slower. ``low`` and ``high`` bound it with ``confidence``.

    ``detectable`` is the smallest ratio that forks as unlike each other as these would have shown in nine
    pairs of runs of ten. None where there are too few forks to say.
    """

    ratio: float
    low: float | None = None
    high: float | None = None
    confidence: float
    detectable: float | None = None


def ratio_effect(base: Sequence[float], candidate: Sequence[float], *, confidence: float) -> RatioEffect:
    """``welch_ratio`` of the forks, and the smallest ratio that would have been found.

    ``base`` and ``candidate`` hold one quantile per fork, above 0. Raises ``ValueError`` for no forks.
    """
    ratio = welch_ratio(candidate, base, confidence=confidence)
    if not ratio.bounded:
        return RatioEffect(ratio=ratio.value, confidence=confidence)
    _, error, freedom = welch(candidate, base)
    beyond = (student_quantile(freedom, (1 + confidence) / 2) + student_quantile(freedom, POWER)) * error
    return RatioEffect(
        ratio=ratio.value, low=ratio.low, high=ratio.high, confidence=confidence, detectable=math.exp(beyond)
    )


def slower_share(
    base: tuple[NDArray[np.int64], NDArray[np.int64]], candidate: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> float:
    """How often a call of the candidate is slower than one of the base, ties counted half: 0.5 is level.

    The statistic of Mann and Whitney as a share (Vargha and Delaney's A, 2000), over all samples. Each side
    is its latencies, rising, and how often each was seen. Described, not tested: samples of one fork are no
    independent ones.
    """
    values, counts = base
    totals = np.concatenate(([0], np.cumsum(counts)))
    below = totals[np.searchsorted(values, candidate[0], side="left")]
    up_to = totals[np.searchsorted(values, candidate[0], side="right")]
    wins = ((below + up_to) / 2 * candidate[1]).sum()
    return float(wins / (totals[-1] * candidate[1].sum()))
