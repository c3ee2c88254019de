"""What an append's answer means: a result, a conflict, or an error of the engine's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from eventmark.domain import AppendResult, SequenceNumber, Snapshot, StoredEvent, StreamId
from eventmark.engine.encoding import GROUP_SEPARATOR
from eventmark.errors import (
    AlreadyStoredError,
    SnapshotRefusedError,
    TransactionOrderError,
    VersionConflictError,
)


def append_result(row: Any, stream: StreamId, expected_version: int, count: int) -> AppendResult:
    """The result that ``append_events.sql`` answered with.

    Raises ``VersionConflictError`` or ``TransactionOrderError`` where it appended nothing.
    """
    last_global_sequence, actual_version, transaction_id = row
    if last_global_sequence is None:
        if actual_version != expected_version:
            raise version_conflict(stream, expected_version, actual_version)
        raise TransactionOrderError(
            f"the last event of aggregate {stream.aggregate_id!r} was written by a younger transaction",
            remedy="append again in a new transaction",
        )
    return AppendResult(
        last_sequence_number=SequenceNumber(expected_version + count),
        last_global_sequence=last_global_sequence,
        transaction_id=transaction_id,
    )


def group_rows(answer: Any, counts: Sequence[int]) -> list[tuple[int | None, int, int]]:
    """For each batch of a group a row as ``append_result`` takes it, from the one row of ``append_group.sql``.

    ``counts``: how many events each batch has. They were stored, and numbered, in the order of their batches.
    """
    numbers, left_out, actual_versions, transaction_id = answer
    refused = dict(zip(left_out or (), actual_versions or (), strict=True))
    rows: list[tuple[int | None, int, int]] = []
    stored = 0
    for index, count in enumerate(counts, 1):
        if index in refused:
            rows.append((None, refused[index], transaction_id))
        else:
            stored += count
            rows.append((numbers[stored - 1], 0, transaction_id))
    return rows


def group_counts(arguments: Sequence[Any], answer: Any) -> tuple[int, int, int]:
    """Of a group's arguments and its answer: how many appends, how many of them refused, how many events stored."""
    numbers, left_out, *_ = answer
    return arguments[0].count(GROUP_SEPARATOR) + 1, len(left_out or ()), len(numbers or ())


async def conflict_or_stored(
    conflict: VersionConflictError,
    stream: StreamId,
    event_ids: Sequence[UUID],
    find_events: Callable[[str, list[UUID]], Awaitable[Sequence[StoredEvent]]],
) -> VersionConflictError | AlreadyStoredError:
    """What a conflict is: where the stream has exactly these events at these places, an append that was repeated."""
    first = conflict.expected_version + 1
    if conflict.actual_version >= conflict.expected_version + len(event_ids):
        events = await find_events(stream.tenant_id, list(event_ids))
        places = {event.event_id: event for event in events if event.aggregate_id == stream.aggregate_id}
        if all(
            event_id in places and places[event_id].sequence_number == number
            for number, event_id in enumerate(event_ids, first)
        ):
            last = places[event_ids[-1]]
            return AlreadyStoredError(
                tenant_id=stream.tenant_id,
                event_ids=tuple(event_ids),
                last_sequence_number=last.sequence_number,
                last_global_sequence=last.global_sequence,
                transaction_id=last.transaction_id,
            )
    return conflict


def check_stored(snapshot: Snapshot, rows: int) -> None:
    """Raises ``SnapshotRefusedError`` where ``store_snapshot.sql`` stored, and answered, nothing."""
    if not rows:
        raise SnapshotRefusedError(
            f"a snapshot at event {snapshot.sequence_number} of aggregate {snapshot.stream.aggregate_id!r} is "
            "beyond the end of the stream or older than the one stored"
        )


def version_conflict(stream: StreamId, expected_version: int, actual_version: int) -> VersionConflictError:
    return VersionConflictError(
        tenant_id=stream.tenant_id,
        aggregate_id=stream.aggregate_id,
        expected_version=expected_version,
        actual_version=actual_version,
    )
