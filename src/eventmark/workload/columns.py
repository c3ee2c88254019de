"""A batch as columns: what bulk loading wants, without an object for each row."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventmark.workload.calendar import HISTORY_START
from eventmark.workload.cohort import Cohort, make_cohort
from eventmark.workload.identity import Naming
from eventmark.workload.lifecycles import EVENT_TYPES
from eventmark.workload.payloads import LEAN, lean_payload
from eventmark.workload.plan import BATCH_EVENTS, CorpusPlan

TRANSACTION_EVENTS = 10
_HISTORY_START_US = int(HISTORY_START.timestamp()) * 1_000_000
_USERS = np.array([f"user-{number:04d}" for number in range(500)], dtype="S9")
_FIRST = (
    '{"user": "<user>", "traceId": "<correlation>", "causationId": null, "correlationId": "<correlation>"}'
)
_LEAN = '{"correlationId": "<correlation>"}'
_NAMING = Naming()
_EFFECT = _FIRST.replace("null", '"<cause>"')


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchColumns:
    """At most ``BATCH_EVENTS`` events in the log's order.

    Numbers and ids (16 bytes) are arrays. Texts that repeat are lists of the different texts and, for each
    event, the place of its own: ``tenant_ids[tenant]``, ``aggregate_ids[aggregate]``, and so on. Documents
    are JSON in UTF-8.
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
    payloads: list[bytes]
    metadata: list[bytes]
    tenant_ids: Sequence[str]
    aggregate_ids: Sequence[str]
    stream_ids: Sequence[str]
    aggregate_types: Sequence[str]
    aggregate_names: Sequence[str]  # their ids where those are UUIDs; payloads are made of them
    event_types: Sequence[str] = EVENT_TYPES

    def __len__(self) -> int:
        return len(self.position)


def make_columns(
    plan: CorpusPlan, number: int, *, first_transaction_id: int = 1, naming: Naming = _NAMING
) -> BatchColumns:
    """Batch ``number`` (from 0) of the corpus. Makes its cohort at need and keeps the last one."""
    begin = number * BATCH_EVENTS
    end = min(begin + BATCH_EVENTS, plan.events)
    cohort = make_cohort(plan, begin // plan.cohort_events)
    here = slice(begin - cohort.first_event, end - cohort.first_event)
    position = np.arange(begin, end)
    aggregate_ids, aggregate_types, stream_ids = (
        cohort.aggregate_ids,
        cohort.aggregate_types,
        cohort.stream_ids,
    )
    if naming != _NAMING:
        aggregate_ids = list(naming.stream_ids(aggregate_ids, cohort.first_event + 1))
        aggregate_types = [naming.aggregate_type(kind) for kind in aggregate_types]
        stream_ids = [f"{kind}:{name}" for kind, name in zip(aggregate_types, aggregate_ids, strict=True)]
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
        metadata=_lean_metadata(cohort, here) if plan.payload_profile == LEAN else _metadata(cohort, here),
        tenant_ids=[naming.tenant_id(number) for number in range(plan.tenant_count)],
        aggregate_ids=aggregate_ids,
        stream_ids=stream_ids,
        aggregate_types=aggregate_types,
        aggregate_names=cohort.aggregate_ids,
        event_types=[naming.event_type(name) for name in EVENT_TYPES],
    )


def _payloads(plan: CorpusPlan, cohort: Cohort, here: slice) -> list[bytes]:
    if plan.samples:
        places = cohort.prose[here] % len(plan.sampled)
        return [plan.sampled[index].encode() for index in places.tolist()]
    openings = cohort.openings
    if plan.payload_profile == LEAN:
        return [
            lean_payload(openings[aggregate], sequence).encode()
            for aggregate, sequence in zip(
                cohort.aggregate[here].tolist(), cohort.sequence[here].tolist(), strict=True
            )
        ]
    columns = (
        cohort.aggregate, cohort.sequence, cohort.amount, cohort.item, cohort.prose, cohort.payload_bytes,
    )  # fmt: skip
    render = plan.pool.render
    return [
        render(f"{openings[aggregate]}{sequence}, ", amount, item, prose, size).encode()
        for aggregate, sequence, amount, item, prose, size in zip(
            *(column[here].tolist() for column in columns), strict=True
        )
    ]


def _lean_metadata(cohort: Cohort, here: slice) -> list[bytes]:
    return _formatted(_LEAN, {"correlation": _correlations(cohort, here)})


def _correlations(cohort: Cohort, here: slice) -> np.ndarray:
    return _hex(cohort.correlation_ids[cohort.correlation[here]])


def _metadata(cohort: Cohort, here: slice) -> list[bytes]:
    """Laid out by numpy: but for the first event of a correlation, which has no cause, all are of one form."""
    causes = cohort.cause[here]
    caused = causes >= 0
    fields = {
        "user": _USERS[cohort.prose[here] % len(_USERS)],
        "correlation": _correlations(cohort, here),
        "cause": _hex(cohort.event_ids[causes]),
    }
    effects = iter(_formatted(_EFFECT, {name: column[caused] for name, column in fields.items()}))
    firsts = iter(_formatted(_FIRST, {name: column[~caused] for name, column in fields.items()}))
    return [next(effects) if has_cause else next(firsts) for has_cause in caused.tolist()]


def _hex(ids: np.ndarray) -> np.ndarray:
    return np.frombuffer(binascii.hexlify(ids.tobytes()), "S32")


def _formatted(template: str, fields: dict[str, np.ndarray]) -> list[bytes]:
    """The template with its ``<name>`` replaced by each row's fields, which are of fixed width."""
    parts = re.split("<(.*?)>", template)  # text, name, text, name, ..., text
    columns = [
        fields[part] if index % 2 else np.frombuffer(part.encode(), f"S{len(part)}")
        for index, part in enumerate(parts)
    ]
    rows = np.empty(
        len(next(iter(fields.values()))),
        [(f"f{index}", column.dtype) for index, column in enumerate(columns)],
    )
    for index, column in enumerate(columns):
        rows[f"f{index}"] = column
    return sliced(rows.tobytes(), rows.dtype.itemsize)


def sliced(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of ``size`` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]
