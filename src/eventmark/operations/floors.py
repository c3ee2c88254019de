"""Floors: the same work done by the field's own tools in the same run, as the measure of the distance.

pgbench runs the store's own SQL files, ``psql \\copy`` loads the same rows, the bare driver fetches the same
rows, and a well-known library appends the same payloads.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.errors import CannotRunError
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.forks import ForkTask, own_part
from eventmark.operations.pgbench import lay_down_arguments, pgbench_mean_ms
from eventmark.results.results import Floor
from eventmark.seeding import SeedReport
from eventmark.server import Server
from eventmark.server.loop import ask, on_loop
from eventmark.stores import (
    PER_EVENT_PARAMETERS,
    PooledStore,
    StoreDefinition,
    drop_scratch,
    make_scratch_store,
)

COPY_CONNECTIONS = 2
COPY_EVENTS_MAX = 1_000_000
FLOOR_SCHEMA_SUFFIX = "_floor"
FLOOR_STATISTICS = {"pgbench": "mean", "asyncpg": "p50", "eventsourcing": "p50"}

# Calls of one round: so many take about as long as a fork does.
_CALLS = {
    "append_events[10]": 0.4,
    "append_events[100]": 0.1,
    "load_aggregate[1000]": 0.2,
    "stream_events[1000]": 0.2,
}


@dataclass(slots=True)
class FloorRounds:
    """What was seen in each round: pairs of ours and theirs, milliseconds.

    Theirs is a difference of two runs, and may come out at nought or below where much else went on: that
    round counts as infinitely far from the floor, so that no such round flatters us.
    """

    tool: str
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def floor(self) -> Floor | None:
        """The median of the pairs' ratios; None where there is none that is finite."""
        ratios = [ours / theirs if theirs > 0 else math.inf for ours, theirs in self.pairs]
        if not ratios or math.isinf(statistics.median(ratios)):
            return None
        return Floor(
            tool=self.tool,
            statistic=FLOOR_STATISTICS[self.tool],
            value=statistics.median(theirs for _, theirs in self.pairs),
            unit="ms",
            ratio=statistics.median(ratios),
            statement="p50",
        )


class PgbenchFloors:
    """pgbench next to each operation, round by round, with arguments of its own laid down beforehand."""

    def __init__(
        self, server: Server, definition: StoreDefinition, schema: str, calls: int, rounds: int
    ) -> None:
        self._server = server
        self._definition = definition
        self._schema = schema
        self._calls = calls
        self._rounds = rounds
        self.missing: dict[str, str] = {}

    def has(self, operation: str) -> bool:
        return self._statement(operation) is not None and operation not in self.missing

    async def prepare(
        self, connection: asyncpg.Connection[Any], operation: str, task: ForkTask, store: PooledStore
    ) -> None:
        """Draw and lay down the arguments of every round of ``operation``."""
        statement = self._statement(operation)
        if statement is None:
            return
        names = {parameter.name for parameter in statement.parameters}
        if operation.startswith("append_events") and names & set(PER_EVENT_PARAMETERS):
            self.missing[operation] = "the store appends one event at a time, in a transaction of its own"
            return
        drawn = OPERATIONS[operation](store, task.sample, np.random.default_rng([task.seed, 99]))
        await drawn.prepare()
        rows = [drawn.parameters(drawn.draw()) for _ in range(self._calls_of(operation) * self._rounds)]
        await lay_down_arguments(connection, self._schema, _table(operation), statement, rows)

    def measure_ms(self, operation: str, number: int) -> float | None:
        """The mean of round ``number`` (from 0); None, with the reason in ``missing``, where it failed."""
        statement = self._statement(operation)
        assert statement is not None
        calls = self._calls_of(operation)
        try:
            return pgbench_mean_ms(
                self._server, self._schema, _table(operation), statement,
                first_call=number * calls + 1, calls=calls,
            )  # fmt: skip
        except (CannotRunError, OSError) as error:
            self.missing[operation] = str(error).partition("\n")[0]
            return None

    async def remove(self, connection: asyncpg.Connection[Any]) -> None:
        """Drop the tables of arguments."""
        for operation in OPERATIONS:
            await connection.execute(
                f'drop table if exists {quoted_schema(self._schema)}."{_table(operation)}"'
            )

    def _statement(self, operation: str) -> Statement | None:
        return self._definition.statements.get(OPERATIONS[operation].statement)

    def _calls_of(self, operation: str) -> int:
        return max(10, int(self._calls * _CALLS.get(operation, 1.0)))


def floor_task(task: ForkTask, fork: int, forks: int) -> ForkTask:
    """The task of a floor, with streams apart from those of every fork."""
    return own_part(task, forks + fork, 2 * forks)


def copy_floor(
    server: Server,
    definition: StoreDefinition,
    schema: str,
    seeded: SeedReport,
    scratch: Path | None = None,
) -> Floor:
    """``psql \\copy`` of the same rows by two connections into the same table with its indexes.

    The rows are written to files beforehand; only loading is timed. Raises ``CannotRunError``.
    """
    if server.bin_directory is None:
        raise CannotRunError("psql was not found", remedy="install PostgreSQL's client programs")
    if definition.seed_script or definition.seeded_columns:
        raise CannotRunError(
            "psql copies the mapped columns of one table, which is not all that this store needs"
        )
    psql = _Psql(server.bin_directory / "psql", server)
    events = min(seeded.corpus.plan.events, COPY_EVENTS_MAX)
    floor_schema = schema[: 48 - len(FLOOR_SCHEMA_SUFFIX)] + FLOOR_SCHEMA_SUFFIX
    columns = ", ".join(f'"{column}"' for column in definition.columns.values())
    position = f'"{definition.columns["global_sequence_id"]}"'
    try:
        with tempfile.TemporaryDirectory(prefix="eventmark-", dir=scratch) as folder:
            files = [Path(folder) / f"part{number}" for number in range(COPY_CONNECTIONS)]
            psql.run_all(
                f'\\copy (select {columns} from {quoted_schema(schema)}."{definition.events_table}"'
                f" where {position} <= {events} and ({position} - 1) / 10000 % {COPY_CONNECTIONS} = {number}"
                f" order by {position}) to '{file}' with (format binary)"
                for number, file in enumerate(files)
            )
            on_loop(make_scratch_store(server.dsn, definition, floor_schema))
            loading = _Psql(server.bin_directory / "psql", server.confined(floor_schema))
            began_s = time.monotonic()
            loading.run_all(
                f'\\copy {quoted_schema(floor_schema)}."{definition.events_table}" ({columns})'
                f" from '{file}' with (format binary)"
                for file in files
            )
            rate = events / (time.monotonic() - began_s)
    finally:
        ask(server.dsn, drop_scratch, floor_schema)
    return Floor(
        tool="psql \\copy", statistic=f"{COPY_CONNECTIONS} connections, indexes present", value=rate,
        unit="rows/s", ratio=rate / seeded.events_per_s, statement="seed",
    )  # fmt: skip


class _Psql:
    """Several psql at once, each with one command."""

    def __init__(self, program: Path, server: Server) -> None:
        self._program = program
        self._server = server

    def run_all(self, commands: Any) -> None:
        running = [
            subprocess.Popen(
                [str(self._program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command, self._server.program_dsn],
                env={**os.environ, **self._server.program_environment}, stderr=subprocess.PIPE, text=True,
            )
            for command in commands
        ]  # fmt: skip
        failed = []
        for process in running:
            _, errors = process.communicate()
            if process.returncode != 0:
                failed.append(errors.strip().partition("\n")[0])
        if failed:
            raise CannotRunError(f"psql failed: {failed[0]}")


def _table(operation: str) -> str:
    return "eventmark_floor_" + operation.replace("[", "_").replace("]", "")
