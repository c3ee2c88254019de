"""What a worker does: makes batches and copies them in, each in one transaction with its ledger row."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np

from eventmark.errors import CannotRunError, StoreDefinitionError
from eventmark.seeding import copy_format
from eventmark.seeding.ledger import note_batch
from eventmark.stores import RAW, RAW_TYPES, Shape, Staging, StoreDefinition, encoder_of, staging_of
from eventmark.workers import WorkerLink, own_peak_rss_mib
from eventmark.workload import (
    LONGEST_STREAM_EVENTS,
    BatchColumns,
    CorpusPlan,
    Naming,
    SnapshotRow,
    make_columns,
    snapshot_rows,
)

_REMEDIES = (
    (
        asyncpg.ForeignKeyViolationError,
        "write seed.sql: it fills what the events refer to, from seeded_events (docs/your-own-store.md)",
    ),
    (
        asyncpg.NotNullViolationError,
        'write into store.toml, [seeded_columns], what to fill the column with: column = "SQL expression"',
    ),
    (
        asyncpg.CheckViolationError,
        'name the types that the store takes in store.toml: event_types = ["..."]; or write [seeded_columns]',
    ),
    (
        asyncpg.InvalidTextRepresentationError,
        'name the types that the store takes in store.toml: event_types = ["..."]; or write [seeded_columns]',
    ),
)

NO_MORE = -1
"""Ends a worker."""


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
    naming: Naming
    types: dict[str, str]
    snapshot_types: dict[str, str]
    staging: Staging | None  # None where a batch is copied right into the table


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBatch:
    """A batch that is in the table, and its worker's peak memory. When the parent was told (seconds since the epoch),
    and by which worker, is the parent's to note.
    """

    events: int
    worker_peak_rss_mib: float
    at_s: float = 0.0
    worker: int = 0


def load_task(
    dsn: str,
    schema: str,
    definition: StoreDefinition,
    plan: CorpusPlan,
    first_transaction_id: int,
    shape: Shape,
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
        naming=shape.naming,
        types={name: shape.type_of(definition, name) for name in definition.columns},
        snapshot_types={name: column.type for name, column in shape.snapshots.items()},
        staging=None if _is_copied(definition, shape) else staging_of(definition, shape, schema),
    )


def _is_copied(definition: StoreDefinition, shape: Shape) -> bool:
    """Whether the table's columns are of the very types that the corpus is copied in."""
    columns = {name: shape.events[own] for name, own in definition.columns.items()}
    asks_more = definition.seed_script or definition.seeded_columns or definition.first_sequence != 1
    return (
        not asks_more
        and shape.kind != "v"
        and not any(column.generated for column in columns.values())
        and copy_format.is_known({name: column.declared for name, column in columns.items()})
    )


async def load_batches(task: LoadTask, link: WorkerLink) -> None:
    """Run in a worker: load the batches that the parent names, and tell it of each, until it names ``NO_MORE``.

    Raises ``CannotRunError`` with what the server said.
    """
    number = NO_MORE
    try:
        # A batch and its ledger row are lost together or not at all, and the commit that ends the stage
        # waits for all of them: no batch needs to wait for the disk on its own.
        connection = await asyncpg.connect(
            task.dsn, server_settings={"application_name": "eventmark-seed", "synchronous_commit": "off"}
        )
        try:
            await link.ready()
            while (number := await link.receive(int)) != NO_MORE:
                link.send(await _loaded(connection, task, number))
            await connection.close()
        finally:
            connection.terminate()
    except StoreDefinitionError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        # Rebuilt from its text: the driver's errors do not travel between processes.
        raise CannotRunError(
            f"batch {max(number, 0)} could not be loaded: {first_line(error)}", remedy=remedy_for(error)
        ) from None


async def _loaded(connection: asyncpg.Connection[Any], task: LoadTask, number: int) -> LoadedBatch:
    batch = make_columns(
        task.plan, number, first_transaction_id=task.first_transaction_id, naming=task.naming
    )
    await copy_batch(connection, task, batch, snapshot_rows(task.plan, batch))
    return LoadedBatch(events=len(batch), worker_peak_rss_mib=own_peak_rss_mib())


async def copy_batch(
    connection: asyncpg.Connection[Any], task: LoadTask, batch: BatchColumns, snapshots: list[SnapshotRow]
) -> None:
    """A batch and its row of the ledger, in one transaction; nothing where both are there. Errors are the driver's."""
    if task.staging is not None:
        for statement in task.staging.prepare:
            await connection.execute(statement)
    async with connection.transaction():
        is_new = await note_batch(
            connection,
            task.schema,
            number=batch.number,
            events=len(batch),
            snapshots=len(snapshots),
            checksum=checksum(batch),
            longest=_longest(batch),
        )
        if not is_new:
            return
        if task.staging is None:
            await _copy(connection, batch, task.columns, task.types, task.events_table, task.schema)
        else:
            await stage(connection, batch)
            await task.staging.fill(connection)
        if task.snapshots_table and snapshots:
            await _copy_snapshots(connection, task, snapshots)


async def stage(connection: asyncpg.Connection[Any], batch: BatchColumns) -> None:
    """The batch into the temporary table that the store's tables are filled from."""
    await _copy(connection, batch, {name: name for name in copy_format.COLUMN_TYPES}, RAW_TYPES, RAW, None)


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def remedy_for(error: Exception) -> str:
    """What to do about rows of the corpus that a store's tables do not take."""
    if isinstance(error, asyncpg.DiskFullError):
        return "make room, then run the same command again: it goes on where it stopped"
    fitting = (remedy for kind, remedy in _REMEDIES if isinstance(error, kind))
    return next(
        fitting,
        "correct schema.sql or store.toml, then run the same command again: it goes on where it stopped",
    )


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


async def _copy(
    connection: asyncpg.Connection[Any],
    batch: BatchColumns,
    columns: dict[str, str],
    types: Mapping[str, str],
    table: str,
    schema: str | None,
) -> None:
    names = copy_format.column_order(columns)
    await connection.copy_to_table(
        table,
        schema_name=schema,
        columns=[columns[name] for name in names],
        source=_one_by_one(copy_format.encode(batch, names, types)),
        format="binary",
    )


async def _one_by_one(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    # Not a file: the driver reads files in threads, and their chunks stay with the threads' memory.
    for chunk in chunks:
        yield chunk


async def _copy_snapshots(
    connection: asyncpg.Connection[Any], task: LoadTask, snapshots: Sequence[SnapshotRow]
) -> None:
    """By way of a temporary table: a store may keep only one snapshot per stream."""
    fields = [name for name in SnapshotRow._fields if name in task.snapshot_columns]
    columns = [task.snapshot_columns[name] for name in fields]
    encoders = [encoder_of(task.snapshot_types.get(column, "")) for column in columns]
    records = [
        tuple(
            value if encode is None else encode(value)
            for encode, value in zip(encoders, (getattr(row, name) for name in fields), strict=True)
        )
        for row in snapshots
    ]
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


def _longest(batch: BatchColumns) -> list[tuple[str, str]]:
    return [
        (batch.tenant_ids[int(batch.tenant[row])], batch.aggregate_ids[int(batch.aggregate[row])])
        for row in np.flatnonzero(batch.sequence == LONGEST_STREAM_EVENTS).tolist()
    ]
