"""Values as PostgreSQL's wire has them: binary for the types that event stores use, text for any other."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from psycopg import adapters, postgres
from psycopg.pq import Format

Encode = Callable[[Any], bytes]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HEADER = struct.Struct(
    "!iiIii"
)  # dimensions, whether there are nulls, type of elements, their number, the first's
_LENGTH = struct.Struct("!i")
_TYPES = postgres.types
VOID = 2278
"""The type of what functions return that return nothing."""


def _instant(value: datetime) -> bytes:
    return struct.pack("!q", (value - _EPOCH) // _MICROSECOND)


def _uuid(value: UUID | str) -> bytes:
    return (UUID(value) if isinstance(value, str) else value).bytes


def _document(value: str) -> bytes:
    return b"\x01" + value.encode()  # the version of the format of jsonb


_BINARY: dict[int, Encode] = {
    **{_TYPES[name].oid: str.encode for name in ("text", "varchar", "bpchar", "name", "json")},
    _TYPES["jsonb"].oid: _document,
    _TYPES["bytea"].oid: bytes,
    _TYPES["int2"].oid: struct.Struct("!h").pack,
    _TYPES["int4"].oid: struct.Struct("!i").pack,
    _TYPES["int8"].oid: struct.Struct("!q").pack,
    _TYPES["xid8"].oid: struct.Struct("!Q").pack,
    _TYPES["uuid"].oid: _uuid,
    _TYPES["timestamptz"].oid: _instant,
}
_ELEMENTS = {type_.array_oid: type_.oid for type_ in _TYPES if type_.array_oid}


def encoder(oid: int) -> tuple[Encode, Format]:
    """How a value of the type is written, and in which format."""
    if oid in _BINARY:
        return _BINARY[oid], Format.BINARY
    element = _ELEMENTS.get(oid)
    if element in _BINARY:
        encode = _BINARY[element]
        return partial(_array, element, encode), Format.BINARY
    return (_array_text if element is not None else _text), Format.TEXT


def element_of(oid: int) -> int | None:
    """The type of an array's elements, where they are written in binary form."""
    element = _ELEMENTS.get(oid)
    return element if element in _BINARY else None


def array_header(element_oid: int, count: int) -> bytes:
    """What stands before the elements of an array of one dimension, each ``with_length``."""
    return _HEADER.pack(1, 0, element_oid, count, 1) if count else struct.pack("!iiI", 0, 0, element_oid)


def with_length(encoded: bytes) -> bytes:
    return _LENGTH.pack(len(encoded)) + encoded


def _array(element_oid: int, encode: Encode, values: Sequence[Any]) -> bytes:
    return array_header(element_oid, len(values)) + b"".join(with_length(encode(value)) for value in values)


def decoder(oid: int) -> Callable[[bytes], Any]:
    """What a value of the type says, from its binary form."""
    if oid == _TYPES["xid8"].oid:
        return lambda data: int.from_bytes(data, "big")
    load = adapters.get_loader(oid, Format.BINARY)
    return bytes if load is None else load(oid, None).load


def _text(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return (value.isoformat() if isinstance(value, datetime) else str(value)).encode()


def _array_text(values: Sequence[Any]) -> bytes:
    quoted = (_text(value).replace(b"\\", rb"\\").replace(b'"', rb"\"") for value in values)
    return b"{" + b",".join(b'"' + element + b'"' for element in quoted) + b"}"
