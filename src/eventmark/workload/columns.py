"""A batch as columns: what bulk loading wants, without an object for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventmark.workload.calendar import HISTORY_START
from eventmark.workload.cohort import Cohort, hex_ids, make_cohort
from eventmark.workload.lifecycles import EVENT_TYPES
from eventmark.workload.plan import BATCH_EVENTS, COHORT_EVENTS, CorpusPlan

TRANSACTION_EVENTS = 10
_HISTORY_START_US = int(HISTORY_START.timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchColumns:
    """At most ``BATCH_EVENTS`` events in the log's order.

    Numbers and ids (16 bytes) are arrays. Texts that repeat are lists of the different texts and, for each
    event, the place of its own: ``tenant_ids[tenant]``, ``aggregate_ids[aggregate]``, and so on.
    """

    number: int
    position: np.ndarray
    transaction_id: np.ndarray
    sequence: np.ndarray
    at_us: np.ndarray  # since 1970
    event_id: np.ndarray
    tenant: np.ndarray
    aggregate: np.ndarray
    event_type: np.ndarray
    payloads: list[str]
    metadata: list[str]
    tenant_ids: Sequence[str]
    aggregate_ids: Sequence[str]
    stream_ids: Sequence[str]
    aggregate_types: Sequence[str]
    event_types: Sequence[str] = EVENT_TYPES

    def __len__(self) -> int:
        return len(self.position)


def make_columns(plan: CorpusPlan, number: int, *, first_transaction_id: int = 1) -> BatchColumns:
    """Batch ``number`` (from 0) of the corpus. Makes its cohort at need and keeps the last one."""
    begin = number * BATCH_EVENTS
    end = min(begin + BATCH_EVENTS, plan.events)
    cohort = make_cohort(plan, begin // COHORT_EVENTS)
    here = slice(begin - cohort.first_event, end - cohort.first_event)
    position = np.arange(begin, end)
    return BatchColumns(
        number=number,
        position=position + 1,
        transaction_id=first_transaction_id + position // TRANSACTION_EVENTS,
        sequence=cohort.sequence[here],
        at_us=cohort.at_us[here] + _HISTORY_START_US,
        event_id=cohort.event_ids[here],
        tenant=cohort.tenant[here],
        aggregate=cohort.aggregate[here],
        event_type=cohort.event_type[here],
        payloads=_payloads(plan, cohort, here),
        metadata=_metadata(cohort, here),
        tenant_ids=[tenant.tenant_id for tenant in plan.tenants],
        aggregate_ids=cohort.aggregate_ids,
        stream_ids=cohort.stream_ids,
        aggregate_types=cohort.aggregate_types,
    )


def _payloads(plan: CorpusPlan, cohort: Cohort, here: slice) -> list[str]:
    render, openings = plan.pool.render, cohort.openings
    columns = (
        cohort.aggregate, cohort.sequence, cohort.amount, cohort.item, cohort.prose, cohort.payload_bytes,
    )  # fmt: skip
    return [
        render(f"{openings[aggregate]}{sequence}, ", amount, item, prose, size)
        for aggregate, sequence, amount, item, prose, size in zip(
            *(column[here].tolist() for column in columns), strict=True
        )
    ]


def _metadata(cohort: Cohort, here: slice) -> list[str]:
    causes = cohort.cause[here]
    rows = zip(
        (cohort.prose[here] % 500).tolist(),
        causes.tolist(),
        hex_ids(cohort.event_ids[causes]),
        hex_ids(cohort.correlation_ids[cohort.correlation[here]]),
        strict=True,
    )
    return [
        f'{{"user": "user-{user:04d}", "traceId": "{correlation_id}", "causationId": '
        + (f'"{cause_id}"' if cause >= 0 else "null")
        + f', "correlationId": "{correlation_id}"}}'
        for user, cause, cause_id, correlation_id in rows
    ]
