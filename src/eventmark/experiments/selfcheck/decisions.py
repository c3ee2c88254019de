"""The gate's decisions on sides whose difference is known: none, 10%, 50%."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventmark.experiments.selfcheck.proving import Proving
from eventmark.operations.catalogue import OPERATIONS
from eventmark.results.results import Finding, Verdict
from eventmark.sidebyside.bout import Bout, Effort
from eventmark.sidebyside.contest import Decision, OperationContest, Rules, contests
from eventmark.sidebyside.pair import measure_pair

OPERATION = "load_aggregate[1000]"
PAIRS_BEFORE = 3  # of which the length of an operation is taken
ALIKE = 0.0
SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One gate on sides of which the candidate is slower by ``planted`` (0.1: 10%)."""

    PLANTED: ClassVar[tuple[float, ...]] = (ALIKE, 0.1, 0.5)

    planted: float
    contest: OperationContest

    @property
    def is_right(self) -> bool:
        wanted = Decision.NOT_SLOWER if self.planted == ALIKE else Decision.SLOWER
        return self.contest.decision is wanted

    @property
    def verdict(self) -> Verdict:
        """A wrong answer breaks the instrument; none at all only says that the machine is too noisy for it."""
        if self.is_right:
            return Verdict.MET
        undecided = self.contest.decision is Decision.UNDECIDED
        return Verdict.INCONCLUSIVE if undecided else Verdict.BROKEN


def lengths_ms(proving: Proving, operations: Sequence[str], turns: int) -> dict[str, float]:
    """How long each operation takes on the base, by the medians of a few forks."""
    medians: dict[str, list[float]] = {name: [] for name in operations}
    for number in range(PAIRS_BEFORE):
        for name, pair in measure_pair(
            proving.both, list(operations), number, swapped=False, turns=turns
        ).items():
            medians[name].append(pair.quantiles_ms("p50")[0])
    return {name: float(np.median(median)) for name, median in medians.items()}


def run_gate(
    proving: Proving,
    planted: float,
    lengths: Mapping[str, float],
    *,
    effort: Effort,
    seed: int,
    slowed: Collection[str] | None = None,
) -> dict[str, OperationContest]:
    """One gate between the plain store and the same with ``planted`` of each operation's length more.

    Of those that are ``slowed`` alone, where they are named.
    """
    delays_ms = {
        OPERATIONS[name].statement: planted * length_ms
        for name, length_ms in lengths.items()
        if slowed is None or name in slowed
    }
    both = proving.against(proving.planted(delays_ms))
    rules = Rules()
    bout = Bout(rules=rules, table=contests(list(lengths), rules))
    bout.measure(both, effort, seed)
    return bout.table


def check_gate(
    proving: Proving, planted: Sequence[float] = Decided.PLANTED, effort: Effort | None = None
) -> list[Decided]:
    """A gate each on one operation, as long as they need."""
    effort = effort or Effort(seconds=SECONDS)
    lengths = lengths_ms(proving, [OPERATION], effort.turns)
    return [
        Decided(
            planted=share, contest=run_gate(proving, share, lengths, effort=effort, seed=number)[OPERATION]
        )
        for number, share in enumerate(planted)
    ]


def gate_findings(decided: Sequence[Decided]) -> list[Finding]:
    return [
        Finding(
            name="gate, alike sides" if decision.planted == ALIKE else f"gate, {decision.planted:.0%} slower",
            verdict=decision.verdict,
            observed=f"{decision.contest.decision.value}: {decision.contest.described()}",
            expected=Decision.NOT_SLOWER.value if decision.planted == ALIKE else Decision.SLOWER.value,
            remedy="a quieter machine, or more time" if decision.verdict is Verdict.INCONCLUSIVE else "",
        )
        for decision in decided
    ]


def forks_finding(decided: Sequence[Decided], most: float = 0.10) -> Finding:
    """Whether forks of one operation on one side agree, from all the pairs there were."""
    spread = forks_spread(decided)
    return Finding(
        name="forks agree",
        verdict=Verdict.MET if spread <= most else Verdict.INCONCLUSIVE,
        observed=f"medians of single forks differ by {spread:.1%}",
        expected=f"at most {most:.0%}",
        remedy=""
        if spread <= most
        else "other processes slowed whole forks: use eventmark gate, which measures both sides at the same time",
    )


def forks_spread(decided: Sequence[Decided]) -> float:
    """The standard deviation of the base forks' medians, as a share, by their median absolute deviation."""
    logs = np.log(np.concatenate([decision.contest.base_ms["p50"] for decision in decided]))
    return float(1.4826 * np.median(np.abs(logs - np.median(logs))))


def pairs_spread(decided: Sequence[Decided]) -> float:
    """The same of the pairs' ratios, each around its own gate's middle."""
    rests = [
        np.asarray(decision.contest.tests["p50"].log_ratios)
        - np.median(decision.contest.tests["p50"].log_ratios)
        for decision in decided
    ]
    return float(1.4826 * np.median(np.abs(np.concatenate(rests))))
