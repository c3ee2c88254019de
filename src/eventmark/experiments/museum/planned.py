"""Trials of a statement by its plan: judged by the plan judge, or as a cliff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.experiments.museum.exhibit import Trial
from eventmark.plans import PlanCase, examine_plans
from eventmark.plans.cliffs.cells import PLAN_KINDS, Cell, State, examine_cell
from eventmark.plans.cliffs.finder import find_cliffs, judge_cells, why
from eventmark.plans.cliffs.questions import Question
from eventmark.plans.cliffs.weight import CLIFF_FACTOR, handled_of, pages_of
from eventmark.results.results import PlanResult, Verdict

_ORDER = (Verdict.BROKEN, Verdict.INCONCLUSIVE, Verdict.MET)


async def judged_by_plan(
    connection: asyncpg.Connection[Any],
    schema: str,
    statement: Statement,
    cases: Mapping[str, Sequence[object]],
    *,
    variant: str,
    good: bool,
) -> Trial:
    """The statement with each of the arguments, by condition: the worst plan decides."""
    results = await examine_plans(
        connection, {statement.name: statement}, schema,
        [PlanCase(statement.name, condition, tuple(arguments)) for condition, arguments in cases.items()],
    )  # fmt: skip
    worst = min(results, key=lambda result: (_ORDER.index(result.verdict), -result.work.get("buffers", 0.0)))
    return Trial(
        variant=variant, good=good, verdict=worst.verdict, reason=f"{worst.condition}: {_described(worst)}",
        counters=_counters(worst.work),
    )  # fmt: skip


async def judged_by_cliffs(
    connection: asyncpg.Connection[Any],
    schema: str,
    statement: Statement,
    questions: Mapping[str, Sequence[object]],
    *,
    variant: str,
    good: bool,
    kinds: Sequence[str] = PLAN_KINDS,
) -> Trial:
    """The statement asked each question by each kind of plan: a cliff among them breaks it."""
    cells = [
        await examine_cell(
            connection, statement, schema, question_of(statement, where, arguments), kind, State()
        )
        for where, arguments in questions.items()
        for kind in kinds
    ]
    return cliff_trial(cells, variant=variant, good=good)


def question_of(statement: Statement, where: str, arguments: Sequence[object]) -> Question:
    return Question(
        statement=statement.name, tenant="", stream="", place=where, batch="", arguments=tuple(arguments)
    )


def cliff_trial(cells: Sequence[Cell], *, variant: str, good: bool) -> Trial:
    """The verdict of the cliff finder on these cells."""
    refused = [cell for cell in cells if cell.reason]
    if refused:
        return Trial(
            variant=variant, good=good, verdict=Verdict.INCONCLUSIVE, reason=refused[0].reason, counters={}
        )
    worst = max(judge_cells(cells), key=lambda judged: judged.times)
    told = f"{worst.cell.question.label}, {worst.cell.condition}: "
    cliffs = find_cliffs(cells)
    if cliffs:
        verdict, reason = Verdict.BROKEN, told + why(cliffs[0])
    else:
        verdict, reason = Verdict.MET, f"{worst.times:.1f} times the best, less than {CLIFF_FACTOR:g}"
    return Trial(
        variant=variant, good=good, verdict=verdict, reason=reason,
        counters={**_counters(worst.cell.work), "times the best": round(worst.times, 1)},
    )  # fmt: skip


def _counters(work: Mapping[str, float]) -> dict[str, float]:
    if not work:
        return {}
    return {
        "rows": work["rows"], "pages": pages_of(work), "rows handled": handled_of(work),
        "heap fetches": work["heap_fetches"],
    }  # fmt: skip


def _described(result: PlanResult) -> str:
    worst_finding = next((finding for finding in result.findings if finding.verdict is result.verdict), None)
    if worst_finding is None or result.verdict is Verdict.MET:
        return "within every limit of the judge"
    return f"{worst_finding.name}: {worst_finding.observed}, expected {worst_finding.expected}"
