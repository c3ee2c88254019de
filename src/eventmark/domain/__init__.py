"""The language of event stores: events, streams, tokens, snapshots, and the port a store offers."""

from eventmark.domain.events import (
    GlobalSequence,
    NewEvent,
    SequenceNumber,
    StoredEvent,
    StreamId,
    TransactionId,
)
from eventmark.domain.snapshots import Snapshot
from eventmark.domain.store import AppendResult, Capabilities, EventBatch, EventStore
from eventmark.domain.tokens import TrackingToken

__all__ = [
    "AppendResult",
    "Capabilities",
    "EventBatch",
    "EventStore",
    "GlobalSequence",
    "NewEvent",
    "SequenceNumber",
    "Snapshot",
    "StoredEvent",
    "StreamId",
    "TrackingToken",
    "TransactionId",
]
