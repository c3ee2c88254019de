"""What a long run leaves on the server and in memory: looked at all the while, and compared at its ends."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from eventmark.jobs.job import Job
from eventmark.results.results import Series
from eventmark.server import ProcessTree, Relation, relations_now, relations_snapshot

MIB = 2**20
_UNITS = {
    "client_private": "MiB, private", "server_private": "MiB, private", "table_bytes": "MiB on disk",
    "index_bytes": "MiB on disk", "dead_rows": "dead rows", "vacuums_running": "vacuums running",
}  # fmt: skip


@dataclass(slots=True)
class Upkeep:
    """Relations and memory over time. ``look`` is called by a watch, ``began_s`` is on ``time.monotonic``.

    ``before`` and ``after`` are of the first and the last look.
    """

    job: Job
    began_s: float = 0.0
    before: dict[str, Relation] = field(default_factory=dict)
    points: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _trees: dict[str, ProcessTree] = field(init=False)

    def __post_init__(self) -> None:
        pid = self.job.server.pid
        # The workers alone: what the parent gathers grows with the length of the run.
        self._trees = {"client_private": ProcessTree(os.getpid(), leave_out=pid, root=False)}
        if pid:
            self._trees["server_private"] = ProcessTree(pid)

    async def look(self, connection: asyncpg.Connection[Any]) -> None:
        if not self.began_s:
            self.began_s = time.monotonic()
            self.before = await relations_snapshot(connection, self.job.schema)
        at_s = time.monotonic() - self.began_s
        usages = {name: tree.sample() for name, tree in self._trees.items()}
        client = usages["client_private"]
        # Before and after the load, the server has nobody's sessions.
        at_work = isinstance(client, str) or client.processes
        for name, usage in usages.items():
            if at_work and not isinstance(usage, str) and usage.processes:
                self.points[name].append((at_s, usage.private_bytes / MIB))
        for name, value in (await relations_now(connection, self.job.schema)).items():
            self.points[name].append((at_s, value / MIB if name.endswith("_bytes") else value))

    def series(self, origin_s: float) -> list[Series]:
        """Everything that was looked at; ``origin_s`` is the first look in the run's time."""
        return [
            Series(
                name=name.removesuffix("_bytes"), unit=_UNITS[name],
                at_s=[round(origin_s + at_s, 3) for at_s, _ in points], values=[round(value, 4) for _, value in points],
            )
            for name, points in self.points.items()
            if points
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Autovacuum:
    """After ``due_rows`` inserted rows a table is vacuumed, by one of the looks that come every ``every_s``."""

    due_rows: float
    every_s: float


async def relations_after(
    connection: asyncpg.Connection[Any], schema: str, events_table: str
) -> tuple[dict[str, Relation], Autovacuum | None]:
    """The schema's relations now, and autovacuum of the events; None where it is off, for the server or the table."""
    relations = await relations_snapshot(connection, schema)
    relation = relations[events_table]
    options = await connection.fetchval(
        "select coalesce(reloptions::text, '') from pg_class where oid = to_regclass($1)",
        f'"{schema}"."{relation.name}"',
    )
    row = await connection.fetchrow(
        "select current_setting('autovacuum')::bool as working,"
        " extract(epoch from current_setting('autovacuum_naptime')::interval)::float8 as every_s,"
        " current_setting('autovacuum_vacuum_insert_threshold')::float8 as least,"
        " current_setting('autovacuum_vacuum_insert_scale_factor')::float8 as scale"
    )
    if not row["working"] or "autovacuum_enabled=off" in (options or ""):
        return relations, None
    return relations, Autovacuum(row["least"] + row["scale"] * (relation.live_rows or 0), row["every_s"])
