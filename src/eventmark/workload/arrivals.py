"""Arrival schedules: when operations are due, whatever becomes of those before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.choices import unknown
from eventmark.errors import UsageError

SCHEDULES = ("constant", "poisson", "ramp", "spike", "step")
ARRIVALS_MAX = 50_000_000
"""Of one load: its schedule is made beforehand, 8 bytes each."""

PEAK = 4.0
"""How many times ``rate_per_s`` a spike is, and the end of a ramp or of the steps."""

SPIKE = (0.4, 0.6)
"""From when to when the spike lasts, as shares of the time."""

STEPS = 4


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A schedule by its name, and the rate it is made of, in operations per second.

    - ``constant``: evenly spaced.
    - ``poisson``: at random, as independent users come; what a queue has to be able to take.
    - ``ramp``: at random, the rate rising evenly from ``rate_per_s`` to ``PEAK`` times it.
    - ``spike``: at random, ``PEAK`` times the rate for a fifth of the time, in its middle.
    - ``step``: at random, rising to ``PEAK`` times the rate in ``STEPS`` equal steps.

    Raises ``UsageError`` for an unknown name, or a rate that is none.
    """

    schedule: str
    rate_per_s: float

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("arrivals", self.schedule, SCHEDULES)
        if not 0 < self.rate_per_s < float("inf"):
            raise UsageError(
                f"a rate must be above 0 operations per second, got {self.rate_per_s:g}",
                remedy="write for example 500",
            )

    @property
    def is_steady(self) -> bool:
        """Whether the rate is the same all the time."""
        return self.schedule in ("constant", "poisson")

    @property
    def peak_per_s(self) -> float:
        return self.rate_per_s * (1.0 if self.is_steady else PEAK)

    def rates_per_s(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rate at moments given as shares of the whole time, 0..1."""
        if self.schedule == "ramp":
            times = 1 + (PEAK - 1) * shares
        elif self.schedule == "spike":
            times = np.where((shares >= SPIKE[0]) & (shares < SPIKE[1]), PEAK, 1.0)
        elif self.schedule == "step":
            times = 1 + (PEAK - 1) * np.minimum(np.floor(shares * STEPS), STEPS - 1) / (STEPS - 1)
        else:
            times = np.ones_like(shares)
        rates: NDArray[np.float64] = self.rate_per_s * times
        return rates

    def due_s(self, seconds: float, random: np.random.Generator) -> NDArray[np.float64]:
        """When each operation is due, in seconds from the start, ascending, all below ``seconds``.

        At random means a Poisson process; one whose rate changes is a steady one of the peak rate, thinned
        (Lewis and Shedler, 1979). Raises ``UsageError`` for more than ``ARRIVALS_MAX``.
        """
        expected = self.peak_per_s * seconds
        if expected > ARRIVALS_MAX:
            raise UsageError(
                f"{expected:.3g} operations are more than one load may hold ({ARRIVALS_MAX:,})",
                remedy="lower the rate or the seconds",
            )
        if self.schedule == "constant":
            evenly: NDArray[np.float64] = np.arange(max(int(np.ceil(expected)), 1)) / self.rate_per_s
            return evenly[evenly < seconds]
        # Given how many there are, the moments of a Poisson process are spread evenly at random.
        moments = np.sort(random.random(random.poisson(expected)))
        if not self.is_steady:
            kept = random.random(len(moments)) * self.peak_per_s < self.rates_per_s(moments)
            moments = moments[kept]
        due: NDArray[np.float64] = moments * seconds
        return due
