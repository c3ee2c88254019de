"""Plan cliffs: every statement of a store asked under every condition, and what falls over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.experiments.cliffs.sections import cliffs_section
from eventmark.experiments.cliffs.states import STATES, StateWalk, fill_copy
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.plans.cliffs.cells import PLAN_KINDS, Cell, State, examine_cell
from eventmark.plans.cliffs.finder import find_cliffs, judge_cells
from eventmark.plans.cliffs.questions import BATCHES_EVENTS, DrawnQuestions, draw_questions
from eventmark.results.results import Figure
from eventmark.seeding import Progress
from eventmark.server.loop import on_loop
from eventmark.stores import WRITING_STATEMENTS, drop_scratch_schema, large_tables, scratch_name

SCHEMA_SUFFIX = "_cliffs"
COPIED_EVENTS_MAX = 2_000_000
"""Of a longer log, its beginning is examined: the copy is filled through its indexes, event by event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many questions a statement is asked at most, of which sizes, and the time it has in each state."""

    questions: int
    batches: Sequence[int]
    seconds: float


EXTENTS = {
    "quick": Extent(questions=4, batches=(1, 10, 1000), seconds=5.0),
    "standard": Extent(questions=40, batches=BATCHES_EVENTS, seconds=30.0),
    "full": Extent(questions=400, batches=BATCHES_EVENTS, seconds=300.0),
}


class Cliffs(Experiment):
    """The cliffs of the job's store, found on a copy of its corpus that is dropped again.

    Data that was there already is not copied: it is examined as it is, without other plans tried.
    """

    name: ClassVar[str] = "plan cliffs"
    reads_existing: ClassVar[bool] = True

    def scratch_events(self, job: Job) -> int:
        return _copied(job)

    def measure(self, run: Run) -> Findings:
        examine = _examine if run.job.existing is None else _examine_existing
        cells: list[Cell] = []
        run.so_far = lambda: _findings(run, cells)
        on_loop(examine(run.job, run, run.progress, cells))
        return _findings(run, cells)


def _findings(run: Run, cells: Sequence[Cell]) -> Findings:
    judged, cliffs = judge_cells(cells), find_cliffs(cells)
    worst = max((cell.times for cell in judged), default=0.0)
    figures = {
        "plan_cliffs": Figure(value=len(cliffs), unit="cliffs", better="less", exact=True),
        "plan_cliff_cells": Figure(
            value=sum(len(cliff.cells) for cliff in cliffs), unit="cells", better="less"
        ),
        "plan_cells": Figure(value=len(cells), unit="cells"),
        "plan_work_times_most": Figure(value=round(worst, 2), unit="times", better="less"),
    }
    section = cliffs_section(cells, judged, cliffs, copied=run.job.existing is None)
    return Findings(sections=[section], figures=figures)


def _copied(job: Job) -> int:
    return min(job.corpus.events, COPIED_EVENTS_MAX)


async def _examine(job: Job, run: Run, progress: Progress, cells: list[Cell]) -> None:
    extent = EXTENTS[job.profile.name]
    copy = scratch_name(job.schema, SCHEMA_SUFFIX)
    events = _copied(job)
    if events < job.corpus.events:
        run.skipped["events"] = f"the first {events:,} of {job.corpus.events:,} events were examined"
    connection = await asyncpg.connect(job.server.dsn)
    walk: StateWalk | None = None
    try:
        for loaded, when in ((False, "at rest"), (True, "under load")):
            with run.phase(f"copy, {when}"):
                progress("copy", int(loaded), 2)
                await fill_copy(connection, job.definition, job.schema, copy, events)
                progress("copy", int(loaded) + 1, 2)
            with run.phase(f"plans, {when}"):
                walk = walk or await _begin(connection, job, copy, extent, run, progress, cells)
                await walk.run(loaded=loaded)
    finally:
        await connection.close()
        await drop_scratch_schema(job.server.dsn, copy)
    assert walk is not None
    for statement, count in walk.left_out.items():
        run.skipped[f"{count} cells of {statement}"] = (
            f"the statement's time of {extent.seconds:g} s in one state was over"
        )


async def _examine_existing(job: Job, run: Run, progress: Progress, cells: list[Cell]) -> None:
    """Every question that only reads, as each kind of plan, in the state that the tables are in."""
    assert job.existing is not None
    extent = EXTENTS[job.profile.name]
    connection = await asyncpg.connect(job.server.dsn)
    try:
        large = frozenset[str]() if job.existing.scans else await large_tables(connection, job.schema)
        reading = {
            n: statement for n, statement in job.definition.statements.items() if n not in WRITING_STATEMENTS
        }
        drawn = await _draw(connection, job, job.schema, extent, statements=reading, large=large)
        run.skipped |= drawn.skipped | dict.fromkeys(
            set(job.definition.statements) - set(reading), "nothing is written with --existing"
        )
        with run.phase("plans"):
            asked = [(question, kind) for question in drawn.questions for kind in PLAN_KINDS]
            for done, (question, kind) in enumerate(asked):
                progress("cliffs", done, len(asked))
                statement = reading[question.statement]
                cells.append(
                    await examine_cell(
                        connection,
                        statement,
                        job.schema,
                        question,
                        kind,
                        State(),
                        try_others=False,
                        large=large,
                    )
                )
    finally:
        await connection.close()


async def _begin(
    connection: asyncpg.Connection,
    job: Job,
    copy: str,
    extent: Extent,
    run: Run,
    progress: Progress,
    cells: list[Cell],
) -> StateWalk:
    """The questions drawn, and the walk that asks them."""
    drawn = await _draw(connection, job, copy, extent)
    run.skipped |= drawn.skipped
    total = len(drawn.questions) * len(PLAN_KINDS) * STATES
    return StateWalk(
        connection, job.definition, job.server.dsn, copy, drawn.questions,
        lambda done: progress("cliffs", done, total), seconds_max=extent.seconds, cells=cells,
    )  # fmt: skip


async def _draw(
    connection: asyncpg.Connection, job: Job, schema: str, extent: Extent, *,
    statements: Mapping[str, Statement] | None = None, large: frozenset[str] = frozenset(),
) -> DrawnQuestions:  # fmt: skip
    definition = job.definition
    return await draw_questions(
        connection, statements or definition.statements, schema, definition.read_columns, definition.events_table,
        definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
 first_sequence=definition.first_sequence,
        per_statement=extent.questions, batches=extent.batches, seed=job.corpus.seed,
        large=large,
    )  # fmt: skip
