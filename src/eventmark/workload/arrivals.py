"""Arrival schedules: when operations are due, whatever becomes of those before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.choices import unknown
from eventmark.errors import UsageError

SCHEDULES = ("constant", "poisson", "ramp", "spike", "step")
STAGES = "stages"
ARRIVALS_MAX = 50_000_000
"""Of one load: its schedule is made beforehand, 8 bytes each."""

PEAK = 4.0
"""How many times ``rate_per_s`` a spike is, and the end of a ramp or of the steps."""

SPIKE = (0.4, 0.6)
"""From when to when the spike lasts, as shares of the time."""

STEPS = 4

_STAGE = re.compile(r"\s*(?P<length>\d+(?:\.\d+)?)(?P<unit>s|m|h)\s*:\s*(?P<rate>\d+(?:\.\d+)?)\s*")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Stage:
    """In ``seconds`` the rate moves evenly from that of the stage before to ``rate_per_s``."""

    seconds: float
    rate_per_s: float


def parse_stages(text: str) -> tuple[Stage, ...]:
    """``30s:100,2m:1000,30s:0``: how long each lasts, and the rate it ends at. Raises ``UsageError``."""
    stages = []
    for part in text.split(","):
        match = _STAGE.fullmatch(part)
        if match is None or not float(match["length"]):
            raise UsageError(
                f"{part.strip()!r:.40} is not a stage",
                remedy="a stage is a time and the rate it ends at: write for example 30s:100,2m:1000,30s:0",
            )
        stages.append(Stage(float(match["length"]) * _UNIT_S[match["unit"]], float(match["rate"])))
    return tuple(stages)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A schedule by its name, and the rate it is made of, in operations per second.

    - ``constant``: evenly spaced.
    - ``poisson``: at random, as independent users come; what a queue has to be able to take.
    - ``ramp``: at random, the rate rising evenly from ``rate_per_s`` to ``PEAK`` times it.
    - ``spike``: at random, ``PEAK`` times the rate for a fifth of the time, in its middle.
    - ``step``: at random, rising to ``PEAK`` times the rate in ``STEPS`` equal steps.
    - ``stages``: at random, the rate moving from 0 to that of each of ``stages`` in turn; ``staged`` makes it.

    Raises ``UsageError`` for an unknown name, or a rate that is none.
    """

    schedule: str
    rate_per_s: float
    stages: tuple[Stage, ...] = ()

    @classmethod
    def staged(cls, stages: Sequence[Stage]) -> Arrivals:
        return cls(STAGES, max(stage.rate_per_s for stage in stages), tuple(stages))

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES and not self.stages:
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
        return self.rate_per_s * (1.0 if self.is_steady or self.stages else PEAK)

    @property
    def stage_ends_s(self) -> list[float]:
        """When each stage ends, from the start."""
        return [float(end_s) for end_s in np.cumsum([stage.seconds for stage in self.stages])]

    def rates_per_s(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rate at moments given as shares of the whole time, 0..1."""
        if self.stages:
            ends_s = [0.0, *self.stage_ends_s]
            reached: NDArray[np.float64] = np.interp(
                shares * ends_s[-1], ends_s, [0.0, *(stage.rate_per_s for stage in self.stages)]
            )
            return reached
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
