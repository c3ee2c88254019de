"""Event ids in the order of time, as a service that makes its own would have them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import numpy as np

_VERSION_BITS = (0xF << 76) | (0x3 << 62)
_VERSION_7 = (0x7 << 76) | (0x2 << 62)


def new_event_id(random: np.random.Generator) -> UUID:
    """A UUID of version 7: milliseconds of now, then chance."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    number = int.from_bytes(milliseconds.to_bytes(6, "big") + random.bytes(10), "big")
    return UUID(int=(number & ~_VERSION_BITS) | _VERSION_7)
