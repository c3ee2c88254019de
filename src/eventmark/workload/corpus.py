"""The corpus as batches of rows that any process can make on its own, the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from eventmark.workload.calendar import HISTORY_START
from eventmark.workload.cohort import Cohort, dashed, make_cohort
from eventmark.workload.lifecycles import EVENT_TYPES, LIFECYCLES
from eventmark.workload.payloads import ITEMS, PROSE_CHARACTERS, opening
from eventmark.workload.plan import BATCH_EVENTS, COHORT_EVENTS, CorpusPlan

TRANSACTION_EVENTS = 10
SNAPSHOT_EVERY_EVENTS = 100
_SNAPSHOT_BYTES = 1500


class EventRow(NamedTuple):
    """A row of ``domain_events``; the fields are the column names."""

    global_sequence_id: int
    transaction_id: int
    sequence_number: int
    expected_version: int
    timestamp_utc: datetime
    event_id: str
    tenant_id: str
    stream_id: str
    aggregate_type: str
    aggregate_id: str
    event_type: str
    payload_type: str
    payload_revision: str
    payload: str
    metadata: str


class SnapshotRow(NamedTuple):
    """A row of ``aggregate_snapshots``; the fields are the column names."""

    sequence_number: int
    timestamp_utc: datetime
    tenant_id: str
    aggregate_id: str
    aggregate_type: str
    payload_type: str
    payload_revision: str
    payload: str


@dataclass(frozen=True, slots=True)
class Batch:
    """At most ``BATCH_EVENTS`` events in the log's order, and the snapshots that fall among them."""

    number: int
    events: list[EventRow]
    snapshots: list[SnapshotRow]


def transaction_ids_needed(plan: CorpusPlan) -> int:
    """How many transaction ids the corpus takes: one for every ten events."""
    return -(-plan.events // TRANSACTION_EVENTS)


def make_batch(plan: CorpusPlan, number: int, *, first_transaction_id: int = 1) -> Batch:
    """Batch ``number`` (from 0) of the corpus. Makes its cohort at need and keeps the last one."""
    begin = number * BATCH_EVENTS
    end = min(begin + BATCH_EVENTS, plan.events)
    cohort = make_cohort(plan, begin // COHORT_EVENTS)
    events = list(_event_rows(plan, cohort, begin, end, first_transaction_id))
    snapshots = [
        _snapshot_row(plan, event) for event in events if event.sequence_number % SNAPSHOT_EVERY_EVENTS == 0
    ]
    return Batch(number, events, snapshots)


def _event_rows(
    plan: CorpusPlan, cohort: Cohort, begin: int, end: int, first_transaction_id: int
) -> Iterator[EventRow]:
    here = slice(begin - cohort.first_event, end - cohort.first_event)
    event_ids = [f"{high:016x}{low:016x}" for high, low in cohort.event_ids[here].tolist()]
    causes = cohort.cause[here]
    cause_ids = [
        dashed(f"{high:016x}{low:016x}") if cause >= 0 else None
        for cause, (high, low) in zip(causes.tolist(), cohort.event_ids[causes].tolist(), strict=True)
    ]
    tenant_ids = [tenant.tenant_id for tenant in plan.tenants]
    types = [lifecycle.aggregate_type for lifecycle in LIFECYCLES]
    columns: Sequence[list[int]] = [
        column[here].tolist()
        for column in (
            cohort.tenant, cohort.aggregate, cohort.sequence, cohort.at_us, cohort.event_type,
            cohort.payload_bytes, cohort.correlation,
        )
    ]  # fmt: skip
    draws = cohort.draws[here].tolist()
    render = plan.pool.render
    for place, (tenant, aggregate, sequence, at_us, code, size, correlation) in enumerate(
        zip(*columns, strict=True)
    ):
        amount, item, prose = draws[place]
        aggregate_id = cohort.aggregate_ids[aggregate]
        aggregate_type = types[cohort.lifecycles[aggregate]]
        event_type = EVENT_TYPES[code]
        yield EventRow(
            begin + place + 1,
            first_transaction_id + (begin + place) // TRANSACTION_EVENTS,
            sequence,
            sequence - 1,
            HISTORY_START + timedelta(microseconds=at_us),
            event_ids[place],
            tenant_ids[tenant],
            f"{aggregate_type}:{aggregate_id}",
            aggregate_type,
            aggregate_id,
            event_type,
            event_type,
            "1.0",
            render(
                opening(aggregate_type, aggregate_id[:8], sequence),
                amount % 10_000_000,
                item % (ITEMS - 50),
                prose % (PROSE_CHARACTERS - 10_000),
                size,
            ),
            _metadata(cohort.correlation_ids[correlation], cause_ids[place], prose % 500),
        )


def _metadata(correlation_id: str, cause_id: str | None, user: int) -> str:
    cause = f'"{cause_id}"' if cause_id else "null"
    trace = correlation_id.replace("-", "")
    return (
        f'{{"user": "user-{user:04d}", "traceId": "{trace}", "causationId": {cause}, '
        f'"correlationId": "{correlation_id}"}}'
    )


def _snapshot_row(plan: CorpusPlan, event: EventRow) -> SnapshotRow:
    """The aggregate's state after ``event``; its content differs from aggregate to aggregate."""
    draw = int(event.aggregate_id[:8], 16) + event.sequence_number
    payload = plan.pool.render(
        opening(event.aggregate_type, event.aggregate_id[:8], event.sequence_number),
        draw % 10_000_000,
        draw % (ITEMS - 50),
        draw % (PROSE_CHARACTERS - 10_000),
        _SNAPSHOT_BYTES,
    )
    return SnapshotRow(
        event.sequence_number,
        event.timestamp_utc,
        event.tenant_id,
        event.aggregate_id,
        event.aggregate_type,
        f"{event.aggregate_type}State",
        "1.0",
        payload,
    )
