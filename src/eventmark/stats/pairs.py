"""Two sides measured in turns: the ratio of one to the other, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from eventmark.stats.ranks import CONFIDENCE


@dataclass(frozen=True, slots=True)
class PairRatio:
    """Changed over unchanged. ``low`` and ``high`` bound it with 95% confidence, None for a single pair."""

    value: float
    low: float | None
    high: float | None
    pairs: int

    def is_above(self, ratio: float) -> bool:
        """Whether the whole interval is."""
        return self.low is not None and self.low > ratio

    def is_below(self, ratio: float) -> bool:
        return self.high is not None and self.high < ratio

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3g} ×"
        return f"{self.value:.3g} × ({self.low:.3g} to {self.high:.3g})"


def pair_ratio(
    unchanged: Sequence[float], changed: Sequence[float], *, confidence: float = CONFIDENCE
) -> PairRatio:
    """The geometric mean of the pairs' ratios, with Student's interval on their logarithms.

    The n-th of both are a pair, measured one right after the other, so that what drifts meets both; all
    are above 0. Raises ``ValueError`` for no pairs, or sides of different lengths.
    """
    if not unchanged or len(unchanged) != len(changed):
        raise ValueError(f"{len(unchanged)} and {len(changed)} measurements are no pairs")
    logs = np.log(np.asarray(changed, float) / np.asarray(unchanged, float))
    centre, count = float(logs.mean()), len(logs)
    if count < 2:
        return PairRatio(math.exp(centre), None, None, count)
    error = float(logs.std(ddof=1)) / math.sqrt(count)
    beyond = float(stdtrit(count - 1, (1 + confidence) / 2)) * error
    return PairRatio(math.exp(centre), math.exp(centre - beyond), math.exp(centre + beyond), count)
