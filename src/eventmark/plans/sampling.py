"""What plans are examined with, drawn from the table itself without reading it.

A table of 100 million rows must give its parameters in moments, whatever indexes it has or lacks: rows
come from a few pages spread evenly over it, tenants from the server's statistics, and the rest from
ordered reads that are given ``QUERY_TIMEOUT_S`` and are done without when they need longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.server.read_only import limit
from eventmark.stores import instant_sql, would_scan

QUERY_TIMEOUT_S = 5
PAGES_SAMPLED = 256
ROWS_PER_PAGE_SAMPLED = 8
TENANTS_WALKED_MAX = 2000
TENANTS_COUNTED_MAX = 100
TENANT_ROWS_COUNTED_MAX = 1000
TENANT_ROWS_SAMPLED = 2000
AGGREGATES_PROBED_MAX = 200
END_DISTANCE_EVENTS = 10  # "end of the log" is a consumer that is this far behind
LONG_AGGREGATE_EVENTS = 1000

Row = Mapping[str, Any]


_FIELDS = (
    "tenant_id", "aggregate_id", "aggregate_type", "stream_id", "sequence_number", "global_sequence_id",
    "transaction_id", "timestamp_utc", "event_type", "payload_type", "payload_revision",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTable:
    """Where events are. ``columns`` maps our names to the store's, ``sql_types`` to their types.

    Rows have versions that count from 1, whatever ``first_sequence`` the table begins with, and instants with a zone.
    Tables that are ``large`` are not read whole.
    """

    connection: asyncpg.Connection[Any]
    schema: str
    table: str
    columns: Mapping[str, str]
    sql_types: Mapping[str, str]
    first_sequence: int = 1
    large: frozenset[str] = frozenset()

    @classmethod
    async def open(
        cls,
        connection: asyncpg.Connection[Any],
        schema: str,
        table: str,
        columns: Mapping[str, str],
        first_sequence: int = 1,
        large: frozenset[str] = frozenset(),
    ) -> EventTable:
        """The table with those of ``columns`` it has and that are of use; payloads are left alone."""
        relation = f"{quoted_schema(schema)}.{quoted_name(table)}"
        rows = await connection.fetch(
            "select attname, case when atttypid = 'bpchar'::regtype then 'bpchar'"
            " else format_type(atttypid, null) end as sql_type from pg_attribute"
            " where attrelid = to_regclass($1) and attnum > 0 and not attisdropped",
            relation,
        )
        types = {row["attname"]: row["sql_type"] for row in rows}
        known = {field: columns[field] for field in _FIELDS if columns.get(field) in types}
        sql_types = {field: types[column] for field, column in known.items()}
        return cls(
            connection=connection, schema=schema, table=table, columns=known, sql_types=sql_types,
            first_sequence=first_sequence, large=large,
        )  # fmt: skip

    @property
    def relation(self) -> str:
        """The table's qualified name as SQL."""
        return f"{quoted_schema(self.schema)}.{quoted_name(self.table)}"

    def has(self, field: str) -> bool:
        return field in self.columns

    def column(self, field: str) -> str:
        """The column of a field as SQL."""
        return quoted_name(self.columns[field])

    @property
    def selection(self) -> str:
        """All known columns, named as our fields."""
        return ", ".join(f"{self._value(field)} as {quoted_name(field)}" for field in self.columns)

    def _value(self, field: str) -> str:
        column = self.column(field)
        if field == "timestamp_utc":
            return instant_sql(column, self.sql_types[field])
        if field == "sequence_number" and self.first_sequence != 1:
            return f"({column} + {1 - self.first_sequence})"
        return column

    @property
    def order(self) -> tuple[str, ...]:
        """The columns that place an event in the log, as SQL."""
        return tuple(
            self.column(field) for field in ("transaction_id", "global_sequence_id") if self.has(field)
        )

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """The rows, or none where the server needs longer than ``QUERY_TIMEOUT_S``, or a whole table, to find them."""
        try:
            async with self.connection.transaction():
                if await would_scan(self.connection, self.large, query, *arguments):
                    return []
                await limit(self.connection, "statement_timeout", QUERY_TIMEOUT_S)
                return list(await self.connection.fetch(query, *arguments))
        except asyncpg.QueryCanceledError:
            return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """One stream: its last event's row and that event's sequence number."""

    row: Row
    version: int


def quoted_name(name: str) -> str:
    """Any name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def sampled_rows(events: EventTable) -> list[Row]:
    """Rows from at most ``PAGES_SAMPLED`` pages, evenly spread; all pages of a smaller table.

    An aggregate stands in the sample in proportion to its length.
    """
    pages = await events.connection.fetchval(
        "select pg_relation_size($1::regclass) / current_setting('block_size')::bigint", events.relation
    )
    if not pages:  # empty, or partitioned: a partitioned table has no pages of its own
        query = f"select {events.selection} from {events.relation} limit $1"
        return await events.fetch(query, TENANT_ROWS_SAMPLED)
    chosen = sorted({number * pages // PAGES_SAMPLED for number in range(PAGES_SAMPLED)} | {pages - 1})
    places = [f"({page},{item})" for page in chosen for item in range(1, ROWS_PER_PAGE_SAMPLED + 1)]
    query = f"select {events.selection} from {events.relation} where ctid = any($1::text[]::tid[])"
    rows = await events.fetch(query, places)
    if not rows:  # pages whose rows were all deleted
        query = f"select {events.selection} from {events.relation} limit $1"
        rows = await events.fetch(query, TENANT_ROWS_SAMPLED)
    return rows


async def extreme_tenants(events: EventTable, sample: Iterable[Row]) -> tuple[object, object]:
    """The tenants with the most and the fewest events, as far as statistics and bounded counts tell."""
    frequent = await _frequent_tenants(events)
    if not frequent:
        frequent = [tenant for tenant, _ in Counter(row["tenant_id"] for row in sample).most_common()]
    walked = await _distinct_tenants(events)
    known = set(map(str, frequent))
    rare = [tenant for tenant in walked if str(tenant) not in known]
    # The server lists the most common; whoever it does not list has fewer events than those it does
    suspects = rare[:TENANTS_COUNTED_MAX] if rare else frequent[-TENANTS_COUNTED_MAX:]
    counted = await _bounded_counts(events, suspects)
    largest = frequent[0] if frequent else max(counted, key=lambda tenant: counted[tenant])
    if not counted:
        return largest, frequent[-1]
    # Of those at the bound, the one the statistics hold for the rarest comes last
    return largest, min(reversed(counted), key=lambda tenant: counted[tenant])


async def tenants_by_size(events: EventTable, sample: Iterable[Row]) -> list[object]:
    """The tenants from the one with the most events to the one with the fewest, as far as statistics tell.

    Those that the statistics do not list come after those they do, at most ``TENANTS_COUNTED_MAX`` of them.
    """
    frequent = await _frequent_tenants(events)
    if not frequent:
        frequent = [tenant for tenant, _ in Counter(row["tenant_id"] for row in sample).most_common()]
    known = set(map(str, frequent))
    rare = [tenant for tenant in await _distinct_tenants(events) if str(tenant) not in known]
    counted = await _bounded_counts(events, rare[:: max(1, len(rare) // TENANTS_COUNTED_MAX)])
    return frequent + sorted(counted, key=lambda tenant: counted[tenant], reverse=True)


async def aggregates_of(
    events: EventTable, tenant: object, sample: Iterable[Row]
) -> tuple[Aggregate, Aggregate] | None:
    """An aggregate of about ``LONG_AGGREGATE_EVENTS`` and the shortest, of those looked at.

    None where the tenant has no event, or where no index leads to its aggregates.
    """
    of_tenant, arguments = _tenant_condition(events, tenant)
    column = events.column("aggregate_id")
    near = await events.fetch(
        f"select distinct aggregate_id from (select {column} as aggregate_id from {events.relation}"
        f" {of_tenant} limit {TENANT_ROWS_SAMPLED}) as looked_at",
        *arguments,
    )
    drawn = Counter(row["aggregate_id"] for row in sample if is_of(row, tenant)).most_common()
    candidates = [aggregate for aggregate, _ in drawn][: AGGREGATES_PROBED_MAX // 2]
    candidates += [row["aggregate_id"] for row in near[: AGGREGATES_PROBED_MAX - len(candidates)]]
    aggregates = await aggregates_at(events, tenant, list(dict.fromkeys(candidates)))
    if not aggregates:
        return None
    longest = min(aggregates, key=lambda aggregate: abs(aggregate.version - LONG_AGGREGATE_EVENTS))
    return longest, min(aggregates, key=lambda aggregate: aggregate.version)


async def aggregates_at(events: EventTable, tenant: object, aggregate_ids: list[object]) -> list[Aggregate]:
    """The aggregates as they stand now: one look at the end of each stream."""
    of_tenant, arguments = _tenant_condition(events, tenant)
    rows = await events.fetch(
        f"select latest.* from unnest(${len(arguments) + 1}::{events.sql_types['aggregate_id']}[])"
        f" as wanted (id) cross join lateral (select {events.selection} from {events.relation}"
        f" {of_tenant or 'where true'} and {events.column('aggregate_id')} = wanted.id"
        f" order by {events.column('sequence_number')} desc limit 1) as latest",
        *arguments,
        aggregate_ids,
    )
    return [Aggregate(row=row, version=row["sequence_number"]) for row in rows]


async def last_places(events: EventTable, tenant: object) -> list[Row]:
    """The tenant's (None: everybody's) last events in the order of the log, latest first."""
    of_tenant, arguments = _tenant_condition(events, tenant)
    descending = ", ".join(f"{column} desc" for column in events.order)
    return await events.fetch(
        f"select {events.selection} from {events.relation} {of_tenant}"
        f" order by {descending} limit {END_DISTANCE_EVENTS + 1}",
        *arguments,
    )


async def place_after(events: EventTable, tenant: object, row: Row) -> Row | None:
    """The tenant's first event after a place in the log."""
    of_tenant, arguments = _tenant_condition(events, tenant)
    values = [row[field] for field in ("transaction_id", "global_sequence_id") if events.has(field)]
    first = len(arguments) + 1
    marks = ", ".join(f"${first + number}" for number in range(len(values)))
    rows = await events.fetch(
        f"select {events.selection} from {events.relation} {of_tenant}"
        f" {'and' if of_tenant else 'where'} ({', '.join(events.order)}) > ({marks})"
        f" order by {', '.join(events.order)} limit 1",
        *arguments,
        *values,
    )
    return rows[0] if rows else None


def place_of(row: Row) -> tuple[int, int]:
    """A row's place in the log; a store without transaction ids has 0 for it."""
    return row.get("transaction_id") or 0, row.get("global_sequence_id") or 0


def instant_of(row: Row) -> datetime | None:
    return row.get("timestamp_utc")


def is_of(row: Row, tenant: object) -> bool:
    """Whether a row is the tenant's; everything is None's."""
    return tenant is None or row["tenant_id"] == tenant


def _tenant_condition(events: EventTable, tenant: object) -> tuple[str, list[object]]:
    if tenant is None:
        return "", []
    return f"where {events.column('tenant_id')} = $1", [tenant]


async def _frequent_tenants(events: EventTable) -> list[object]:
    """Most frequent first, from the last ANALYZE; empty where there was none."""
    rows = await events.fetch(
        "select most_common_vals::text::text[] as tenants from pg_stats"
        " where schemaname = $1 and tablename = $2 and attname = $3 order by inherited desc limit 1",
        events.schema,
        events.table,
        events.columns["tenant_id"],
    )
    listed = (rows[0]["tenants"] if rows else None) or []
    typed = await events.fetch(
        f"select text::{events.sql_types['tenant_id']} as tenant from unnest($1::text[]) as text", listed
    )
    return [row["tenant"] for row in typed]


async def _distinct_tenants(events: EventTable) -> list[object]:
    """At most ``TENANTS_WALKED_MAX`` tenants, from one to the next by an index that begins with them."""
    column, relation = events.column("tenant_id"), events.relation
    rows = await events.fetch(
        f"with recursive walked (tenant) as ("
        f" (select {column} from {relation} order by {column} limit 1)"
        f" union all"
        f" select (select {column} from {relation} where {column} > walked.tenant order by {column} limit 1)"
        f" from walked where walked.tenant is not null"
        f") select tenant from walked where tenant is not null limit {TENANTS_WALKED_MAX}"
    )
    return [row["tenant"] for row in rows]


async def _bounded_counts(events: EventTable, tenants: list[object]) -> dict[object, int]:
    """Events of each tenant that has any, counted to ``TENANT_ROWS_COUNTED_MAX`` and no further."""
    rows = await events.fetch(
        f"select wanted.tenant, counted.events from unnest($1::{events.sql_types['tenant_id']}[])"
        f" with ordinality as wanted (tenant, place) cross join lateral (select count(*) as events from"
        f" (select from {events.relation} where {events.column('tenant_id')} = wanted.tenant"
        f" limit {TENANT_ROWS_COUNTED_MAX}) as looked_at) as counted where events > 0 order by wanted.place",
        tenants,
    )
    return {row["tenant"]: row["events"] for row in rows}
