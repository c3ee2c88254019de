"""What the answers of a store's own SQL say: where an event is, what became of an append."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eventmark.domain import (
    AppendResult,
    GlobalSequence,
    StreamId,
    TrackingToken,
    TransactionId,
)
from eventmark.engine.appending import append_result
from eventmark.engine.pool import Session
from eventmark.stores.conflict import stored_nothing

NOT_TOLD = -1  # the version of a stream, by a refusal that does not say it


def token_of_row(tail: TrackingToken, row: Mapping[str, Any], *, by_transaction: bool) -> TrackingToken:
    """The token of an event's place in the store that ``tail`` is of."""
    return replace(
        tail,
        transaction_id=TransactionId(row.get("transaction_id", 0) if by_transaction else 0),
        global_sequence=GlobalSequence(row.get("global_sequence_id") or 0),
    )


def append_result_of(
    session: Session, rows: Sequence[Any], stream: StreamId, expected_version: int, count: int
) -> AppendResult:
    prepared = session.prepared("append_events")
    is_void = all(column.type.name == "void" for column in prepared.get_attributes())
    refused = stored_nothing(dict(rows[-1]) if rows else None, prepared.get_statusmsg(), is_void=is_void)
    return append_answer(dict(rows[-1]) if rows else {}, refused, stream, expected_version, count)


def append_answer(
    row: Mapping[str, Any], refused: bool, stream: StreamId, expected_version: int, count: int
) -> AppendResult:
    """Of the last row that the statement answered with, if any; ``refused`` as ``conflict.stored_nothing`` says.

    Raises ``VersionConflictError`` or ``TransactionOrderError``.
    """
    answer = (
        None if refused else row.get("last_global_sequence", 0),
        row.get("actual_version", NOT_TOLD),
        row.get("transaction_id", 0),
    )
    return append_result(answer, stream, expected_version, count)
