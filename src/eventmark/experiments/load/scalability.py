"""How throughput grows with clients: Gunther's Universal Scalability Law, fitted to what was measured.

X(n) = lambda n / (1 + sigma (n - 1) + kappa n (n - 1)): each client alone does ``lambda`` a second; ``sigma``
is the share of the work that only one at a time can do (contention), ``kappa`` what each pair costs to agree
(coherency). Without kappa the throughput ends at lambda / sigma; with it, it falls again beyond the knee.
(N. J. Gunther, Guerrilla Capacity Planning, 2007.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.special import stdtrit

from eventmark.stats.ranks import CONFIDENCE

POINTS_MIN = 4
"""One more than there are parameters: with fewer, any law fits."""

_SIGMA_MAX = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A fitted parameter with its interval; ``low`` and ``high`` are None where the fit does not bound it."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalabilityLaw:
    """The fitted law. ``error`` is the largest relative distance of a measured throughput from it."""

    rate_per_s: Parameter  # lambda
    contention: Parameter  # sigma
    coherency: Parameter  # kappa
    error: float

    def throughput_per_s(self, clients: float) -> float:
        return float(
            _law(np.array([clients]), self.rate_per_s.value, self.contention.value, self.coherency.value)[0]
        )

    @property
    def knee_clients(self) -> float | None:
        """Where throughput is highest; None where it never falls. ``has_knee`` tells whether it is certain."""
        if self.coherency.value <= 0:
            return None
        return max(math.sqrt(max(1 - self.contention.value, 0.0) / self.coherency.value), 1.0)

    @property
    def has_knee(self) -> bool:
        """Whether the interval of the coherency leaves nought out: throughput does fall again."""
        return bool(self.coherency.low)

    @property
    def peak_per_s(self) -> float | None:
        """The most that any number of clients gets; None where the law has no end."""
        if self.knee_clients is not None:
            return self.throughput_per_s(self.knee_clients)
        return self.rate_per_s.value / self.contention.value if self.contention.value > 0 else None


def fit_scalability(clients: Sequence[float], throughput_per_s: Sequence[float]) -> ScalabilityLaw:
    """The law nearest to the throughputs, by relative distance, with 95% intervals of its parameters.

    Intervals are from the fit's covariance and Student's t; they end where the parameter itself ends: none is
    below nought, and contention not above 1. Raises ``ValueError`` for fewer than ``POINTS_MIN`` different
    numbers of clients, or throughputs that are not above nought.
    """
    n, x = np.asarray(clients, dtype=np.float64), np.asarray(throughput_per_s, dtype=np.float64)
    if len(np.unique(n)) < POINTS_MIN or len(n) != len(x):
        raise ValueError(f"a law of three parameters needs {POINTS_MIN} points, got {len(np.unique(n))}")
    if not (np.all(x > 0) and np.all(n >= 1) and np.all(np.isfinite(x))):
        raise ValueError("throughputs must be above 0, and clients 1 or more")
    alone = float(np.max(x / n))
    fitted, covariance = curve_fit(
        _law, n, x, p0=(alone, 0.1, 1e-3), sigma=x, absolute_sigma=False,
        bounds=((0.0, 0.0, 0.0), (np.inf, _SIGMA_MAX, np.inf)), x_scale=(alone, 0.1, 1e-3), maxfev=20_000,
    )  # fmt: skip
    spread = stdtrit(len(n) - 3, (1 + CONFIDENCE) / 2) * np.sqrt(np.diag(covariance))
    most = (math.inf, _SIGMA_MAX, math.inf)
    parameters = [_parameter(*values) for values in zip(fitted, spread, most, strict=True)]
    return ScalabilityLaw(
        rate_per_s=parameters[0],
        contention=parameters[1],
        coherency=parameters[2],
        error=float(np.max(np.abs(_law(n, *fitted) / x - 1))),
    )


def _law(n: NDArray[np.float64], rate: float, contention: float, coherency: float) -> NDArray[np.float64]:
    result: NDArray[np.float64] = rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))
    return result


def _parameter(value: float, width: float, most: float) -> Parameter:
    if not math.isfinite(width):
        return Parameter(value=float(value), low=None, high=None)
    return Parameter(
        value=float(value), low=max(float(value - width), 0.0), high=min(float(value + width), most)
    )
