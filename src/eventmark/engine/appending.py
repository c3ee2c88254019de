"""What an append's answer means: a result, a conflict, or an error of the engine's own."""

from __future__ import annotations

from typing import Any

from eventmark.domain import AppendResult, SequenceNumber, StreamId
from eventmark.errors import TransactionOrderError, VersionConflictError


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


def version_conflict(stream: StreamId, expected_version: int, actual_version: int) -> VersionConflictError:
    return VersionConflictError(
        tenant_id=stream.tenant_id,
        aggregate_id=stream.aggregate_id,
        expected_version=expected_version,
        actual_version=actual_version,
    )
