"""Parameters filled by their names, in the types the statement declares."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eventmark.engine.statements import Parameter, Statement
from eventmark.errors import UsageError
from eventmark.stores import encoder_of

BATCH_SIZE_EVENTS = 1000
PAYLOAD_TEXT_LENGTH = 700  # with its keys about 1 kB, a usual event

# What a statement's parameters leave open, by the parameters that ask for it
TENANT_PARAMETERS = frozenset({"tenant_id"})
STREAM_PARAMETERS = frozenset({"aggregate_id", "stream_id"})
PLACE_PARAMETERS = frozenset({"transaction_id", "global_sequence", "global_sequence_id", "instant"})
APPENDED_PARAMETERS = frozenset({"event_ids", "payloads", "sequence_numbers", "event_count"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a statement is run against: a stream at its version, a place in the log, and a batch's size.

    ``from_sequence`` is where a load begins, ``limit_events`` how many a consumer asks for.
    """

    row: Mapping[str, Any]
    version: int
    transaction_id: int
    global_sequence: int
    instant: datetime | None
    batch_events: int = 1
    from_sequence: int = 1
    limit_events: int = BATCH_SIZE_EVENTS


def fill(statement: Statement, situation: Situation) -> tuple[object, ...]:
    """The statement's arguments in its order. Raises ``UsageError`` naming a parameter nobody knows."""
    filled = []
    appends = statement.name == "append_events"
    for parameter in statement.parameters:
        value = _fill_one(statement, parameter, situation)
        if appends and parameter.name == "sequence_number":
            value = situation.version + 1  # the new event's, where else it is the stream's last
        filled.append(value)
    return tuple(filled)


def unknown_parameters(statement: Statement) -> list[str]:
    """The parameters that cannot be filled, because their names mean nothing here."""
    return [parameter.name for parameter in statement.parameters if parameter.name not in _FILLERS]


def _fill_one(statement: Statement, parameter: Parameter, situation: Situation) -> object:
    filler = _FILLERS.get(parameter.name)
    if filler is None:
        raise UsageError(f"{statement.name}: no value is known for a parameter named {parameter.name}")
    value = filler(situation)
    if value is None:
        raise UsageError(f"{statement.name}: the table has no value for {parameter.name}")
    return _as_declared(value, parameter.sql_type.lower())


def _as_declared(value: object, sql_type: str) -> object:
    """The value as the driver wants it for an SQL type: text for text, bytes for bytea, ..."""
    encode = encoder_of(sql_type)
    value = value if encode is None else encode(value)
    return uuid.UUID(value) if sql_type == "uuid" and isinstance(value, str) else value


def _of_row(field: str, otherwise: object = None) -> Callable[[Situation], object]:
    def value(situation: Situation) -> object:
        value: object = situation.row.get(field)
        return otherwise if value is None else value

    return value


def _stream_id(situation: Situation) -> object:
    row = situation.row
    return row.get("stream_id") or f"{row.get('aggregate_type', 'Aggregate')}:{row.get('aggregate_id')}"


def _payload() -> str:
    return json.dumps({"kind": "plan examination", "text": "x" * PAYLOAD_TEXT_LENGTH})


def _batch(item: Callable[[Situation, int], object]) -> Callable[[Situation], object]:
    return lambda situation: [item(situation, number) for number in range(situation.batch_events)]


_FILLERS: dict[str, Callable[[Situation], object]] = {
    "tenant_id": _of_row("tenant_id"),
    "aggregate_id": _of_row("aggregate_id"),
    "aggregate_type": _of_row("aggregate_type", "Aggregate"),
    "stream_id": _stream_id,
    "from_sequence": lambda situation: situation.from_sequence,
    "expected_version": lambda situation: situation.version,
    "sequence_number": lambda situation: situation.version,
    "transaction_id": lambda situation: situation.transaction_id,
    "global_sequence": lambda situation: situation.global_sequence,
    "global_sequence_id": lambda situation: situation.global_sequence,
    "batch_size": lambda situation: situation.limit_events,
    "instant": lambda situation: situation.instant,
    "timestamp": lambda _: datetime.now(UTC),
    "timestamp_utc": lambda _: datetime.now(UTC),
    "event_id": lambda _: uuid.uuid4(),
    "event_type": _of_row("event_type", "PlanExamined"),
    "payload": lambda _: _payload(),
    "metadata": lambda _: "{}",
    "payload_type": _of_row("payload_type", "PlanExamined"),
    "payload_revision": _of_row("payload_revision", "1.0"),
    "event_count": lambda situation: situation.batch_events,
    "event_ids": _batch(lambda _, __: uuid.uuid4()),
    "event_types": _batch(lambda situation, _: _FILLERS["event_type"](situation)),
    "payloads": _batch(lambda _, __: _payload()),
    "metadatas": _batch(lambda _, __: "{}"),
    "timestamps": _batch(lambda _, __: datetime.now(UTC)),
    "payload_types": _batch(lambda situation, _: _FILLERS["payload_type"](situation)),
    "payload_revisions": _batch(lambda situation, _: _FILLERS["payload_revision"](situation)),
    "sequence_numbers": _batch(lambda situation, index: situation.version + 1 + index),
}
