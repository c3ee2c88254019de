"""Snapshots: an aggregate's state after one of its events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventmark.domain.events import SequenceNumber, StreamId


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """State of ``stream`` after its event ``sequence_number``. ``payload`` as in ``NewEvent``."""

    stream: StreamId
    sequence_number: SequenceNumber
    payload: dict[str, Any] | str
    payload_type: str
    timestamp: datetime
    payload_revision: str = "1.0"
