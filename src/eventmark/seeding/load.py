"""What a worker process does: makes batches and copies them in, each in one transaction with its ledger row."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import asyncpg

from eventmark.errors import CannotRunError
from eventmark.seeding.ledger import note_batch
from eventmark.stores import StoreDefinition
from eventmark.workers import loop_factory
from eventmark.workload import LONGEST_STREAM_EVENTS, Batch, CorpusPlan, EventRow, SnapshotRow, make_batch

# What the checksum covers: each event's identity and place. Payloads are compared by the audit itself.
CHECKSUM_COLUMNS = ("tenant_id", "aggregate_id", "sequence_number", "event_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTask:
    """Where batches go, and from which plan; travels to the workers."""

    dsn: str
    schema: str
    events_table: str
    snapshots_table: str | None
    columns: dict[str, str]
    snapshot_columns: dict[str, str]
    plan: CorpusPlan
    first_transaction_id: int


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """A batch that is in the table, when (seconds since the epoch), and the worker's peak memory."""

    number: int
    events: int
    snapshots: int
    at_s: float
    worker_peak_rss_mib: float
    worker_pid: int


def load_task(
    dsn: str, schema: str, definition: StoreDefinition, plan: CorpusPlan, first_transaction_id: int
) -> LoadTask:
    return LoadTask(
        dsn=dsn,
        schema=schema,
        events_table=definition.events_table,
        snapshots_table=definition.snapshots_table,
        columns=dict(definition.columns),
        snapshot_columns=dict(definition.snapshot_columns),
        plan=plan,
        first_transaction_id=first_transaction_id,
    )


class _Worker:
    """The connection and the loop a worker process keeps between its tasks."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner = asyncio.Runner(loop_factory=loop_factory())
        self._connection: asyncpg.Connection[Any] | None = None
        gc.disable()  # rows hold no cycles; looking for some in every new batch costs as much as making it

    def load(self, task: LoadTask, number: int) -> LoadedBatch:
        batch = make_batch(task.plan, number, first_transaction_id=task.first_transaction_id)
        self._runner.run(self._copy(task, batch))
        return LoadedBatch(
            number, len(batch.events), len(batch.snapshots), time.time(), own_peak_rss_mib(), os.getpid()
        )

    async def _copy(self, task: LoadTask, batch: Batch) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, server_settings={"application_name": "eventmark-seed"}
            )
        connection = self._connection
        async with connection.transaction():
            await note_batch(
                connection,
                task.schema,
                number=batch.number,
                events=len(batch.events),
                snapshots=len(batch.snapshots),
                checksum=checksum(batch.events),
                longest=_longest(batch.events),
            )
            events, columns = _mapped(batch.events, EventRow._fields, task.columns)
            await connection.copy_records_to_table(
                task.events_table, schema_name=task.schema, columns=columns, records=events
            )
            if task.snapshots_table and batch.snapshots:
                await _copy_snapshots(connection, task, batch.snapshots)


_workers: dict[str, _Worker] = {}


def load_batch(task: LoadTask, number: int) -> LoadedBatch:
    """Run in a worker process. Raises ``CannotRunError`` with what the server said."""
    worker = _workers.setdefault(task.dsn, _Worker(task.dsn))
    try:
        return worker.load(task, number)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        # Rebuilt from its text: the driver's errors do not travel between processes.
        reason = str(error).partition("\n")[0] or type(error).__name__
        remedy = (
            "make room, then run the same command again: it goes on where it stopped"
            if isinstance(error, asyncpg.DiskFullError)
            else "mend it, then run the same command again: it goes on where it stopped"
        )
        raise CannotRunError(f"batch {number} could not be loaded: {reason}", remedy=remedy) from None


def checksum(events: Sequence[Any]) -> str:
    """MD5 over the identities of events in the log's order; ``audit`` computes the same in SQL."""
    lines = "\n".join(
        f"{event.tenant_id}|{event.aggregate_id}|{event.sequence_number}|{event.event_type}"
        for event in events
    )
    return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()


async def _copy_snapshots(
    connection: asyncpg.Connection[Any], task: LoadTask, snapshots: Sequence[SnapshotRow]
) -> None:
    """By way of a temporary table: a store may keep only one snapshot per stream."""
    records, columns = _mapped(snapshots, SnapshotRow._fields, task.snapshot_columns)
    names = ", ".join(f'"{column}"' for column in columns)
    table = f'"{task.schema}"."{task.snapshots_table}"'
    await connection.execute(
        f"create temporary table if not exists seeded_snapshots on commit delete rows as"
        f" select {names} from {table} limit 0"
    )
    await connection.copy_records_to_table("seeded_snapshots", columns=columns, records=records)
    await connection.execute(
        f"insert into {table} ({names}) select {names} from seeded_snapshots on conflict do nothing"
    )


def _mapped(
    rows: Sequence[tuple[Any, ...]], fields: tuple[str, ...], mapping: dict[str, str]
) -> tuple[Any, list[str]]:
    """The rows reduced to the mapped fields, and the table's columns in their order."""
    kept = [place for place, name in enumerate(fields) if name in mapping]
    columns = [mapping[fields[place]] for place in kept]
    if len(kept) == len(fields):
        return rows, columns
    return map(itemgetter(*kept), rows), columns


def _longest(events: Sequence[EventRow]) -> list[tuple[str, str]]:
    return [
        (event.tenant_id, event.aggregate_id)
        for event in events
        if event.sequence_number == LONGEST_STREAM_EVENTS
    ]


def own_peak_rss_mib() -> float:
    """The most memory this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
