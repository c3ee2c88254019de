"""The search for the highest rate that holds: bracket by doubling, bisect, confirm. Knows no load.

What it is told of each probe is noisy, and a probe is short. So a rate that did not hold is asked again when all below
it is known: a bad moment is over by then. And what held counts only when a longer probe at the same rate confirms it;
where none does, there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

PRECISION = 0.1
PROBES_MAX = 16
CONFIRMATIONS_MAX = 4
CONFIRMATIONS_HIGHER_MAX = 3
"""Where a rate is confirmed already, so many long probes in all: a higher one is worth no more time."""

FALL = 1.25
"""What is not confirmed is lowered by so much, then by its square, and so on."""

RATE_MIN_PER_S = 1.0
RATE_MAX_PER_S = 1_000_000.0
_DIGITS = 3


class Answer(StrEnum):
    """What a probe at one rate showed."""

    HELD = "held"
    BROKE = "broke"
    UNDECIDED = "undecided"
    GENERATOR = "the generator was the limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe, as it was asked and answered; ``confirming`` ones last longer."""

    rate_per_s: float
    confirming: bool
    answer: Answer
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What was found by all ``probes``. ``ended`` is False of a search that was interrupted."""

    probes: tuple[Probe, ...]
    ended: bool = True

    @property
    def beyond(self) -> Probe | None:
        """The probe at the lowest rate that did not hold, above any that was confirmed; None where every one did."""
        least = 0.0 if self.confirmed is None else self.confirmed.rate_per_s
        return min(
            (probe for probe in self.probes if probe.answer is not Answer.HELD and probe.rate_per_s > least),
            key=lambda probe: probe.rate_per_s,
            default=None,
        )

    @property
    def at_least(self) -> bool:
        """What ended the search was not the store, but the generator or the highest rate that was to be tried."""
        return self.confirmed is not None and (self.beyond is None or self.beyond.answer is Answer.GENERATOR)

    @property
    def confirmed(self) -> Probe | None:
        """The probe that confirmed a rate: the last that did, for one is followed only by higher ones."""
        return next(
            (probe for probe in reversed(self.probes) if probe.confirming and probe.answer is Answer.HELD),
            None,
        )

    @property
    def rate_per_s(self) -> float | None:
        """The highest rate that was confirmed, None where no rate was."""
        return None if self.confirmed is None else self.confirmed.rate_per_s

    @property
    def held_per_s(self) -> float | None:
        """The highest rate that a short probe held."""
        return max(
            (
                probe.rate_per_s
                for probe in self.probes
                if probe.answer is Answer.HELD and not probe.confirming
            ),
            default=None,
        )


Ask = Callable[[float, bool], tuple[Answer, str]]
"""Probes a rate, for longer where it is to be confirmed; tells why it did not hold."""


def find_capacity(
    ask: Ask,
    *,
    first_per_s: float,
    rate_max_per_s: float = RATE_MAX_PER_S,
    precision: float = PRECISION,
    probes_max: int = PROBES_MAX,
    confirmations_max: int = CONFIRMATIONS_MAX,
) -> Capacity:
    """The highest rate that holds, within ``precision`` of one that does not.

    At most ``probes_max`` short probes and ``confirmations_max`` long ones. A rate that is not confirmed is
    lowered by ``FALL``, and by more each time, until one is; then what lies between is halved.
    """
    search = _Search(ask, rate_max_per_s)
    search.bracket(rounded(first_per_s), probes_max)
    search.bisect(precision, probes_max)
    while (held := search.bound_that_holds_now(probes_max)) is not None:
        search.bracket(rounded(2 * held), probes_max)
        search.bisect(precision, probes_max)
    search.confirm(precision, confirmations_max)
    return Capacity(probes=tuple(search.probes))


def rounded(rate_per_s: float) -> float:
    """To three digits: more would claim a precision that no probe has."""
    return round(rate_per_s, _DIGITS - 1 - math.floor(math.log10(rate_per_s)))


class _Search:
    """The highest rate that held so far, and the lowest that did not."""

    def __init__(self, ask: Ask, rate_max_per_s: float) -> None:
        self._ask = ask
        self._rate_max_per_s = rate_max_per_s
        self.probes: list[Probe] = []
        self.low: float | None = None
        self.high: Probe | None = None

    def bracket(self, first_per_s: float, probes_max: int) -> None:
        """Double until a rate does not hold, or halve until one does."""
        rate = min(first_per_s, self._rate_max_per_s)
        while len(self.probes) < probes_max and (self.low is None or self.high is None):
            self._probe(rate)
            if self.high is None:
                if rate >= self._rate_max_per_s:
                    return
                rate = min(rounded(2 * rate), self._rate_max_per_s)
            elif self.low is None:
                rate = rounded(rate / 2)
                if rate < RATE_MIN_PER_S:
                    return

    def bisect(self, precision: float, probes_max: int) -> None:
        while self.low is not None and self.high is not None and len(self.probes) < probes_max:
            middle = rounded(math.sqrt(self.low * self.high.rate_per_s))
            if (
                self.high.rate_per_s <= self.low * (1 + precision)
                or not self.low < middle < self.high.rate_per_s
            ):
                return
            self._probe(middle)

    def bound_that_holds_now(self, probes_max: int) -> float | None:
        """Ask the lowest rate that did not hold once more; None where it does not hold again."""
        if self.low is None or self.high is None or len(self.probes) >= probes_max:
            return None
        bound, self.high = self.high, None
        self._probe(bound.rate_per_s)
        return bound.rate_per_s if self.high is None else None

    def confirm(self, precision: float, confirmations_max: int) -> None:
        """Confirm the highest rate by long probes. One that is not confirmed is a bound like any other."""
        rate, confirmed, fall = self.low, None, FALL
        for number in range(confirmations_max):
            if confirmed is not None and number >= CONFIRMATIONS_HIGHER_MAX:
                break
            if rate is None or rate < RATE_MIN_PER_S:
                break
            if self._asked(rate, confirming=True).answer is Answer.HELD:
                confirmed = rate
            else:
                self.high = self.probes[-1]
            if confirmed is None:
                rate = rounded(rate / fall)
                fall *= fall
            elif self.high is None or self.high.rate_per_s <= confirmed * (1 + precision):
                break
            else:
                rate = rounded(math.sqrt(confirmed * self.high.rate_per_s))

    def _probe(self, rate: float) -> None:
        probe = self._asked(rate, confirming=False)
        if probe.answer is Answer.HELD:
            self.low = rate
        else:
            self.high = probe

    def _asked(self, rate: float, *, confirming: bool) -> Probe:
        answer, reason = self._ask(rate, confirming)
        self.probes.append(Probe(rate_per_s=rate, confirming=confirming, answer=answer, reason=reason))
        return self.probes[-1]
