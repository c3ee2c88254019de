"""What has been seeded, kept in the store's own schema, so that it can be resumed, reused and audited.

``eventmark_corpus`` has one row: the plan, the transaction ids taken for it, how far it has come, and what may be in
the schema besides: the tables it began with, and events appended by measuring (see ``accounts``).
``eventmark_seed_batches`` has one row per batch, written in the batch's own transaction: a batch is there
with its row or not at all, whenever the seeder is killed.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.stores import StoreDefinition
from eventmark.workload import COHORT_EVENTS, CorpusPlan, CorpusShape, transaction_ids_needed

_TABLES = """
create table {schema}.eventmark_corpus (
    only_row boolean primary key default true check (only_row),
    events bigint not null,
    seed bigint not null,
    tenant_count integer not null,
    payload_profile text not null,
    payload_samples text[] not null,
    shape text not null,
    cohort_events integer not null,
    first_transaction_id bigint not null,
    stage text not null,
    audited boolean not null default false,
    events_table text not null,
    position_column text not null,
    transaction_column text,
    relations text[] not null,
    appending text,
    appended bigint not null default 0,
    changed_at timestamptz not null default now()
);
create table {schema}.eventmark_seed_batches (
    batch integer primary key,
    events integer not null,
    snapshots integer not null,
    checksum text not null,
    longest jsonb not null
);
"""

RELATIONS = """
select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = {schema} and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
    and c.relname not like 'eventmark\\_%'
"""

_BURN = "do $$ begin for i in 1..{count} loop perform pg_current_xact_id(); commit; end loop; end $$"


class Stage(enum.StrEnum):
    """How far a corpus has come; each stage can be entered again after an interruption.

    GROWING: indexed, and not all of the plan's events are there yet.
    """

    LOADING = "loading"
    INDEXING = "indexing"
    GROWING = "growing"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededCorpus:
    """The ledger's row."""

    plan: CorpusPlan
    first_transaction_id: int
    stage: Stage
    audited: bool


async def create_ledger(
    connection: asyncpg.Connection[Any], schema: str, plan: CorpusPlan, definition: StoreDefinition
) -> SeededCorpus:
    """Make the ledger, and take the transaction ids that the corpus' events will bear.

    They are used up here, before the first event is written, so that every one of them is below the
    horizon that consumers read up to.
    """
    quoted = quoted_schema(schema)
    first_transaction_id: int = await connection.fetchval("select pg_current_xact_id()::text::bigint + 1")
    await connection.execute(_BURN.format(count=transaction_ids_needed(plan.events)))
    async with connection.transaction():
        await connection.execute(_TABLES.replace("{schema}", quoted))
        await connection.execute(
            f"insert into {quoted}.eventmark_corpus"
            " (events, seed, tenant_count, payload_profile, payload_samples, shape, cohort_events,"
            " first_transaction_id, stage, events_table, position_column, transaction_column, relations)"
            " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
            f" (select coalesce(array_agg(name), '{{}}') from ({RELATIONS.format(schema='$13')}) as made))",
            plan.events, plan.seed, plan.tenant_count, plan.payload_profile, plan.samples,
            msgspec.json.encode(plan.shape).decode(), plan.cohort_events,
            first_transaction_id, Stage.LOADING.value, definition.events_table,
            definition.columns["global_sequence_id"],
            definition.columns["transaction_id"] if definition.ordering == "transaction-id" else None,
            schema,
        )  # fmt: skip
    return SeededCorpus(
        plan=plan, first_transaction_id=first_transaction_id, stage=Stage.LOADING, audited=False
    )


async def read_ledger(connection: asyncpg.Connection[Any], schema: str) -> SeededCorpus | None:
    """The corpus in ``schema``, or None where none was begun."""
    quoted = quoted_schema(schema)
    if await connection.fetchval("select to_regclass($1)", f"{quoted}.eventmark_corpus") is None:
        return None
    row = await connection.fetchrow(f"select * from {quoted}.eventmark_corpus")
    if row is None:
        raise CannotRunError(
            f"the ledger of schema {schema!r} is empty", remedy="drop the schema, or name another"
        )
    plan = CorpusPlan(
        events=row["events"],
        seed=row["seed"],
        tenant_count=row["tenant_count"],
        payload_profile=row["payload_profile"],
        samples=tuple(row.get("payload_samples", ())),
        shape=msgspec.json.decode(
            row.get("shape", "{}"), type=CorpusShape
        ),  # older ledgers have all the same
        cohort_events=row.get("cohort_events", COHORT_EVENTS),  # older ledgers have all the same
    )
    return SeededCorpus(
        plan=plan,
        first_transaction_id=row["first_transaction_id"],
        stage=Stage(row["stage"]),
        audited=row["audited"],
    )


async def set_stage(
    connection: asyncpg.Connection[Any], schema: str, stage: Stage, *, audited: bool = False
) -> None:
    await connection.execute(
        f"update {quoted_schema(schema)}.eventmark_corpus set stage = $1, audited = $2, changed_at = now()",
        stage.value,
        audited,
    )


async def batches_done(connection: asyncpg.Connection[Any], schema: str) -> set[int]:
    """The batches that are in the table."""
    rows = await connection.fetch(f"select batch from {quoted_schema(schema)}.eventmark_seed_batches")
    return {row["batch"] for row in rows}


async def note_batch(
    connection: asyncpg.Connection[Any],
    schema: str,
    *,
    number: int,
    events: int,
    snapshots: int,
    checksum: str,
    longest: list[tuple[str, str]],
) -> bool:
    """Within the transaction that loads the batch. False where it is loaded already, if need be by another worker that
    has just ended: of one that was given up, nobody knows how far it came.
    """
    noted = await connection.fetchval(
        f"insert into {quoted_schema(schema)}.eventmark_seed_batches"
        " (batch, events, snapshots, checksum, longest) values ($1, $2, $3, $4, $5)"
        " on conflict (batch) do nothing returning true",
        number, events, snapshots, checksum, json.dumps(longest),
    )  # fmt: skip
    return noted is True


async def longest_streams(connection: asyncpg.Connection[Any], schema: str) -> list[tuple[str, str]]:
    """Tenant and aggregate of every stream of the longest length, in the log's order."""
    rows = await connection.fetch(
        f"select longest from {quoted_schema(schema)}.eventmark_seed_batches order by batch"
    )
    return [(tenant_id, aggregate_id) for row in rows for tenant_id, aggregate_id in json.loads(row[0])]
