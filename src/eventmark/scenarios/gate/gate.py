"""The gate: is the candidate slower than the base? Both measured side by side, in one run, until it is clear."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from eventmark.errors import UsageError
from eventmark.measure.plan_changes import PlanChange, compare_plans, worse_by_statement
from eventmark.measure.results import Figure, PlanResult, RunResult, Verdict
from eventmark.measure.verdicts import overall
from eventmark.scenarios.course import Course
from eventmark.scenarios.gate.contest import OperationContest, Rules, contests, undecided
from eventmark.scenarios.gate.gate_section import gate_sections
from eventmark.scenarios.gate.grounds import Ground, grounds
from eventmark.scenarios.gate.pair import TURNS, measure_pair
from eventmark.scenarios.gate.protocol import (
    Corpus,
    Examine,
    Examined,
    Prepare,
    Prepared,
)
from eventmark.scenarios.gate.sides import Side
from eventmark.scenarios.job import Job
from eventmark.seeding import Progress, estimated_bytes, no_progress
from eventmark.server import check_disk_space

EVENTS = "100k"
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
    out_of_time: bool = False

    def verdict(self) -> tuple[Verdict, list[str]]:
        parts = [
            (name, one.decision.verdict, f"{one.decision.value}: {one.reason or one.said()}")
            for name, one in self.table.items()
        ]
        worse = worse_by_statement(self.plans)
        parts += [(f"plans of {name}", Verdict.BROKEN, said) for name, said in worse.items()]
        return overall(parts)


class Gate:
    """Two sides, measured by pairs of fresh processes in an order drawn for each pair."""

    name: ClassVar[str] = "gate"

    def __init__(
        self, base: Side, candidate: Side, *, rules: Rules | None = None, effort: Effort | None = None
    ) -> None:
        self._sides = (base, candidate)
        self._rules = rules or Rules()
        self._effort = effort or Effort()

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``, each naming the side it is about."""
        if job.server.directory is not None:
            check_disk_space(job.place, len(self._sides) * estimated_bytes(job.corpus))
        with (
            Course(job, progress) as course,
            tempfile.TemporaryDirectory(prefix="eventmark-gate-") as scratch,
            grounds(job, self._sides, Path(scratch)) as both,
        ):
            with course.phase("seed"):
                bout = self._prepare(job, both, progress)
            with course.phase("plans"):
                self._examine(bout, both, progress)
            with course.phase("measure"):
                self._measure(bout, both, job.corpus.seed, progress)
        course.skipped |= bout.skipped
        verdict, reasons = bout.verdict()
        return course.result(
            verdict, reasons, plans=bout.worse_plans, figures=_figures(bout.table),
            sections=gate_sections(self._sides, bout.rules, bout.table, bout.plans, out_of_time=bout.out_of_time),
        )  # fmt: skip

    def _prepare(self, job: Job, both: tuple[Ground, Ground], progress: Progress) -> Bout:
        corpus = Corpus(
            events=job.corpus.events, seed=job.corpus.seed, tenants=job.corpus.tenant_count,
            payload=job.corpus.payload_profile,
        )  # fmt: skip
        prepared = []
        for number, ground in enumerate(both):
            progress("seed both sides", number, len(both))
            request = Prepare(place=ground.place, corpus=corpus, sample=str(ground.sample))
            prepared.append(ground.ask(request, Prepared))
        progress("seed both sides", len(both), len(both))
        base, candidate = prepared
        names = [
            name for name in base.operations
            if name in candidate.operations and (not self._effort.only or name in self._effort.only)
        ]  # fmt: skip
        if not names:
            raise UsageError("no operation can be measured on both sides", remedy="see --only and the stores")
        skipped = {
            f"{name}, {ground.side.role}": reason
            for ground, found in zip(both, prepared, strict=True)
            for name, reason in found.skipped.items()
        }
        return Bout(rules=self._rules, table=contests(names, self._rules), skipped=skipped)

    def _examine(self, bout: Bout, both: tuple[Ground, Ground], progress: Progress) -> None:
        progress("plans", 0, len(both))
        base, candidate = (ground.ask(Examine(place=ground.place), Examined).plans for ground in both)
        bout.plans = compare_plans(base, candidate)
        worse = {(plan.statement, plan.condition) for plan in bout.plans if plan.worse}
        bout.worse_plans = [plan for plan in candidate if (plan.statement, plan.condition) in worse]
        progress("plans", len(both), len(both))

    def _measure(self, bout: Bout, both: tuple[Ground, Ground], seed: int, progress: Progress) -> None:
        """A pair that warms up, then pairs that count, in an order drawn for each, until all is decided."""
        coin = np.random.default_rng([seed, 77])
        turns, began_s = self._effort.turns, time.monotonic()
        last_pair = PAIRS_MAX
        warming = measure_pair(both, list(bout.table), 0, swapped=False, turns=turns)
        for name, pair in warming.items():
            bout.table[name].warm_up(pair)
        for number in range(1, PAIRS_MAX + 1):
            names = undecided(bout.table)
            spent_s = time.monotonic() - began_s
            progress("pairs", max(_share_done(bout.table), spent_s / self._effort.seconds), 1.0)
            bout.out_of_time = bool(names) and spent_s * (number + 1) / number > self._effort.seconds
            if not names or bout.out_of_time or number > last_pair:
                break
            swapped = bool(coin.integers(2))
            more_turns = int(turns * min(TURNS_SHARE_MAX, len(bout.table) / len(names)))
            for name, pair in measure_pair(both, names, number, swapped=swapped, turns=more_turns).items():
                bout.table[name].add(pair)
            if last_pair == PAIRS_MAX and bout.verdict()[0] is Verdict.BROKEN:
                last_pair = number + GRACE_PAIRS
        progress("pairs", 1.0, 1.0)


def _share_done(table: Mapping[str, OperationContest]) -> float:
    return 1 - len(undecided(table)) / len(table)


def _figures(table: Mapping[str, OperationContest]) -> dict[str, Figure]:
    """Each operation's ratio with its interval, which is right whenever the gate stopped."""
    figures = {}
    for name, one in table.items():
        if one.pairs:
            low, high = (float(np.exp(bound)) for bound in one.tests["p50"].interval(0.95))
            figures[f"{name} p50, candidate over base"] = Figure(
                value=one.ratio(), unit="times", low=low or None, high=high if np.isfinite(high) else None,
                better="less",
            )  # fmt: skip
    return figures
