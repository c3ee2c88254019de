"""How a figure grows with the number of events: constant, with their logarithm, or in proportion; and how far
that can be trusted beyond what was measured.

Three laws are fitted by weighted least squares: ``a``, ``a + b log n`` and ``a + b n``. The error of each value
is known from its own rounds, so the laws are compared by Akaike's criterion for known errors, chi squared + 2 k; the
small-sample correction (AICc) is one for an error estimated from the same few points. The constant law is a
case of both others, so it can never win by more than 2. It is taken where growth is not shown, and what the
errors still allow for is small enough not to matter; where it is not, nothing is said. Extrapolation averages the
laws by their Akaike weights (Burnham and Anderson, Model Selection and Multimodel Inference, 2002), so that a
law which is not ruled out counts in the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc, ndtr, ndtri

VOLUMES_MIN = 3
"""Two volumes lie on every law."""

TOLERANCE = 0.15
"""Growth from the smallest to the largest volume, as a share, that does not matter."""

_REJECTED = 3.84  # chi squared with one degree of freedom, 5%
_APART = 4.0  # by how much less one criterion has to be for the other law to be ruled out
_UNFIT = 0.005  # a law with a smaller probability of so much scatter describes nothing


class Law(StrEnum):
    CONSTANT = "constant"
    LOGARITHMIC = "logarithmic"
    LINEAR = "linear"


_SHAPES: dict[Law, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    Law.CONSTANT: lambda n: np.ones((len(n), 1)),
    Law.LOGARITHMIC: lambda n: np.stack([np.ones(len(n)), np.log(n)], axis=1),
    Law.LINEAR: lambda n: np.stack([np.ones(len(n)), n], axis=1),
}


@dataclass(frozen=True, slots=True)
class Fit:
    """One law fitted. ``n`` of the law is the number of events divided by that of the smallest volume, so that
    ``a`` is the value there (and for the linear law ``a + b``). ``weight`` is Akaike's, of all laws together 1.
    """

    law: Law
    a: float
    b: float
    b_error: float
    chi_squared: float
    weight: float
    covariance: tuple[tuple[float, ...], ...]

    def value(self, n: float) -> float:
        return self.a + self.b * (math.log(n) if self.law is Law.LOGARITHMIC else n)

    def error(self, n: float) -> float:
        """Standard error of ``value``."""
        row = _SHAPES[self.law](np.array([n]))[0]
        return math.sqrt(max(float(row @ np.array(self.covariance) @ row), 0.0))

    @property
    def parameters(self) -> int:
        return 1 if self.law is Law.CONSTANT else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A value at a volume, with the 95% interval of what would be measured there."""

    events: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How something grows. ``law`` None: it is undecided, and ``reason`` says why; else it says how much.

    ``fits`` by law; empty where nothing could be fitted.
    """

    law: Law | None
    reason: str
    fits: tuple[Fit, ...]
    smallest: float
    relative_error: float

    def at(self, events: float) -> Prediction | None:
        """The value at a volume, laws averaged by their weights; None where none describes what was measured."""
        if not self.fits:
            return None
        n = events / self.smallest
        parts = [(fit.weight, fit.value(n), self._spread(fit, n)) for fit in self.fits]
        value = sum(weight * mean for weight, mean, _ in parts)
        return Prediction(
            events=events,
            value=value,
            low=_mixture_quantile(parts, 0.025),
            high=_mixture_quantile(parts, 0.975),
        )

    def _spread(self, fit: Fit, n: float) -> float:
        """Of a new measurement there: the law's own error, and that of measuring."""
        return max(math.hypot(fit.error(n), self.relative_error * abs(fit.value(n))), 1e-12)


def fit_growth(
    events: Sequence[float],
    values: Sequence[float],
    errors: Sequence[float],
    *,
    tolerance: float = TOLERANCE,
) -> Growth:
    """The law of ``values`` measured at volumes of ``events``, each with its standard error above 0.

    Several values of one volume are several points. Raises ``ValueError`` for lengths that differ and for
    errors or volumes that are not above 0.
    """
    n, y, sigma = (np.array(sequence, dtype=np.float64) for sequence in (events, values, errors))
    if not len(n) == len(y) == len(sigma):
        raise ValueError("volumes, values and errors must be as many")
    if len(n) and not (n.min() > 0 and sigma.min() > 0 and np.isfinite(y).all()):
        raise ValueError("volumes and errors must be above 0, values finite")
    volumes = len(np.unique(n))
    smallest = float(n.min()) if len(n) else 1.0
    relative = float(np.median(sigma / np.maximum(np.abs(y), 1e-12))) if len(n) else 0.0
    if volumes < VOLUMES_MIN:
        reason = f"{volumes} volumes show no law, {VOLUMES_MIN} are needed"
        return Growth(law=None, reason=reason, fits=(), smallest=smallest, relative_error=relative)
    fits = _weighted([_fitted(law, n / smallest, y, sigma) for law in Law])
    if not _describes(fits, len(n)):
        reason = "values scatter more than their errors explain: none of the laws describes them"
        return Growth(law=None, reason=reason, fits=(), smallest=smallest, relative_error=relative)
    law, reason = _chosen(fits, largest=float(n.max()) / smallest, tolerance=tolerance)
    return Growth(law=law, reason=reason, fits=fits, smallest=smallest, relative_error=relative)


def _fitted(law: Law, n: NDArray[np.float64], y: NDArray[np.float64], sigma: NDArray[np.float64]) -> Fit:
    shape = _SHAPES[law](n)
    weighted = shape / sigma[:, np.newaxis]
    solved = np.linalg.lstsq(weighted, y / sigma, rcond=None)[0]
    left = (y - shape @ solved) / sigma
    # A little more scatter than the errors explain says that they are too small: all of the fit's are widened by it.
    scale = max(1.0, float(left @ left) / max(len(y) - shape.shape[1], 1))
    covariance = np.linalg.inv(weighted.T @ weighted) * scale
    return Fit(
        law=law,
        a=float(solved[0]),
        b=float(solved[1]) if len(solved) > 1 else 0.0,
        b_error=math.sqrt(float(covariance[1, 1])) if len(solved) > 1 else 0.0,
        chi_squared=float(left @ left),
        weight=0.0,
        covariance=tuple(tuple(float(cell) for cell in row) for row in covariance),
    )


def _weighted(fits: Sequence[Fit]) -> tuple[Fit, ...]:
    criteria = np.array([_criterion(fit) for fit in fits])
    weights = np.exp(-(criteria - criteria.min()) / 2)
    weights /= weights.sum()
    return tuple(replace(fit, weight=float(weight)) for fit, weight in zip(fits, weights, strict=True))


def _criterion(fit: Fit) -> float:
    return fit.chi_squared + 2 * fit.parameters


def _describes(fits: Sequence[Fit], points: int) -> bool:
    """Whether at least one law leaves no more scatter than the errors explain."""
    return any(chdtrc(max(points - fit.parameters, 1), fit.chi_squared) >= _UNFIT for fit in fits)


def _chosen(fits: Sequence[Fit], *, largest: float, tolerance: float) -> tuple[Law | None, str]:
    constant = next(fit for fit in fits if fit.law is Law.CONSTANT)
    growing = sorted((fit for fit in fits if fit is not constant), key=_criterion)
    best, other = growing
    if constant.chi_squared - best.chi_squared > _REJECTED:
        if _criterion(other) - _criterion(best) < _APART:
            return None, f"it {_moves(best)}, whether {best.law} or {other.law} is undecided"
        return best.law, f"{_change(best, largest):+.1%} from the smallest to the largest volume"
    allowed = max(abs(bound) for fit in growing for bound in _bounds(fit, largest))
    if allowed <= tolerance:
        return Law.CONSTANT, f"no change of more than {allowed:.1%} from the smallest to the largest volume"
    return None, f"no growth is shown, and up to {allowed:.0%} is not ruled out"


def _moves(fit: Fit) -> str:
    return "grows" if fit.b > 0 else "falls"


def _reach(fit: Fit, largest: float) -> float:
    """By how much the law's variable rises from the smallest to the largest volume."""
    return math.log(largest) if fit.law is Law.LOGARITHMIC else largest - 1


def _change(fit: Fit, largest: float) -> float:
    return fit.b * _reach(fit, largest) / _base(fit)


def _bounds(fit: Fit, largest: float) -> tuple[float, float]:
    """The change from the smallest to the largest volume that the fit does not rule out with 95% confidence."""
    margin = float(ndtri(0.975)) * fit.b_error
    reach = _reach(fit, largest) / _base(fit)
    return (fit.b - margin) * reach, (fit.b + margin) * reach


def _base(fit: Fit) -> float:
    return max(abs(fit.value(1.0)), 1e-12)


def _mixture_quantile(parts: Sequence[tuple[float, float, float]], q: float) -> float:
    """Of normal distributions with (weight, mean, spread)."""

    def above(x: float) -> float:
        return sum(weight * float(ndtr((x - mean) / spread)) for weight, mean, spread in parts) - q

    low = min(mean - 10 * spread for _, mean, spread in parts)
    high = max(mean + 10 * spread for _, mean, spread in parts)
    return float(brentq(above, low, high))
