"""Events as the driver delivers them: no copy, no object built, JSON decoded only when asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from eventmark.domain import GlobalSequence, SequenceNumber, Snapshot, StreamId, TransactionId


class EventRecord(asyncpg.Record):
    """A ``StoredEvent`` that is the driver's own row, read by the column names of ``domain_events``."""

    __slots__ = ()

    @property
    def tenant_id(self) -> str:
        return self["tenant_id"]  # type: ignore[no-any-return]

    @property
    def aggregate_type(self) -> str:
        return self["aggregate_type"]  # type: ignore[no-any-return]

    @property
    def aggregate_id(self) -> str:
        return self["aggregate_id"]  # type: ignore[no-any-return]

    @property
    def sequence_number(self) -> SequenceNumber:
        return self["sequence_number"]  # type: ignore[no-any-return]

    @property
    def global_sequence(self) -> GlobalSequence:
        return self["global_sequence_id"]  # type: ignore[no-any-return]

    @property
    def transaction_id(self) -> TransactionId:
        return self["transaction_id"]  # type: ignore[no-any-return]

    @property
    def event_id(self) -> UUID:
        return self["event_id"]  # type: ignore[no-any-return]

    @property
    def event_type(self) -> str:
        return self["event_type"]  # type: ignore[no-any-return]

    @property
    def payload_json(self) -> str:
        return self["payload"]  # type: ignore[no-any-return]

    @property
    def metadata_json(self) -> str:
        return self["metadata"]  # type: ignore[no-any-return]

    @property
    def timestamp(self) -> datetime:
        return self["timestamp_utc"]  # type: ignore[no-any-return]

    @property
    def payload_type(self) -> str:
        return self["payload_type"]  # type: ignore[no-any-return]

    @property
    def payload_revision(self) -> str:
        return self["payload_revision"]  # type: ignore[no-any-return]

    def payload(self) -> Any:
        """The payload, decoded anew at each call."""
        return msgspec.json.decode(self["payload"])

    def metadata(self) -> Any:
        """The metadata, decoded anew at each call."""
        return msgspec.json.decode(self["metadata"])

    def snapshot(self) -> Snapshot:
        """The row of ``aggregate_snapshots`` that this is, its payload as JSON text."""
        return Snapshot(
            stream=StreamId(
                tenant_id=self.tenant_id, aggregate_type=self.aggregate_type, aggregate_id=self.aggregate_id
            ),
            sequence_number=self.sequence_number,
            payload=self.payload_json,
            payload_type=self.payload_type,
            payload_revision=self.payload_revision,
            timestamp=self.timestamp,
        )
