"""One bout of a gate: pairs of forks until every operation is decided, or the time is over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from eventmark.judgement.plan_changes import PlanChange, worse_by_statement
from eventmark.judgement.verdicts import overall
from eventmark.results.results import PlanResult, Verdict
from eventmark.seeding import Progress, no_progress
from eventmark.sidebyside.contest import OperationContest, Rules, undecided
from eventmark.sidebyside.grounds import Ground
from eventmark.sidebyside.pair import TURNS, measure_pair
from eventmark.sidebyside.unique_keys import UniqueKey

SECONDS = 900
PAIRS_MAX = 120
GRACE_PAIRS = 5
"""Once something is broken, what is undecided gets so many more pairs: the answer is clear, its extent nearly."""

TURNS_SHARE_MAX = 4.0
"""The fewer operations are left, the more turns each gets: the processes are started anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long a gate may take, and how many turns a fork has. ``only`` empty: every operation that asks the server."""

    seconds: float = SECONDS
    turns: int = TURNS
    only: tuple[str, ...] = ()


@dataclass(slots=True)
class Bout:
    """What a gate found so far."""

    rules: Rules
    table: dict[str, OperationContest]
    plans: list[PlanChange] = field(default_factory=list)
    worse_plans: list[PlanResult] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(
        default_factory=dict
    )  # what the base can do and the candidate cannot: the reason
    lost_keys: list[UniqueKey] = field(default_factory=list)
    out_of_time: bool = False

    def verdict(self) -> tuple[Verdict, list[str]]:
        parts = [
            (
                name,
                operation.decision.verdict,
                f"{operation.decision.value}: {operation.reason or operation.described()}",
            )
            for name, operation in self.table.items()
        ]
        parts += [
            (name, Verdict.INCONCLUSIVE, f"only the base can be measured; in the candidate: {reason}")
            for name, reason in self.gone.items()
        ]
        worse = worse_by_statement(self.plans)
        parts += [(f"plans of {name}", Verdict.BROKEN, change) for name, change in worse.items()]
        return overall(parts)

    def measure(
        self, both: tuple[Ground, Ground], effort: Effort, seed: int, progress: Progress = no_progress
    ) -> None:
        """A pair that warms up, then pairs that count, in an order drawn for each by a coin from ``seed``."""
        coin, began_s = np.random.default_rng([seed, 77]), time.monotonic()
        warming = measure_pair(both, list(self.table), 0, swapped=False, turns=effort.turns)
        for name, pair in warming.items():
            self.table[name].warm_up(pair)
        last_pair = PAIRS_MAX
        for number in range(1, PAIRS_MAX + 1):
            names, spent_s = undecided(self.table), time.monotonic() - began_s
            progress("pairs", max(1 - len(names) / len(self.table), spent_s / effort.seconds), 1.0)
            self.out_of_time = bool(names) and spent_s * (number + 1) / number > effort.seconds
            if not names or self.out_of_time or number > last_pair:
                break
            swapped = bool(coin.integers(2))
            turns = int(effort.turns * min(TURNS_SHARE_MAX, len(self.table) / len(names)))
            for name, pair in measure_pair(both, names, number, swapped=swapped, turns=turns).items():
                self.table[name].add(pair)
            if last_pair == PAIRS_MAX and self.verdict()[0] is Verdict.BROKEN:
                last_pair = number + GRACE_PAIRS
        progress("pairs", 1.0, 1.0)
