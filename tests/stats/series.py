"""Samples whose true quantiles are known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

SIGMA = 0.5
NS_PER_MS = 1_000_000


def true_quantile_ms(q: float) -> float:
    """Of every series below: lognormal with a median of 1 ms."""
    return math.exp(SIGMA * float(norm.ppf(q)))


def independent(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    return _lognormal(random.standard_normal(count))


def correlated(count: int, random: np.random.Generator, phi: float = 0.9) -> NDArray[np.int64]:
    """The same distribution; each sample depends on the one before by ``phi``."""
    noise = random.standard_normal(count + 500) * math.sqrt(1 - phi**2)
    return _lognormal(lfilter([1.0], [1.0, -phi], noise)[500:])


def _lognormal(normal: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(np.exp(SIGMA * normal) * NS_PER_MS).astype(np.int64)
