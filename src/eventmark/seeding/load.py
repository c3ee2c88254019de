"""What a worker process does: makes batches and copies them in, each in one transaction with its ledger row."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import asyncpg
import numpy as np

from eventmark.errors import CannotRunError
from eventmark.seeding import copy_format
from eventmark.seeding.ledger import note_batch
from eventmark.stores import StoreDefinition
from eventmark.workers import loop_factory, own_peak_rss_mib
from eventmark.workload import (
    LONGEST_STREAM_EVENTS,
    BatchColumns,
    CorpusPlan,
    EventRow,
    SnapshotRow,
    event_rows,
    make_columns,
    snapshot_rows,
)

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
        self._types: dict[str, str] = {}

    def load(self, task: LoadTask, number: int) -> LoadedBatch:
        plan = kept_plan(task.plan)
        batch = make_columns(plan, number, first_transaction_id=task.first_transaction_id)
        snapshots = snapshot_rows(plan, batch)
        self._runner.run(self._copy(task, batch, snapshots))
        return LoadedBatch(number, len(batch), len(snapshots), time.time(), own_peak_rss_mib(), os.getpid())

    async def _copy(self, task: LoadTask, batch: BatchColumns, snapshots: list[SnapshotRow]) -> None:
        if self._connection is None or self._connection.is_closed():
            # A batch and its ledger row are lost together or not at all, and the commit that ends the stage
            # waits for all of them: no batch needs to wait for the disk on its own.
            self._connection = await asyncpg.connect(
                self._dsn,
                server_settings={"application_name": "eventmark-seed", "synchronous_commit": "off"},
            )
            self._types = await _column_types(self._connection, task)
        connection = self._connection
        async with connection.transaction():
            await note_batch(
                connection,
                task.schema,
                number=batch.number,
                events=len(batch),
                snapshots=len(snapshots),
                checksum=checksum(batch),
                longest=_longest(batch),
            )
            await _copy_events(connection, task, batch, self._types)
            if task.snapshots_table and snapshots:
                await _copy_snapshots(connection, task, snapshots)


_workers: dict[str, _Worker] = {}


@lru_cache(maxsize=1)
def kept_plan(plan: CorpusPlan) -> CorpusPlan:
    """The plan as this process first got it: it comes anew with each task, without the prose made from it."""
    return plan


def load_batch(numbered: tuple[LoadTask, int]) -> LoadedBatch:
    """Run in a worker process. Raises ``CannotRunError`` with what the server said."""
    task, number = numbered
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


def checksum(batch: BatchColumns) -> str:
    """MD5 over the identities of events in the log's order; ``audit`` computes the same in SQL."""
    tenants, aggregates, types = batch.tenant_ids, batch.aggregate_ids, batch.event_types
    lines = "\n".join(
        f"{tenants[tenant]}|{aggregates[aggregate]}|{sequence}|{types[event_type]}"
        for tenant, aggregate, sequence, event_type in zip(
            batch.tenant.tolist(), batch.aggregate.tolist(), batch.sequence.tolist(), batch.event_type.tolist(),
            strict=True,
        )
    )  # fmt: skip
    return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()


async def _column_types(connection: asyncpg.Connection[Any], task: LoadTask) -> dict[str, str]:
    """The table's types by our names of the columns."""
    rows = await connection.fetch(
        "select attname, format_type(atttypid, null) as type from pg_attribute"
        " where attrelid = to_regclass($1) and attnum > 0",
        f'"{task.schema}"."{task.events_table}"',
    )
    types = {row["attname"]: row["type"] for row in rows}
    return {name: types.get(column, "") for name, column in task.columns.items()}


async def _copy_events(
    connection: asyncpg.Connection[Any], task: LoadTask, batch: BatchColumns, types: dict[str, str]
) -> None:
    if copy_format.is_known(types):
        names = copy_format.column_order(task.columns)
        await connection.copy_to_table(
            task.events_table,
            schema_name=task.schema,
            columns=[task.columns[name] for name in names],
            source=_one_by_one(copy_format.encode(batch, names, types)),
            format="binary",
        )
        return
    rows, columns = _mapped(event_rows(batch), EventRow._fields, task.columns)
    try:
        await connection.copy_records_to_table(
            task.events_table, schema_name=task.schema, columns=columns, records=rows
        )
    except (
        TypeError,
        ValueError,
        OverflowError,
    ) as error:  # from the driver, which encodes a value by its column
        raise CannotRunError(
            f"an event of the corpus does not fit table {task.events_table!r}: {error}",
            remedy="use column types that take it: the corpus' tenants and streams are text",
        ) from None


async def _one_by_one(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    # Not a file: the driver reads files in threads, and their chunks stay with the threads' memory.
    for chunk in chunks:
        yield chunk


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


def _longest(batch: BatchColumns) -> list[tuple[str, str]]:
    return [
        (batch.tenant_ids[int(batch.tenant[place])], batch.aggregate_ids[int(batch.aggregate[place])])
        for place in np.flatnonzero(batch.sequence == LONGEST_STREAM_EVENTS).tolist()
    ]
