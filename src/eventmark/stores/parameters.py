"""What a statement of a store's folder may ask for, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventmark.domain import NewEvent, Snapshot, StreamId
from eventmark.engine import encoding
from eventmark.workload import Naming

_ANY_KIND = Naming()

# Parameters that stand for one event: a statement with any of them is run once per event.
PER_EVENT_PARAMETERS = (
    "event_id", "event_type", "payload", "metadata", "timestamp", "payload_type", "payload_revision",
    "sequence_number",
)  # fmt: skip

STREAM_PARAMETERS: Mapping[str, Callable[[StreamId, Naming], str]] = {
    "tenant_id": lambda stream, _: stream.tenant_id,
    "aggregate_id": lambda stream, _: stream.aggregate_id,
    "aggregate_type": lambda stream, kinds: kinds.aggregate_type(stream.aggregate_type),
    "stream_id": lambda stream, kinds: f"{kinds.aggregate_type(stream.aggregate_type)}:{stream.aggregate_id}",
}


def _stream_values(stream: StreamId, kinds: Naming) -> dict[str, Any]:
    return {name: value_of(stream, kinds) for name, value_of in STREAM_PARAMETERS.items()}


def append_values(
    stream: StreamId, events: Sequence[NewEvent], expected_version: int, kinds: Naming = _ANY_KIND
) -> dict[str, Any]:
    """What a statement that appends may ask for, by parameter name; checked and encoded."""
    arguments = encoding.append_arguments(stream, events, expected_version)
    names = (
        "event_ids", "event_types", "payloads", "metadatas", "timestamps", "payload_types", "payload_revisions",
    )  # fmt: skip
    values = {
        **_stream_values(stream, kinds),
        "expected_version": expected_version,
        "event_count": len(events),
        "sequence_numbers": [expected_version + number + 1 for number in range(len(events))],
        **dict(zip(names, arguments[4:], strict=True)),
    }
    if kinds.event_types:
        values["event_types"] = [kinds.event_type(name) for name in values["event_types"]]
    return values


def snapshot_values(snapshot: Snapshot, kinds: Naming = _ANY_KIND) -> dict[str, Any]:
    """What a statement that stores a snapshot may ask for, by parameter name; checked and encoded."""
    return {
        **_stream_values(snapshot.stream, kinds),
        "sequence_number": snapshot.sequence_number,
        "timestamp_utc": snapshot.timestamp,
        "payload": encoding.encoded_document(snapshot.payload, "payload"),
        "payload_type": snapshot.payload_type,
        "payload_revision": snapshot.payload_revision,
    }


def event_values(values: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Of ``append_values``, the singular parameters of the event at ``index``: expected is the one before it."""
    return {
        "event_id": values["event_ids"][index],
        "event_type": values["event_types"][index],
        "payload": values["payloads"][index],
        "metadata": values["metadatas"][index],
        "timestamp": values["timestamps"][index],
        "payload_type": values["payload_types"][index],
        "payload_revision": values["payload_revisions"][index],
        "sequence_number": values["sequence_numbers"][index],
        "expected_version": values["sequence_numbers"][index] - 1,
    }
