"""Events, and the three orders they stand in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType, Protocol
from uuid import UUID

SequenceNumber = NewType("SequenceNumber", int)
"""Place within one aggregate's stream: 1, 2, 3, ... without gaps."""

GlobalSequence = NewType("GlobalSequence", int)
"""Place across streams; rolled back transactions leave gaps."""

TransactionId = NewType("TransactionId", int)
"""The 64-bit id of the transaction that wrote an event (PostgreSQL ``xid8``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamId:
    """One aggregate of one tenant. Identity is ``(tenant_id, aggregate_id)``; the type is not part of it."""

    tenant_id: str
    aggregate_type: str
    aggregate_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append.

    ``payload`` and ``metadata`` are JSON documents: a ``dict`` to be encoded, or a ``str`` that is JSON
    already. ``timestamp`` must carry a time zone; it is never used for order.
    """

    event_id: UUID
    event_type: str
    payload: dict[str, Any] | str
    metadata: dict[str, Any] | str
    timestamp: datetime
    payload_type: str
    payload_revision: str = "1.0"


class StoredEvent(Protocol):
    """An event as read back. JSON stays text until ``payload()`` or ``metadata()`` asks for it."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def aggregate_type(self) -> str: ...
    @property
    def aggregate_id(self) -> str: ...
    @property
    def sequence_number(self) -> SequenceNumber: ...
    @property
    def global_sequence(self) -> GlobalSequence: ...
    @property
    def transaction_id(self) -> TransactionId: ...
    @property
    def event_id(self) -> UUID: ...
    @property
    def event_type(self) -> str: ...
    @property
    def payload_json(self) -> str: ...
    @property
    def metadata_json(self) -> str: ...
    @property
    def timestamp(self) -> datetime: ...
    @property
    def payload_type(self) -> str: ...
    @property
    def payload_revision(self) -> str: ...

    def payload(self) -> Any: ...
    def metadata(self) -> Any: ...
