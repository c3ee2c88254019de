"""The corpus as batches of rows that any process can make on its own, the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from eventmark.workload.calendar import HISTORY_START
from eventmark.workload.cohort import Cohort, hex_ids, make_cohort
from eventmark.workload.lifecycles import EVENT_TYPES
from eventmark.workload.payloads import AMOUNT_MAX, ITEM_MAX, PROSE_MAX, opening
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
    integers = (
        cohort.tenant, cohort.aggregate, cohort.sequence, cohort.at_us, cohort.event_type,
        cohort.payload_bytes, cohort.amount, cohort.item, cohort.prose, cohort.cause,
    )  # fmt: skip
    columns: list[list[Any]] = [column[here].tolist() for column in integers]
    columns.append(hex_ids(cohort.event_ids[here]))
    columns.append(hex_ids(cohort.event_ids[cohort.cause[here]]))
    columns.append(hex_ids(cohort.correlation_ids[cohort.correlation[here]]))
    tenant_ids = [tenant.tenant_id for tenant in plan.tenants]
    render = plan.pool.render
    position = begin
    for (
        tenant, aggregate, sequence, at_us, code, size, amount, item, prose, cause, event_id, cause_id, correlation_id
    ) in zip(*columns, strict=True):  # fmt: skip
        aggregate_id = cohort.aggregate_ids[aggregate]
        aggregate_type = cohort.aggregate_types[aggregate]
        event_type = EVENT_TYPES[code]
        head = opening(aggregate_type, aggregate_id, sequence)
        caused_by = f'"{cause_id}"' if cause >= 0 else "null"
        yield EventRow(
            position + 1,
            first_transaction_id + position // TRANSACTION_EVENTS,
            sequence,
            sequence - 1,
            HISTORY_START + timedelta(microseconds=at_us),
            event_id,
            tenant_ids[tenant],
            cohort.stream_ids[aggregate],
            aggregate_type,
            aggregate_id,
            event_type,
            event_type,
            "1.0",
            render(head, amount, item, prose, size),
            f'{{"user": "user-{prose % 500:04d}", "traceId": "{correlation_id}", "causationId": {caused_by}, '
            f'"correlationId": "{correlation_id}"}}',
        )
        position += 1


def _snapshot_row(plan: CorpusPlan, event: EventRow) -> SnapshotRow:
    """The aggregate's state after ``event``; its content differs from aggregate to aggregate."""
    draw = int(event.aggregate_id[:8], 16) + event.sequence_number
    payload = plan.pool.render(
        opening(event.aggregate_type, event.aggregate_id, event.sequence_number),
        draw % AMOUNT_MAX,
        draw % ITEM_MAX,
        draw % PROSE_MAX,
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
