"""The contest of two sides: pairs of forks until each operation's answer is clear. Knows no server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from eventmark.judgement.counters import WORK_TOLERANCES, Change, CounterChange, compare_counters
from eventmark.results.results import Verdict
from eventmark.sidebyside.differences import PairedTest
from eventmark.sidebyside.pair import OperationPair

RISK_OF_ALARM = 0.01
"""Of a whole gate, all operations together: sides that are alike are called slower at most so often."""

RISK_OF_MISS = 0.02
"""Of one operation that is slower by what matters: called "not slower" at most so often."""

MARGIN_SHARE = 0.2
"""Of the slowdown that matters is let pass: two copies of one table are never quite alike on disk."""

SUSPICION = 0.1
"""A tail that grew has to be seen more often than the middle has to be seen unchanged: from this on, pairs go on."""

CONFIRMATIONS = 2
"""Pairs in a row in which a counter has to be higher: the first may have met a page split."""


PAIRS_MIN = 6  # of sides that are alike, for an answer
MORE_PAIRS = "give more --seconds, or fewer operations with --only"


class Decision(StrEnum):
    """What is known of an operation. Everything but UNDECIDED is final."""

    UNDECIDED = "cannot tell"
    NOT_SLOWER = "not slower"
    SLOWER = "slower"
    MORE_WORK = "more work"
    FAILED = "failed"
    BASE_FAILED = "the base failed"

    @property
    def verdict(self) -> Verdict:
        if self is Decision.NOT_SLOWER:
            return Verdict.MET
        unsure = self in (Decision.UNDECIDED, Decision.BASE_FAILED)
        return Verdict.INCONCLUSIVE if unsure else Verdict.BROKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is decided, at which risk. ``slowdown`` 0.1: what matters is 10% and more."""

    slowdown: float = 0.1
    risk_of_alarm: float = RISK_OF_ALARM
    risk_of_miss: float = RISK_OF_MISS

    @property
    def margin(self) -> float:
        """The log-ratio up to which a side is let pass."""
        return math.log1p(MARGIN_SHARE * self.slowdown)

    @property
    def limit(self) -> float:
        """The log-ratio that matters."""
        return math.log1p(self.slowdown)

    def test(self) -> PairedTest:
        return PairedTest(effect=(self.limit - self.margin) / 2)


@dataclass(slots=True)
class OperationContest:
    """One operation's pairs. ``tests`` holds the median's and the 95th percentile's, by name.

    The median decides both ways. The 95th percentile is watched for a tail that grew: it can make an operation
    SLOWER, and while it is suspect there is no NOT_SLOWER. ``risk`` is this operation's part of the risk of an alarm.
    """

    rules: Rules
    risk: float
    tests: dict[str, PairedTest]
    decision: Decision = Decision.UNDECIDED
    reason: str = ""
    counters: list[CounterChange] = field(default_factory=list)
    base_ms: dict[str, list[float]] = field(default_factory=lambda: {"p50": [], "p95": []})
    candidate_ms: dict[str, list[float]] = field(default_factory=lambda: {"p50": [], "p95": []})
    _higher: dict[str, int] = field(default_factory=dict)

    @property
    def decided(self) -> bool:
        return self.decision is not Decision.UNDECIDED

    @property
    def pairs(self) -> int:
        return self.tests["p50"].pairs

    def warm_up(self, pair: OperationPair) -> None:
        """A pair that only counts for what is counted: the first one meets cold caches."""
        self._look_at_counters(pair)

    def add(self, pair: OperationPair) -> None:
        """One more pair; decides when it can."""
        if self._failed(pair):
            return
        self._look_at_counters(pair)
        for name in self.tests:
            base, candidate = pair.quantiles_ms(name)
            self.base_ms[name].append(base)
            self.candidate_ms[name].append(candidate)
        self.add_log_ratios({name: pair.log_ratio(name) for name in self.tests})

    def add_log_ratios(self, log_ratios: Mapping[str, float]) -> None:
        """A pair by what it comes to, candidate over base, by quantile."""
        for name, test in self.tests.items():
            test.add(log_ratios[name])
        if not self.decided:
            self._decide()

    def _failed(self, pair: OperationPair) -> bool:
        """A side that fails is not timed. A base that fails as well says nothing of the candidate."""
        for side, decision in ((0, Decision.BASE_FAILED), (1, Decision.FAILED)):
            if pair.failed[side] or not len(pair.samples_ns[side]):
                self.decision = decision
                self.reason = f"{pair.failed[side]} calls failed: {pair.failure[side]}"
                return True
        return False

    def _look_at_counters(self, pair: OperationPair) -> None:
        changes = compare_counters(*pair.work, WORK_TOLERANCES)
        self.counters = changes or self.counters  # later pairs do not count
        for counter in changes:
            more = counter.change is Change.MORE
            self._higher[counter.name] = self._higher.get(counter.name, 0) + 1 if more else 0
        confirmed = [counter for counter in changes if self._higher[counter.name] >= CONFIRMATIONS]
        if confirmed and not self.decided:
            self.decision = Decision.MORE_WORK
            self.reason = "; ".join(f"{counter.described} per call" for counter in confirmed)

    def _decide(self) -> None:
        rules = self.rules
        for name, test in self.tests.items():
            if test.is_above(rules.margin, risk=self.risk / len(self.tests)):
                self.decision, self.reason = Decision.SLOWER, self.described(name)
                return
        tail_is_suspect = self.tests["p95"].is_above(rules.margin, risk=SUSPICION)
        if self.tests["p50"].is_below(rules.limit, risk=rules.risk_of_miss) and not tail_is_suspect:
            self.decision, self.reason = Decision.NOT_SLOWER, self.described("p50")

    def described(self, name: str = "p50") -> str:
        """The ratio and what is not excluded, in words."""
        test = self.tests[name]
        if not test.pairs:
            return self.reason or "no pair was measured"
        low, high = (math.exp(bound) for bound in test.interval(0.95))
        if low == 0.0 and high == math.inf:
            return f"{test.pairs} pairs were measured, at least {PAIRS_MIN} are needed: {MORE_PAIRS}"
        return f"{name} is {self.ratio(name):.3f} × the base's (interval {_interval(low, high)}, {test.pairs} pairs)"

    def ratio(self, name: str = "p50") -> float:
        """The median of the pairs' ratios."""
        ordered = sorted(self.tests[name].log_ratios)
        half = len(ordered) // 2
        middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
        return math.exp(middle)


def contests(names: Sequence[str], rules: Rules) -> dict[str, OperationContest]:
    """One per operation; the risk of an alarm is shared out evenly (Bonferroni)."""
    return {
        name: OperationContest(
            rules=rules,
            risk=rules.risk_of_alarm / max(1, len(names)),
            tests={"p50": rules.test(), "p95": rules.test()},
        )
        for name in names
    }


def undecided(table: Mapping[str, OperationContest]) -> list[str]:
    return [name for name, operation in table.items() if not operation.decided]


def _interval(low: float, high: float) -> str:
    if low == 0.0:
        return f"up to {high:.3f}"
    return f"{low:.3f} or more" if high == math.inf else f"{low:.3f} to {high:.3f}"
