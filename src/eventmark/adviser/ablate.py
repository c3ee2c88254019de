"""What each statement has to do with something of the schema changed, held against what it did before.

The same statements run with the same arguments on the same rows, so that every difference is the change's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.plans.capture import explain
from eventmark.plans.conditions import PlanCase
from eventmark.plans.work import Node, work_of

ATTEMPTS = 2
"""The first to meet rows of an append that was rolled back marks their entries dead; whoever comes after skips
them. So the lesser of two is what a plan has to do."""

WORK_TOLERANCE = 1.1
"""A plan that touches up to a tenth more pages is no worse: half-filled pages and dead entries make as much."""

WRITE_TOLERANCE = 1.33
"""A write touches the pages that the free space map leads it to: on the same table made anew, up to a third more."""

PAGES_FREE = 4
"""Nor is one that touches a few pages more: another index is a level deeper, or its rows lie on two pages."""

GAIN_FACTOR = 2.0
"""A plan is better when it touches half the pages, and ``PAGES_FREE`` fewer at least."""

REFUSALS = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError)

PLAN_KINDS = ("custom", "generic")

CaseKey = tuple[str, str]
"""Statement and condition, the kind of plan at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWork:
    """What one statement did under one condition: ``work`` as ``work_of`` has it. Empty where it was refused."""

    work: Mapping[str, float]
    plan: Node
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A case that does more, or less, than it did. ``what`` says so in words."""

    statement: str
    condition: str
    what: str
    factor: float  # pages touched after over before


async def measure_work(
    connection: asyncpg.Connection,
    statements: Mapping[str, Statement],
    schema: str,
    cases: Sequence[PlanCase],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[CaseKey, CaseWork]:
    """Every case with arguments as custom and as generic plan, the reads first. Leaves nothing behind.

    May run within a transaction of the caller's. What the server refuses is told, not raised.
    """
    ready = [case for case in cases if not case.reason and case.statement in statements]
    ready.sort(key=lambda case: case.statement.startswith(("append", "store")))
    examined: dict[CaseKey, CaseWork] = {}
    for number, case in enumerate(ready, 1):
        for kind in PLAN_KINDS:
            key = case.statement, f"{case.condition}, {kind} plan"
            examined[key] = await _case_work(
                connection, statements[case.statement], schema, case, generic=kind == "generic"
            )
        if progress is not None:
            progress(number, len(ready))
    return examined


async def _case_work(
    connection: asyncpg.Connection, statement: Statement, schema: str, case: PlanCase, *, generic: bool
) -> CaseWork:
    best: CaseWork | None = None
    for _ in range(ATTEMPTS):
        try:
            plan = await explain(connection, statement, schema, case.arguments, generic=generic)
        except REFUSALS as error:
            return CaseWork(work={}, plan={}, refusal=str(error).partition("\n")[0] or type(error).__name__)
        case_work = CaseWork(work=work_of(plan), plan=plan)
        if best is None or case_work.work["buffers"] < best.work["buffers"]:
            best = case_work
    assert best is not None
    return best


def with_generic_plans(work: Mapping[CaseKey, CaseWork]) -> dict[CaseKey, CaseWork]:
    """The same where no custom plan is ever made: each case of one does what its generic plan does."""
    custom, generic = PLAN_KINDS
    return {
        (statement, condition): work.get(
            (statement, condition.replace(f", {custom} plan", f", {generic} plan")), case
        )
        for (statement, condition), case in work.items()
    }


def worse_cases(
    before: Mapping[CaseKey, CaseWork],
    after: Mapping[CaseKey, CaseWork],
    *,
    writes: bool = True,
    wider: float = 1.0,
) -> list[Difference]:
    """The cases that do more than the tolerance allows, that scan or sort what they did not, or that fail.

    Without ``writes``, statements that write may do more: the price of an index that is added. Reads may touch
    ``wider`` times as many pages.
    """
    all_worse = []
    for key, now in after.items():
        then = before.get(key)
        if then is None or then.refusal:
            continue
        if now.refusal:
            all_worse.append(_difference(key, f"refused: {now.refusal}", float("inf")))
        elif writes or not then.work["writes"]:
            all_worse += _worse(key, then.work, now.work, max(wider, 1.0))
    return all_worse


def better_cases(before: Mapping[CaseKey, CaseWork], after: Mapping[CaseKey, CaseWork]) -> list[Difference]:
    """The reads that touch less than half of the pages."""
    of_pages = []
    for key, now in after.items():
        then = before.get(key)
        if then is None or then.refusal or now.refusal or then.work["writes"]:
            continue
        pages, pages_then = pages_of(now.work), pages_of(then.work)
        if pages_then - pages > PAGES_FREE and pages_then >= GAIN_FACTOR * pages:
            of_pages.append(_of_pages(key, then.work, now.work))
    return of_pages


def pages_of(work: Mapping[str, float]) -> float:
    """Pages touched, with those of TOAST that writing the answer out took; servers before 17 do not count these."""
    return work["buffers"] + work.get("toast_pages_per_row", 0.0) * max(work.get("rows", 0.0), 1.0)


def _worse(
    key: CaseKey, then: Mapping[str, float], now: Mapping[str, float], wider: float
) -> list[Difference]:
    tolerance = WRITE_TOLERANCE if then["writes"] else WORK_TOLERANCE * wider
    if pages_of(now) > pages_of(then) * tolerance + PAGES_FREE:
        return [_of_pages(key, then, now)]
    for name, text in (
        ("seq_scans", "reads a table from end to end"), ("sorts", "sorts"), ("temp_buffers", "spills to disk"),
    ):  # fmt: skip
        if now[name] > then[name]:
            return [_difference(key, text, _factor(then, now))]
    return []


def _of_pages(key: CaseKey, then: Mapping[str, float], now: Mapping[str, float]) -> Difference:
    return _difference(key, f"{pages_of(then):.0f} pages, then {pages_of(now):.0f}", _factor(then, now))


def _factor(then: Mapping[str, float], now: Mapping[str, float]) -> float:
    return pages_of(now) / max(pages_of(then), 1.0)


def _difference(key: CaseKey, what: str, factor: float) -> Difference:
    return Difference(statement=key[0], condition=key[1], what=what, factor=factor)
