"""Ids as stores keep them: of the type of their column, the same for the same seed; and ids in the order of time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from uuid import NAMESPACE_URL, UUID, uuid5
from zlib import crc32

import numpy as np

ONLY_TENANT = "all"
"""The tenant of every event of a store that has no tenants."""

_VERSION_BITS = (0xF << 76) | (0x3 << 62)
_VERSION_7 = (0x7 << 76) | (0x2 << 62)
_TENANTS = uuid5(NAMESPACE_URL, "eventmark:tenants")
# The corpus numbers its streams below the first; a measurement's are above, and stay below the second.
_NEW_STREAMS = {"integer": (1 << 30, (1 << 31) - 1), "bigint": (1 << 40, (1 << 53) - 1)}


def uuid_7(milliseconds: int, bits: int) -> UUID:
    """A UUID of version 7, as the corpus has them: when, and 80 bits of which 74 are kept."""
    return UUID(int=uuid_7_number(milliseconds, bits))


def uuid_7_number(milliseconds: int, bits: int) -> int:
    """The same as the number that it is."""
    return ((milliseconds << 80) | bits) & ~_VERSION_BITS | _VERSION_7


def uuid_text(number: int) -> str:
    """The UUID that is this number as text, in a fraction of the time that an object takes to be made and written."""
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class Naming:
    """How a store names what the corpus has: its ids' types, and the only types of events and aggregates it takes.

    Id types are "text", "uuid", "smallint", "integer", "bigint", and "none" for tenants that the store does not have.
    Ids are handled as text, written as the server writes their type. Without ``event_types`` any is taken.
    """

    tenant: str = "text"
    stream: str = "text"
    event_types: tuple[str, ...] = ()
    aggregate_types: tuple[str, ...] = ()

    def tenant_id(self, number: int) -> str:
        """Tenant ``number`` (from 0)."""
        name = f"tenant-{number:04d}"
        if self.tenant == "none":
            return ONLY_TENANT
        if self.tenant == "uuid":
            return str(uuid5(_TENANTS, name))
        return name if self.tenant == "text" else str(number + 1)

    def stream_ids(self, names: Sequence[str], first: int) -> Sequence[str]:
        """Streams called ``names``, which are UUIDs; ``first`` is the number of the first of them."""
        if self.stream in ("text", "uuid"):
            return names
        return [str(first + number) for number in range(len(names))]

    def new_stream_ids(self, random: np.random.Generator) -> Iterator[str]:
        """Ids of streams that are not there yet, without end; never those of another load with the same seed."""
        if self.stream in ("text", "uuid"):
            quick = Random(
                int(random.integers(2**63))
            )  # many times as quick as numpy's, one number at a time
            while True:
                yield uuid_text(uuid_7_number(time.time_ns() // 1_000_000, quick.getrandbits(80)))
        low, high = _NEW_STREAMS[self.stream]
        number = secrets.randbelow(high - low)
        while True:
            yield str(low + number)
            number = (number + 1) % (high - low)

    def event_type(self, name: str) -> str:
        """The type that an event has in the store instead of ``name``."""
        return _taken(name, self.event_types)

    def aggregate_type(self, name: str) -> str:
        return _taken(name, self.aggregate_types)


def _taken(name: str, names: tuple[str, ...]) -> str:
    return name if not names or name in names else names[crc32(name.encode()) % len(names)]
