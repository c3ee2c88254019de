"""A change tried: every plan's work, what an append costs, sizes, and appends per second in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import numpy as np

from eventmark.adviser.ablate import (
    REFUSALS,
    CaseKey,
    CaseWork,
    better_cases,
    measure_work,
    with_generic_plans,
    worse_cases,
)
from eventmark.adviser.appends import Template, append_call
from eventmark.adviser.candidate import AppendCost, Candidate, Sizes, Trial
from eventmark.adviser.copies import Copies, apply
from eventmark.adviser.rates import measured_ratios
from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError
from eventmark.plans import PlanCase
from eventmark.plans.capture import explain
from eventmark.plans.work import nodes, work_of

COST_PASSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """A schema as it is: what every case does, and what an append costs."""

    cases: Sequence[PlanCase]
    work: Mapping[CaseKey, CaseWork]
    cost: AppendCost


class _Undone(Exception):
    """Ends a transaction that is meant to roll back."""


async def examine_state(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    schema: str,
    cases: Sequence[PlanCase] | None = None,
    candidate: Candidate | None = None,
) -> SchemaState:
    """Examine ``schema`` with cases drawn from it, or with those given; just vacuumed, but for a transaction's own.

    ``candidate`` is what was applied, where its statements are others. May run within a transaction.
    """
    drawn = cases if cases is not None else await copies.cases(connection, schema)
    statements = copies.definition.statements
    if candidate is not None:
        statements = candidate.statements_of(statements)
    work = await measure_work(connection, statements, schema, drawn)
    cost = await _append_cost(
        connection, statements["append_events"], schema, copies.templates,
        copies.effort.cost_appends,
    )  # fmt: skip
    return SchemaState(cases=drawn, work=work, cost=cost)


async def _append_cost(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    templates: Sequence[Template],
    appends: int,
) -> AppendCost:
    """The mean over so many appends of one event, each rolled back, to the same places whenever it is called.

    Their neighbours are appended first and not counted: so the pages that they change were changed since the
    last checkpoint, and have room. Of each append the least of several counts, of WAL as of pages, without those
    that wrote a page whole: what is left of splits is not in it. Raises what the server raises, and ``CannotRunError``
    where checkpoints come so often that none could be counted.
    """
    least: dict[int, tuple[float, float]] = {}
    for attempt in range(COST_PASSES):
        for number in range(appends):
            template = templates[number % len(templates)]
            call = append_call(statement, template, number=number, neighbour=attempt)
            plan = await explain(connection, statement, schema, call.arguments, generic=False)
            if attempt and not any(node.get("WAL FPI", 0) for node in nodes(plan)):
                work = work_of(plan)
                wal_bytes, pages = least.get(number, (math.inf, math.inf))
                least[number] = min(wal_bytes, work["wal_bytes"]), min(pages, work["buffers"])
    if len(least) < appends / 2:
        raise CannotRunError(
            "what an append costs could not be counted: most of them wrote whole pages",
            remedy="raise checkpoint_timeout and max_wal_size",
        )
    means = np.asarray(list(least.values())).mean(axis=0)
    return AppendCost(wal_bytes=float(means[0]), pages=float(means[1]))


async def try_undone(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    candidate: Candidate,
    before: SchemaState,
    *,
    with_others: Sequence[Candidate] = (),
) -> Trial:
    """The candidate applied, after ``with_others``, in a transaction that is rolled back; counters only."""
    trial = Trial(candidate=candidate, refusal="it was not tried")
    try:
        async with connection.transaction():
            for with_other in with_others:
                await apply(connection, copies.changed, with_other.apply)
            sizes = await copies.sizes(connection, copies.changed)
            await apply(connection, copies.changed, candidate.apply)
            sizes_after = await copies.sizes(connection, copies.changed)
            after = await examine_state(copies, connection, copies.changed, before.cases)
            trial = compared(candidate, before, after, sizes, sizes_after)
            raise _Undone
    except _Undone:
        pass
    except REFUSALS as error:
        trial = Trial(candidate=candidate, refusal=f"the server refuses it: {_first_line(error)}")
    await copies.vacuum(connection, copies.changed)
    return trial


def compared(
    candidate: Candidate, before: SchemaState, after: SchemaState, sizes_before: Sizes, sizes_after: Sizes
) -> Trial:
    """What the change made of every case.

    Rows that hold more of their documents themselves lie on more pages: by so much a read may touch more.
    """
    wider = sizes_after.heap_bytes / max(sizes_before.heap_bytes, 1) if candidate.by_time else 1.0
    return Trial(
        candidate=candidate,
        before=before.cost,
        after=after.cost,
        sizes_before=sizes_before,
        sizes_after=sizes_after,
        worse=tuple(worse_cases(before.work, after.work, writes=not candidate.adds_work, wider=wider)),
        better=tuple(better_cases(before.work, after.work)),
        compared=sum(not case.refusal for case in before.work.values()),
    )


async def try_kept(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    candidate: Candidate,
    settings: Mapping[str, str] | None = None,
) -> Trial:
    """The candidate applied to the changed copy for good, which is compared with what it was.

    With ``settings`` of the session that comes afterwards.
    """
    settings = settings or {}
    try:
        for schema in (copies.plain, copies.changed):
            await apply(connection, schema, candidate.level)
        sizes = await copies.sizes(connection, copies.changed)
        before = await _examined_at_rest(copies, connection, None)
        await copies.vacuum(connection, copies.changed)
        began_s = time.monotonic()
        await apply(connection, copies.changed, candidate.apply)
        took_s = time.monotonic() - began_s
        sizes_after = await copies.sizes(connection, copies.changed)
        for name, value in settings.items():
            await connection.execute("select set_config($1, $2, false)", name, value)
        after = await _examined_at_rest(copies, connection, before.cases, candidate)
    except REFUSALS as error:
        return Trial(candidate=candidate, refusal=f"the server refuses it: {_first_line(error)}")
    if (
        settings.get("plan_cache_mode") == "force_generic_plan"
    ):  # each plan was made as its case asks all the same
        after = replace(after, work=with_generic_plans(after.work))
    return replace(compared(candidate, before, after, sizes, sizes_after), took_s=took_s)


async def _examined_at_rest(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    cases: Sequence[PlanCase] | None,
    candidate: Candidate | None = None,
) -> SchemaState:
    await copies.analyze(connection, copies.changed)
    await copies.vacuum(connection, copies.changed)
    return await examine_state(copies, connection, copies.changed, cases, candidate)


def with_rate(
    copies: Copies,
    trial: Trial,
    pairs: int,
    settings: Mapping[str, str] | None = None,
    *,
    with_reads: bool = True,
) -> Trial:
    """The trial with appends per second, and reads, of the changed copy over those of the plain one.

    ``settings`` are of the sessions that use the changed copy.

    Raises ``CannotRunError`` where there is no pgbench.
    """
    if not pairs:
        return trial
    ratios = measured_ratios(
        copies, pairs, candidate=trial.candidate, settings=settings, with_reads=with_reads
    )
    return replace(trial, rate=ratios.rate, cpu=ratios.cpu, reads=ratios.reads)


def rate_single(copies: Copies, trial: Trial) -> Trial:
    """The trial with its rate: applied to the changed copy, measured, and taken back.

    The plain copy goes through the same, unmeasured in between: what is made again is as fresh in both.
    """
    candidate = trial.candidate
    if not copies.effort.single_pairs or not candidate.revert:
        return trial
    copies.ask(_make, candidate)
    try:
        # What counters show of reads is enough for what is made and undone in moments
        return with_rate(copies, trial, copies.effort.single_pairs, with_reads=False)
    finally:
        copies.ask(_take_back, candidate)


async def _make(copies: Copies, connection: asyncpg.Connection[Any], candidate: Candidate) -> None:
    await apply(connection, copies.changed, candidate.apply)


async def _take_back(copies: Copies, connection: asyncpg.Connection[Any], candidate: Candidate) -> None:
    await apply(connection, copies.changed, candidate.revert)
    await apply(connection, copies.plain, (*candidate.apply, *candidate.revert))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
