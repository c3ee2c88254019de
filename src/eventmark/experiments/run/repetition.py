"""Plans examined again and again on a machine kept busy: verdicts that rest on counters stay what they are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from eventmark.jobs.examination import examine_repeatedly
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.verdicts import overall
from eventmark.results.results import (
    Figure,
    Finding,
    PlanResult,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)
from eventmark.workers import hand_over, worker_processes

BURNERS_PER_CORE = 2
_SPIN = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedPlans(Experiment):
    """Every plan examined ``runs`` times in a row, while other processes keep the cores busy."""

    name: ClassVar[str] = "repeated plans"
    runs: int

    def measure(self, run: Run) -> Findings:
        with run.phase("busy"), busy_machine():
            repetitions = examine_repeatedly(run.job, run.progress, runs=self.runs)
        return Findings(sections=[repetition_section(repetitions)], figures=figures_of_runs(repetitions))


@contextmanager
def busy_machine() -> Iterator[None]:
    """More processes than cores, computing from entering to leaving."""
    count = BURNERS_PER_CORE * (os.cpu_count() or 1)
    with worker_processes(count) as executor:
        for _ in range(count):
            hand_over(executor, _burn, _SPIN)
        try:
            yield
        finally:
            executor.stop()


def repetition_section(runs: Sequence[Sequence[PlanResult]]) -> Section:
    """A finding for each statement: whether each of its plans had one verdict in all runs."""
    by_plan = _by_plan(runs)
    statements = dict.fromkeys(statement for statement, _ in by_plan)
    findings, rows = [], []
    for name in statements:
        own = {condition: plans for (statement, condition), plans in by_plan.items() if statement == name}
        findings.append(_finding(name, own, len(runs)))
        rows.append(_row(name, own))
    return Section(
        name="repetition",
        title="The same verdict every time",
        verdict=overall((finding.name, finding.verdict, "") for finding in findings)[0],
        text=[
            f"Every plan was examined {len(runs)} times in a row, while {BURNERS_PER_CORE} processes for each core "
            "computed. Pages and rows are counted by the server and hardly differ; times do. Whether a plan is good "
            "is decided by eventmark explain; this shows whether it decides the same each time."
        ],
        findings=findings,
        tables=[
            Table(
                title=f"{len(runs)} runs",
                columns=columns(
                    "statement", "plans", "verdicts", "pages, most to least|times",
                    "execution time, most to least|times",
                ),
                rows=rows,
                note="Of the plan that differed most from one run to another.",
            )
        ],
    )  # fmt: skip


def figures_of_runs(runs: Sequence[Sequence[PlanResult]]) -> dict[str, Figure]:
    """How many verdicts changed, and how far counters and clocks lie apart."""
    by_plan = _by_plan(runs)
    changed = sum(len({plan.verdict for plan in plans}) > 1 for plans in by_plan.values())
    return {
        "plan_verdicts_changed": Figure(value=changed, unit="plans", better="less", exact=True),
        "plan_runs": Figure(value=len(runs), unit="runs"),
        "plan_pages_spread_most": Figure(value=_spread(by_plan.values(), "buffers"), unit="times"),
        "plan_time_spread_most": Figure(value=_spread(by_plan.values(), "execution_ms"), unit="times"),
    }


def _by_plan(runs: Sequence[Sequence[PlanResult]]) -> dict[tuple[str, str], list[PlanResult]]:
    by_plan: dict[tuple[str, str], list[PlanResult]] = {}
    for plans in runs:
        for plan in plans:
            by_plan.setdefault((plan.statement, plan.condition), []).append(plan)
    return by_plan


def _finding(statement: str, plans: dict[str, list[PlanResult]], runs: int) -> Finding:
    expected = f"each plan judged {runs} times, with one verdict"
    for condition, seen in plans.items():
        verdicts = [plan.verdict.value for plan in seen]
        if len(set(verdicts)) > 1 or len(seen) != runs:
            told = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
            return Finding(
                name=statement, verdict=Verdict.BROKEN, observed=f"{condition}: {told}", expected=expected,
                remedy="see what its findings of the two verdicts count",
            )  # fmt: skip
    return Finding(
        name=statement,
        verdict=Verdict.MET,
        observed=f"{len(plans)} plans, one verdict each",
        expected=expected,
    )


def _row(statement: str, plans: dict[str, list[PlanResult]]) -> Row:
    verdicts = sorted({plan.verdict.value for seen in plans.values() for plan in seen})
    return [
        statement, float(len(plans)), ", ".join(verdicts), _spread(plans.values(), "buffers"),
        _spread(plans.values(), "execution_ms"),
    ]  # fmt: skip


def _spread(plans: Iterable[Sequence[PlanResult]], counter: str) -> float:
    """The most to the least that a plan's counter came to, of the plan for which that is the most."""
    spreads = []
    for seen in plans:
        values = [plan.work[counter] for plan in seen if plan.work.get(counter)]
        spreads.append(max(values) / min(values) if values else 1.0)
    return round(max(spreads, default=1.0), 2)


async def _burn(spin: int) -> None:
    """Compute until it is cancelled."""
    while True:
        sum(range(spin))
        await asyncio.sleep(0)
