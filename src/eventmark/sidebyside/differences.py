"""A decision while measuring: stop as soon as pairs of measurements have said enough, at a known risk.

A pair is one measurement of each side, one right after the other, in an order drawn by a coin. Where both
sides are alike, each was as likely to come out the slower one, whatever noise, drift or aftermath there was:
the sign of their log-ratio is a fair coin, given its size. So the test bets on signs. Capital begins at 1 and
is multiplied, pair by pair, by 1 plus or minus a stake that was chosen before the coin fell. Against fair
coins capital cannot be expected to grow: it ever reaches 1/a with probability at most a (Ville 1939), however
often one looks. That is a test martingale (Shafer, Shen, Vereshchagin and Vovk 2011), and inverted it is a
confidence sequence (Howard, Ramdas, McAuliffe and Sekhon 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

STAKE_MAX = 0.9
"""Of the capital. A lone outlier of the wrong sign costs nine tenths, not everything."""

SCALE_FIRST = 0.05  # how far pairs lie apart, before five of them have shown it
SCALE_MIN = 0.005
_SHOWN_BY = 5  # pairs
_FAR = math.log(1000.0)
_SEARCH_STEPS = 40

Excluded = Callable[[float], bool]


@dataclass(slots=True)
class PairedTest:
    """Log-ratios of pairs (candidate over base) as they come in; ``effect`` is the log-ratio looked for.

    Stakes rise with the size of a pair's log-ratio against the spread of the pairs before it, and never fall
    again: only so does the test hold against every smaller ratio as well.
    """

    effect: float
    log_ratios: list[float] = field(default_factory=list)
    _scales: list[float] = field(default_factory=list)

    def add(self, log_ratio: float) -> None:
        self._scales.append(_scale_of(self.log_ratios))  # before the pair itself is known
        self.log_ratios.append(log_ratio)

    @property
    def pairs(self) -> int:
        return len(self.log_ratios)

    def log_capital_above(self, centre: float) -> float:
        """The capital won by betting that the true log-ratio is above ``centre``, as a logarithm."""
        return self._log_capital(centre, 1.0)

    def log_capital_below(self, centre: float) -> float:
        """The same, for below."""
        return self._log_capital(centre, -1.0)

    def is_above(self, centre: float, *, risk: float) -> bool:
        """Whether the ratio is above ``centre``; wrong with probability ``risk`` at most, at any time."""
        return self.log_capital_above(centre) >= -math.log(risk)

    def is_below(self, centre: float, *, risk: float) -> bool:
        return self.log_capital_below(centre) >= -math.log(risk)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The log-ratios not excluded yet, infinite where nothing is; right at all times together."""
        risk = (1 - confidence) / 2
        return (
            self._bound(lambda centre: self.is_above(centre, risk=risk), -1.0),
            self._bound(lambda centre: self.is_below(centre, risk=risk), 1.0),
        )

    def _log_capital(self, centre: float, side: float) -> float:
        if not self.log_ratios:
            return 0.0
        distances = side * (np.asarray(self.log_ratios) - centre)
        stakes = np.tanh(self.effect / np.asarray(self._scales) ** 2 * distances)
        return float(np.log1p(STAKE_MAX * stakes).sum())

    def _bound(self, excluded: Excluded, side: float) -> float:
        """By bisection: what is excluded is excluded with all beyond it."""
        if not self.log_ratios:
            return side * math.inf
        inner, outer = float(np.median(self.log_ratios)), side * _FAR
        if not excluded(outer):
            return side * math.inf
        if excluded(inner):  # few and skewed: nothing on this side of their middle is left
            return inner
        for _ in range(_SEARCH_STEPS):
            middle = (inner + outer) / 2
            inner, outer = (inner, middle) if excluded(middle) else (middle, outer)
        return outer


def _scale_of(log_ratios: Sequence[float]) -> float:
    """How far these pairs lie apart: the median absolute deviation, scaled to a normal's standard deviation."""
    if len(log_ratios) < _SHOWN_BY:
        return SCALE_FIRST
    known = np.asarray(log_ratios)
    return max(1.4826 * float(np.median(np.abs(known - np.median(known)))), SCALE_MIN)
