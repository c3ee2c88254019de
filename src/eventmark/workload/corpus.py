"""The corpus as batches of rows that any process can make on its own, the same ones every time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from eventmark.workload.cohort import hex_ids
from eventmark.workload.columns import TRANSACTION_EVENTS, BatchColumns, make_columns
from eventmark.workload.identity import Naming
from eventmark.workload.payloads import AMOUNT_MAX, ITEM_MAX, PROSE_MAX, opening
from eventmark.workload.plan import CorpusPlan

PAYLOAD_REVISION = "1.0"
SNAPSHOT_EVERY_EVENTS = 100
_SNAPSHOT_BYTES = 1500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def transaction_ids_needed(events: int) -> int:
    """How many transaction ids the log's first ``events`` take: one for every ten."""
    return -(-events // TRANSACTION_EVENTS)


def make_batch(
    plan: CorpusPlan, number: int, *, first_transaction_id: int = 1, naming: Naming | None = None
) -> Batch:
    """Batch ``number`` (from 0) of the corpus as rows."""
    columns = make_columns(plan, number, first_transaction_id=first_transaction_id, naming=naming or Naming())
    return Batch(number, event_rows(columns), snapshot_rows(plan, columns))


def snapshot_rows(plan: CorpusPlan, columns: BatchColumns) -> list[SnapshotRow]:
    """The snapshots that fall among the events: one for every hundredth of a stream."""
    due = np.flatnonzero(columns.sequence % SNAPSHOT_EVERY_EVENTS == 0)
    return [_snapshot_row(plan, columns, index) for index in due.tolist()]


def event_rows(columns: BatchColumns) -> list[EventRow]:
    """The batch's events as rows."""
    numbers = (
        columns.position, columns.transaction_id, columns.sequence, columns.at_us, columns.tenant,
        columns.aggregate, columns.event_type,
    )  # fmt: skip
    return [
        EventRow(
            position,
            transaction_id,
            sequence,
            sequence - 1,
            _instant(at_us),
            event_id,
            columns.tenant_ids[tenant],
            columns.stream_ids[aggregate],
            columns.aggregate_types[aggregate],
            columns.aggregate_ids[aggregate],
            columns.event_types[event_type],
            columns.event_types[event_type],
            PAYLOAD_REVISION,
            payload.decode(),
            meta.decode(),
        )
        for position, transaction_id, sequence, at_us, tenant, aggregate, event_type, event_id, payload, meta in zip(
            *(column.tolist() for column in numbers),
            hex_ids(columns.event_id),
            columns.payloads,
            columns.metadata,
            strict=True,
        )
    ]


def _snapshot_row(plan: CorpusPlan, columns: BatchColumns, index: int) -> SnapshotRow:
    """The aggregate's state after an event; its content differs from aggregate to aggregate."""
    aggregate, sequence = int(columns.aggregate[index]), int(columns.sequence[index])
    name, aggregate_type = columns.aggregate_names[aggregate], columns.aggregate_types[aggregate]
    draw = int(name[:8], 16) + sequence
    payload = plan.pool.render(
        f"{opening(aggregate_type, name)}{sequence}, ",
        draw % AMOUNT_MAX,
        draw % ITEM_MAX,
        draw % PROSE_MAX,
        _SNAPSHOT_BYTES,
    )
    return SnapshotRow(
        sequence,
        _instant(int(columns.at_us[index])),
        columns.tenant_ids[int(columns.tenant[index])],
        columns.aggregate_ids[aggregate],
        aggregate_type,
        f"{aggregate_type}State",
        PAYLOAD_REVISION,
        payload,
    )


def _instant(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)
