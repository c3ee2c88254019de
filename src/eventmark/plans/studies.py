"""What statements are run against, studied tenant by tenant: streams, places in the log, streams with a snapshot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.plans import sampling
from eventmark.plans.arguments import Situation
from eventmark.plans.sampling import Aggregate, EventTable, Row

_REQUIRED = ("aggregate_id", "sequence_number")


class NothingToDrawError(Exception):
    """A table without the columns that are needed, or without rows. Its message says which."""


@dataclass(frozen=True, slots=True)
class StoreSample:
    """A store's tables and some of its events. ``snapshots`` None: there is no table of them to be drawn from."""

    events: EventTable
    snapshots: EventTable | None
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One tenant's (or, with ``tenant`` None, the whole log's) streams and places, by their labels.

    ``beyond`` is the place after the last event.
    """

    label: str
    tenant: object
    streams: dict[str, Aggregate]
    places: dict[str, Row]
    beyond: Row | None
    with_snapshot: Aggregate | None = None


async def sample_store(
    connection: asyncpg.Connection[Any],
    schema: str,
    columns: Mapping[str, str],
    events_table: str,
    snapshots_table: str | None,
    snapshot_columns: Mapping[str, str],
    first_sequence: int,
    large: frozenset[str] = frozenset(),
) -> StoreSample:
    """The store's tables, and rows of the events. Raises ``NothingToDrawError``."""
    events = await EventTable.open(connection, schema, events_table, columns, first_sequence, large)
    if lacking := [field for field in _REQUIRED if not events.has(field)]:
        raise NothingToDrawError(f"table {events_table} has no column for {', '.join(lacking)}")
    snapshots = await _open_snapshots(events, snapshots_table, snapshot_columns)
    rows = await sampling.sampled_rows(events)
    if not rows:
        raise NothingToDrawError(f"table {events_table} is empty")
    return StoreSample(events, snapshots, rows)


async def study_everybody(drawn: StoreSample) -> Study:
    """The log as a whole, for statements that ask for no stream."""
    some = Aggregate(row=drawn.rows[0], version=drawn.rows[0]["sequence_number"])
    places, beyond = await _places(drawn, None)
    return Study(label="all tenants", tenant=None, streams={"any": some}, places=places, beyond=beyond)


async def study_tenant(drawn: StoreSample, label: str, tenant: object) -> Study:
    """Streams and places of one tenant."""
    pair = await sampling.aggregates_of(drawn.events, tenant, drawn.rows)
    streams = {}
    if pair is not None:
        streams["long aggregate"] = pair[0]
        if pair[1].row["aggregate_id"] != pair[0].row["aggregate_id"]:
            streams["short aggregate"] = pair[1]
    elif own := [row for row in drawn.rows if sampling.is_of(row, tenant)]:
        streams["aggregate drawn"] = Aggregate(row=own[0], version=own[0]["sequence_number"])
    places, beyond = await _places(drawn, tenant)
    return Study(
        label=label, tenant=tenant, streams=streams, places=places, beyond=beyond,
        with_snapshot=await _with_snapshot(drawn, tenant),
    )  # fmt: skip


def situation_of(stream: Aggregate, row: Row, **more: int) -> Situation:
    """A stream at its version and a place in the log; ``more`` are the situation's other fields."""
    transaction_id, global_sequence = sampling.place_of(row)
    return Situation(
        row=stream.row,
        version=stream.version,
        transaction_id=transaction_id,
        global_sequence=global_sequence,
        instant=sampling.instant_of(row),
        **more,
    )


def reads_only(statement: Statement, table: str | None, not_table: str) -> bool:
    """Whether a statement names the one table and not the other."""
    words = set(re.findall(r"\w+", statement.template))
    return table is not None and table in words and not_table not in words


async def _places(drawn: StoreSample, tenant: object) -> tuple[dict[str, Row], Row | None]:
    """An event at the start, in the middle and near the end of the tenant's part of the log, and what is beyond."""
    if not drawn.events.order:
        return {}, None
    ordered = sorted(drawn.rows, key=sampling.place_of)
    last = await sampling.last_places(drawn.events, tenant)
    end = last[-1] if last else ordered[-1]
    middle = ordered[len(ordered) // 2]
    if tenant is not None:
        middle = await sampling.place_after(drawn.events, tenant, middle) or end
    middle = min(middle, end, key=sampling.place_of)
    earliest = min(drawn.rows, key=lambda row: sampling.instant_of(row) or 0)
    places = {
        "start of the log": {**earliest, "transaction_id": 0, "global_sequence_id": 0},
        "middle of the log": _just_before(middle),
        "end of the log": _just_before(end),
    }
    return places, _beyond(last[0] if last else ordered[-1])


def _just_before(row: Row) -> Row:
    """The place in the log from which this event is the next one: so there is always one to be read."""
    return {**row, "global_sequence_id": (row.get("global_sequence_id") or 1) - 1}


def _beyond(row: Row) -> Row:
    """The place of the last event, and an instant that nothing follows."""
    instant = sampling.instant_of(row)
    return {**row, "timestamp_utc": instant + timedelta(days=365)} if instant is not None else dict(row)


async def _open_snapshots(
    events: EventTable, table: str | None, columns: Mapping[str, str]
) -> EventTable | None:
    """The snapshot table by the columns that name a stream; None where it has not got them."""
    identity = [field for field in ("tenant_id", "aggregate_id") if events.has(field)]
    if table is None or not set(identity) <= set(columns):
        return None
    wanted = {field: columns[field] for field in identity}
    opened = await EventTable.open(events.connection, events.schema, table, wanted, large=events.large)
    return opened if len(opened.columns) == len(wanted) else None


async def _with_snapshot(drawn: StoreSample, tenant: object) -> Aggregate | None:
    """A stream of the tenant that has a snapshot."""
    snapshots = drawn.snapshots
    if snapshots is None:
        return None
    condition = "" if tenant is None else f"where {snapshots.column('tenant_id')} = $1"
    rows = await snapshots.fetch(
        f"select {snapshots.selection} from {snapshots.relation} {condition} limit 1",
        *([] if tenant is None else [tenant]),
    )
    aggregate_ids = [row["aggregate_id"] for row in rows]
    return next(iter(await sampling.aggregates_at(drawn.events, tenant, aggregate_ids)), None)
