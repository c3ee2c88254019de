"""A cell: one question under one condition, and the work the server did for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.plans.capture import Changes, WholeTableError, explain, explain_sixth
from eventmark.plans.cliffs.alternatives import Alternative, try_alternatives
from eventmark.plans.cliffs.questions import Question
from eventmark.plans.cliffs.weight import is_suspicious, weigh
from eventmark.plans.shape import figures_of, shape_of, summary_of
from eventmark.plans.work import work_of

CUSTOM, GENERIC, SIXTH = "custom", "generic", "sixth execution"
PLAN_KINDS = (CUSTOM, GENERIC, SIXTH)
FRESH, STALE = "fresh", "stale"

ATTEMPTS = 3
SAME_WORK = 0.9
"""Who first meets rows of an aborted append marks their index entries dead, and the next one steps over them: what
seems to be too much work is only that when it is done again. It is done again for as long as it gets less."""

CELL_TIMEOUT_S = 20.0  # a statement that takes longer has shown enough; what it would have done is not known

REFUSALS = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Of the tables: whether statistics and visibility map are as after an ANALYZE and a VACUUM; who else writes."""

    statistics: str = FRESH
    visibility: str = FRESH
    loaded: bool = False

    @property
    def label(self) -> str:
        load = "under load" if self.loaded else "at rest"
        return f"{self.statistics} statistics, {self.visibility} visibility map, {load}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was seen. ``work`` is empty where the server refused, and ``reason`` has its words.

    ``generic`` tells which plan it was; of a sixth execution that is the server's choice.
    """

    question: Question
    kind: str
    state: State
    work: dict[str, float]
    generic: bool = False
    shape: str = ""
    summary: str = ""
    figures: str = ""
    cost: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    reason: str = ""

    @property
    def condition(self) -> str:
        return f"{self.kind_told}, {self.state.label}"

    @property
    def kind_told(self) -> str:
        if self.kind != SIXTH:
            return f"{self.kind} plan"
        return f"{SIXTH} ({GENERIC if self.generic else CUSTOM} plan)"

    @property
    def differing(self) -> tuple[str, ...]:
        """What a cell of the same question can differ in."""
        return (
            GENERIC if self.generic else CUSTOM,
            self.state.statistics,
            self.state.visibility,
            str(self.state.loaded),
        )


def conditions(states: Sequence[State]) -> list[tuple[str, State]]:
    """Every kind of plan in every state."""
    return list(product(PLAN_KINDS, states))


async def examine_cell(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    question: Question,
    kind: str,
    state: State,
    *,
    try_others: bool = True,
    large: frozenset[str] = frozenset(),
) -> Cell:
    """Run the question; what seems too much work is run again, and, with ``try_others``, by other plans as well.

    What the server refuses is the cell's reason; nothing is raised for it. The rest is as for ``explain``.
    """
    try:
        plan, work, generic = await _least_work(connection, statement, schema, question, kind, large)
    except WholeTableError as error:
        reason = f"not run: the planner would read {error.table} whole"
        return Cell(question=question, kind=kind, state=state, work={}, reason=reason)
    except REFUSALS as error:
        words = str(error).partition("\n")[0]
        return Cell(
            question=question, kind=kind, state=state, work={}, reason=f"{type(error).__name__}: {words}"
        )
    alternatives: tuple[Alternative, ...] = ()
    if try_others and is_suspicious(work):
        alternatives = await try_alternatives(
            connection, statement, schema, question.arguments, plan, generic=generic, timeout_s=CELL_TIMEOUT_S
        )
    return Cell(
        question=question,
        kind=kind,
        state=state,
        work=work,
        generic=generic,
        shape=shape_of(plan),
        summary=summary_of(plan),
        figures=figures_of(plan),
        cost=float(plan.get("Total Cost", 0.0)),
        alternatives=alternatives,
    )


async def _least_work(
    connection: asyncpg.Connection[Any], statement: Statement, schema: str, question: Question, kind: str,
    large: frozenset[str],
) -> tuple[dict[str, Any], dict[str, float], bool]:  # fmt: skip
    """The plan that did the least of at most ``ATTEMPTS``, its work, and whether it is the generic one."""
    plan, generic = await _plan(connection, statement, schema, question, kind, large)
    work = work_of(plan)
    for _ in range(ATTEMPTS - 1):
        if not is_suspicious(work):
            break
        again, generic_again = await _plan(connection, statement, schema, question, kind, large)
        less = weigh(work_of(again)) < SAME_WORK * weigh(work)
        plan, work, generic = again, work_of(again), generic_again
        if not less:
            break
    return plan, work, generic


async def _plan(
    connection: asyncpg.Connection[Any], statement: Statement, schema: str, question: Question, kind: str,
    large: frozenset[str],
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    changes = Changes(timeout_s=CELL_TIMEOUT_S, large=large)
    if kind == SIXTH:
        return await explain_sixth(connection, statement, schema, question.arguments, changes=changes)
    generic = kind == GENERIC
    plan = await explain(connection, statement, schema, question.arguments, generic=generic, changes=changes)
    return plan, generic
