"""The two copies that trials are made on: one stays as the store is, the other is changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg

from eventmark.adviser.appends import Template, append_script, sampled_templates
from eventmark.adviser.candidate import Candidate, Sizes, retyped_statement
from eventmark.adviser.reads import ReadCalls, sampled_reads, scripts_of_reads
from eventmark.engine.schema import Purpose
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.jobs.job import Job
from eventmark.plans import PlanCase, sampled_cases
from eventmark.seeding import Progress, no_progress, seed
from eventmark.server.loop import ask, on_loop
from eventmark.stores import StoreDefinition, drop_scratch, read_shape, scratch_name

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")

SUFFIX_PLAIN, SUFFIX_CHANGED = "_as_is", "_changed"
RATE_TEMPLATES = 6
"""Of the templates, for pgbench's runs. Each client prepares each of its scripts, and the first five plans of a
prepared statement are custom ones: the fewer scripts, the more of a run is as in service."""

STATISTICS_TARGET = 1000  # 300,000 rows are looked at, where the usual target looks at 30,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured: events in each copy at most, and the pairs of pgbench's runs that a rate rests on.

    ``single_pairs`` 0: single changes are compared by counters alone. ``seconds`` of one run.
    """

    events: int
    single_pairs: int
    pairs: int
    seconds: float
    cost_appends: int


EFFORTS = {
    "quick": Effort(events=20_000, single_pairs=0, pairs=2, seconds=1, cost_appends=24),
    "standard": Effort(events=200_000, single_pairs=3, pairs=8, seconds=2, cost_appends=72),
    "full": Effort(events=1_000_000, single_pairs=5, pairs=16, seconds=3, cost_appends=240),
}


class Copies:
    """Schemas besides the job's own, each seeded with the job's corpus. ``drop`` removes them.

    ``protected`` are indexes that are not given up, whatever the trials find: others use them.
    """

    def __init__(
        self, job: Job, effort: Effort, progress: Progress = no_progress, *, protected: Collection[str] = ()
    ) -> None:
        self.job = job
        self.effort = effort
        self.plain = scratch_name(job.schema, SUFFIX_PLAIN)
        self.changed = scratch_name(job.schema, SUFFIX_CHANGED)
        self.progress = progress
        self.protected = frozenset(protected)
        self._templates: list[Template] = []
        self._read_calls: dict[str, ReadCalls] = {}

    @property
    def events(self) -> int:
        """In each copy, as long as nothing was appended."""
        return self.job.corpus.events

    @property
    def definition(self) -> StoreDefinition:
        return self.job.definition

    @property
    def tables(self) -> list[str]:
        return [table for table in (self.definition.events_table, self.definition.snapshots_table) if table]

    def make(self) -> None:
        """Both copies anew, alike to the last row. Raises ``CannotRunError``."""
        self.drop()
        for schema in (self.plain, self.changed):
            on_loop(
                seed(
                    self.job.server.dsn, self.definition, self.job.corpus, schema=schema, purpose=Purpose.SCRATCH,
                    progress=self.progress,
                )
            )  # fmt: skip
        self.ask(Copies._draw)

    async def _draw(self, connection: asyncpg.Connection[Any]) -> None:
        """What is appended and read in trials. Raises ``CannotRunError`` for a store of several tables."""
        if (await read_shape(connection, self.definition, self.plain)).kind == "v":
            raise CannotRunError(
                f"store {self.definition.name!r} cannot be advised on: its events are a view of several tables",
                remedy="ask run, verify, explain and load, which work on the store itself",
            )
        self._templates = await sampled_templates(connection, self.definition, self.plain)
        if self.effort.single_pairs:  # before a change: rows are drawn by the pages that they lie on
            self._read_calls = {
                schema: await sampled_reads(
                    connection, self.definition, self.job.server.dsn, schema=schema, events=self.events
                )
                for schema in (self.plain, self.changed)
            }

    def drop(self) -> None:
        self.ask(Copies._drop)

    async def _drop(self, connection: asyncpg.Connection[Any]) -> None:
        for schema in (self.plain, self.changed):
            await drop_scratch(connection, schema)

    @property
    def templates(self) -> list[Template]:
        return self._templates

    def scripts(
        self, schema: str, changed: Candidate | None = None, *, count: int = RATE_TEMPLATES
    ) -> list[str]:
        """``count`` scripts for pgbench that append to ``schema``; the same for both copies but for its name.

        With ``changed``, as its statements have to be.
        """
        step = max(len(self._templates) // count, 1)
        statement, types = self.definition.statements["append_events"], None
        if changed is not None:
            statement, types = retyped_statement(statement, changed.retyped), changed.parameter_types
        version_num = self.job.server.version_num
        return [
            append_script(statement, schema, template, version_num=version_num, types=types)
            for template in self._templates[step // 2 :: step]
        ]

    def read_scripts(self, schema: str) -> dict[str, list[str]]:
        """By operation that reads, a script for pgbench; empty where single changes are not timed."""
        return scripts_of_reads(self.definition.statements, schema, self._read_calls.get(schema, {}))

    def ask(
        self,
        question: Callable[Concatenate[Copies, asyncpg.Connection[Any], _Given], Awaitable[_Answer]],
        *given: _Given.args,
        **named: _Given.kwargs,
    ) -> _Answer:
        """What ``question`` answers, given the copies, a connection to their server, and the rest."""
        return ask(self.job.server.dsn, partial(question, self), *given, **named)

    async def cases(self, connection: asyncpg.Connection[Any], schema: str) -> list[PlanCase]:
        """Every statement under every condition, with arguments from ``schema``."""
        definition = self.definition
        return await sampled_cases(
            connection, definition.statements, schema, definition.read_columns, definition.events_table,
            definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
 first_sequence=definition.first_sequence,
        )  # fmt: skip

    async def sizes(self, connection: asyncpg.Connection[Any], schema: str) -> Sizes:
        row = await connection.fetchrow(
            "select sum(pg_table_size(part))::bigint as tables, sum(pg_indexes_size(part))::bigint as indexes,"
            " sum(pg_relation_size(part))::bigint as heaps"
            " from unnest($1::text[]) as one (name), lateral ("
            "   select relid as part from pg_partition_tree(name::regclass) where isleaf"
            "   union select name::regclass"
            " ) as parts",
            [f'{quoted_schema(schema)}."{table}"' for table in self.tables],
        )
        assert row is not None
        return Sizes(
            table_bytes=row["tables"], index_bytes=row["indexes"], events=self.events, heap_bytes=row["heaps"]
        )

    async def vacuum(self, connection: asyncpg.Connection[Any], schema: str) -> None:
        """Without what was rolled back, in the indexes as well: few dead entries would be left there otherwise."""
        for table in self.tables:
            await connection.execute(f'vacuum (index_cleanup on) {quoted_schema(schema)}."{table}"')

    async def analyze(self, connection: asyncpg.Connection[Any], schema: str) -> None:
        """Statistics from so many rows that the same tables have the same, and plans are chosen alike."""
        async with connection.transaction():
            await connection.execute(f"set local default_statistics_target = {STATISTICS_TARGET}")
            for table in self.tables:
                await connection.execute(f'analyze {quoted_schema(schema)}."{table}"')


async def apply(connection: asyncpg.Connection[Any], schema: str, statements: Sequence[str]) -> None:
    """Run the statements where the search path leads to ``schema`` alone, and leave the path as it was."""
    before = await connection.fetchval("select current_setting('search_path')")
    async with connection.transaction():
        await connection.execute(f"set local search_path = {quoted_schema(schema)}")
        for statement in statements:
            await connection.execute(statement)
        await connection.execute("select set_config('search_path', $1, true)", before)
