"""The conditions a statement is examined under: which tenant, which aggregate, where in the log, how many.

A plan that is right for a tenant with half of all events can be wrong for one with ten, and a plan that is
right at the log's beginning wrong at its end; so each statement is tried at the extremes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.errors import UsageError
from eventmark.plans import sampling
from eventmark.plans.arguments import Situation, fill, unknown_parameters
from eventmark.plans.sampling import Aggregate, EventTable, Row

BATCHES_EVENTS = (1, 10, 100)

_REQUIRED = ("aggregate_id", "sequence_number")
_TENANT = {"tenant_id"}
_STREAM = {"aggregate_id", "stream_id"}
_PLACE = {"transaction_id", "global_sequence", "global_sequence_id", "instant"}
_BATCH = {"event_ids", "payloads", "sequence_numbers", "event_count"}


@dataclass(frozen=True)
class PlanCase:
    """One statement with real arguments, in its order, and the condition they stand for.

    Where no arguments could be found, ``reason`` says why and ``arguments`` is empty.
    """

    statement: str
    condition: str
    arguments: tuple[object, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Tenant:
    """One tenant's (or, with ``tenant`` None, the whole log's) streams and places, by their labels."""

    label: str
    tenant: object
    streams: dict[str, Aggregate]
    places: dict[str, Row]
    with_snapshot: Aggregate | None


async def sampled_cases(
    connection: asyncpg.Connection[Any],
    statements: Mapping[str, Statement],
    schema: str,
    columns: Mapping[str, str],
    events_table: str,
    snapshots_table: str | None,
    *,
    snapshot_columns: Mapping[str, str] | None = None,
) -> list[PlanCase]:
    """Cases for every statement, with parameters from the tables; at least one each.

    ``columns`` maps our field names (``tenant_id``, ``aggregate_id``, ``sequence_number``,
    ``global_sequence_id``, ``transaction_id``, ``timestamp_utc``, ...) to the event table's columns, and to
    the snapshot table's unless ``snapshot_columns`` are given; a field the store does not have is left
    out. A case that cannot be made carries the reason. Takes seconds, whatever the table's size. Needs
    the connection for itself.
    """
    events = await EventTable.open(connection, schema, events_table, columns)
    if lacking := [field for field in _REQUIRED if not events.has(field)]:
        reason = f"table {events_table} has no column for {', '.join(lacking)}"
        return [_empty_case(statement, reason) for statement in statements.values()]
    snapshots = await _snapshots(events, snapshots_table, snapshot_columns or columns)
    sample = await sampling.sampled_rows(events)
    if not sample:
        reason = f"table {events_table} is empty"
        return [_empty_case(statement, reason) for statement in statements.values()]
    if events.has("tenant_id"):
        everybody = await _everybody(events, sample)
        tenants = await _extremes(events, sample, snapshots)
    else:
        everybody = await _study(events, "whole store", None, sample, snapshots)
        tenants = [everybody]
    cases: list[PlanCase] = []
    for statement in statements.values():
        reads_snapshots = _reads_only(statement, snapshots_table, events_table)
        cases += _cases_of(statement, everybody, tenants, reads_snapshots)
    return cases


async def _extremes(events: EventTable, sample: Sequence[Row], snapshots: EventTable | None) -> list[_Tenant]:
    largest, smallest = await sampling.extreme_tenants(events, sample)
    if largest == smallest:
        return [await _study(events, "only tenant", largest, sample, snapshots)]
    return [
        await _study(events, "largest tenant", largest, sample, snapshots),
        await _study(events, "smallest tenant", smallest, sample, snapshots),
    ]


async def _everybody(events: EventTable, sample: Sequence[Row]) -> _Tenant:
    """The log as a whole, for statements that ask for no stream."""
    some = Aggregate(row=sample[0], version=sample[0]["sequence_number"])
    return _Tenant("all tenants", None, {"any": some}, await _places(events, None, sample), None)


async def _study(
    events: EventTable, label: str, tenant: object, sample: Sequence[Row], snapshots: EventTable | None
) -> _Tenant:
    """Streams and places of one tenant."""
    pair = await sampling.aggregates_of(events, tenant, sample)
    streams = {}
    if pair is not None:
        streams["long aggregate"] = pair[0]
        if pair[1].row["aggregate_id"] != pair[0].row["aggregate_id"]:
            streams["short aggregate"] = pair[1]
    places = await _places(events, tenant, sample)
    return _Tenant(label, tenant, streams, places, await _with_snapshot(events, tenant, snapshots))


async def _places(events: EventTable, tenant: object, sample: Sequence[Row]) -> dict[str, Row]:
    """An event at the start, in the middle and near the end, of the tenant's part of the log."""
    if not events.order:
        return {}
    ordered = sorted(sample, key=sampling.place_of)
    last = await sampling.last_places(events, tenant)
    end = last[-1] if last else ordered[-1]
    middle = ordered[len(ordered) // 2]
    if tenant is not None:
        middle = await sampling.place_after(events, tenant, middle) or end
    middle = min(middle, end, key=sampling.place_of)
    earliest = min(sample, key=lambda row: sampling.instant_of(row) or 0)
    return {
        "start of the log": {**earliest, "transaction_id": 0, "global_sequence_id": 0},
        "middle of the log": _just_before(middle),
        "end of the log": _just_before(end),
    }


def _just_before(row: Row) -> Row:
    """The place in the log from which this event is the next one: so there is always one to be read."""
    return {**row, "global_sequence_id": (row.get("global_sequence_id") or 1) - 1}


async def _snapshots(events: EventTable, table: str | None, columns: Mapping[str, str]) -> EventTable | None:
    """The snapshot table by the columns that name a stream; None where it has not got them."""
    identity = [field for field in ("tenant_id", "aggregate_id") if events.has(field)]
    if table is None or not set(identity) <= set(columns):
        return None
    wanted = {field: columns[field] for field in identity}
    opened = await EventTable.open(events.connection, events.schema, table, wanted)
    return opened if len(opened.columns) == len(wanted) else None


async def _with_snapshot(
    events: EventTable, tenant: object, snapshots: EventTable | None
) -> Aggregate | None:
    """A stream of the tenant that has a snapshot."""
    if snapshots is None:
        return None
    condition = "" if tenant is None else f"where {snapshots.column('tenant_id')} = $1"
    rows = await snapshots.fetch(
        f"select {snapshots.selection} from {snapshots.relation} {condition} limit 1",
        *([] if tenant is None else [tenant]),
    )
    found = [row["aggregate_id"] for row in rows]
    return next(iter(await sampling.aggregates_at(events, tenant, found)), None)


def _cases_of(
    statement: Statement, everybody: _Tenant, tenants: Sequence[_Tenant], reads_snapshots: bool
) -> list[PlanCase]:
    if unknown := unknown_parameters(statement):
        return [_empty_case(statement, f"no value is known for parameters named {', '.join(unknown)}")]
    names = {parameter.name for parameter in statement.parameters}
    studied = tenants if names & (_TENANT | _STREAM) else [everybody]
    if reads_snapshots and names & _STREAM:
        studied = [tenant for tenant in studied if tenant.with_snapshot is not None]
        if not studied:
            return [_empty_case(statement, "no snapshot was found to be read")]
    cases = []
    for tenant in studied:
        for condition, situation in _situations(names, tenant, reads_snapshots):
            cases.append(_case(statement, condition, situation))
    return cases or [_empty_case(statement, "no event was found to run it against")]


def _situations(names: set[str], tenant: _Tenant, reads_snapshots: bool) -> Iterator[tuple[str, Situation]]:
    """Every combination of what the statement's parameters leave open, with its label."""
    streams: Mapping[str, Aggregate] = tenant.streams
    if reads_snapshots and tenant.with_snapshot is not None:
        streams = {"aggregate with a snapshot": tenant.with_snapshot}
    elif not names & _STREAM:
        streams = dict(list(streams.items())[:1])
    places = tenant.places
    if not names & _PLACE:
        places = dict(list(places.items())[:1])
    batches = BATCHES_EVENTS if names & _BATCH else (1,)
    for stream_label, stream in streams.items():
        for place_label, place in (places or {"": stream.row}).items():
            for batch_events in batches:
                label = [
                    tenant.label if names & (_TENANT | _STREAM) else "",
                    stream_label if names & _STREAM else "",
                    place_label if names & _PLACE else "",
                    f"batch of {batch_events}" if names & _BATCH else "",
                ]
                situation = _situation(stream, place, batch_events)
                yield ", ".join(filter(None, label)) or tenant.label, situation


def _situation(stream: Aggregate, place: Row, batch_events: int) -> Situation:
    transaction_id, global_sequence = sampling.place_of(place)
    return Situation(
        row=stream.row,
        version=stream.version,
        transaction_id=transaction_id,
        global_sequence=global_sequence,
        instant=sampling.instant_of(place),
        batch_events=batch_events,
    )


def _case(statement: Statement, condition: str, situation: Situation) -> PlanCase:
    try:
        return PlanCase(statement.name, condition, fill(statement, situation))
    except (UsageError, ValueError) as error:
        return PlanCase(statement.name, condition, (), str(error))


def _empty_case(statement: Statement, reason: str) -> PlanCase:
    return PlanCase(statement.name, "not examined", (), reason)


def _reads_only(statement: Statement, table: str | None, not_table: str) -> bool:
    """Whether a statement names the one table and not the other."""
    words = set(re.findall(r"\w+", statement.template))
    return table is not None and table in words and not_table not in words
