"""PostgreSQL's binary COPY format, made column by column instead of value by value.

The driver can encode records too, and does for tables with other column types. It converts each value by
itself; here, numbers are laid out by numpy, texts that repeat are encoded once, and only payloads are
encoded for each event. Format: PostgreSQL documentation, COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain

import numpy as np

from eventmark.workload import PAYLOAD_REVISION, BatchColumns, sliced

CHUNK_ROWS = 256

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01, microseconds since 1970
_VERSIONS = {"jsonb": b"\x01"}  # json is sent as text is

# The types this encoding is right for; a table with any other is loaded by the driver's own encoding.
COLUMN_TYPES: dict[str, tuple[str, ...]] = {
    "global_sequence_id": ("bigint",),
    "transaction_id": ("xid8", "bigint"),
    "sequence_number": ("bigint",),
    "expected_version": ("bigint",),
    "timestamp_utc": ("timestamp with time zone",),
    "event_id": ("uuid",),
    "tenant_id": ("text",),
    "stream_id": ("text",),
    "aggregate_type": ("text",),
    "aggregate_id": ("text",),
    "event_type": ("text",),
    "payload_type": ("text",),
    "payload_revision": ("text",),
    "payload": ("json", "jsonb", "text"),
    "metadata": ("json", "jsonb", "text"),
}

# Columns that are the same in all events of an aggregate, or of a type: one piece for the whole group.
_OF_AGGREGATE = ("tenant_id", "stream_id", "aggregate_type", "aggregate_id")
_OF_TYPE = ("event_type", "payload_type", "payload_revision")
_DOCUMENTS = ("payload", "metadata")


def is_known(types: Mapping[str, str]) -> bool:
    """Whether every column (our name → the table's type) has a type that ``encode`` writes."""
    return all(type_ in COLUMN_TYPES[name] for name, type_ in types.items())


def column_order(names: Iterable[str]) -> list[str]:
    """The mapped columns in the order ``encode`` writes them."""
    wanted = set(names)
    return [name for name in COLUMN_TYPES if name in wanted]


def encode(batch: BatchColumns, names: Sequence[str], types: Mapping[str, str]) -> Iterator[bytes]:
    """The batch in binary COPY format, with the columns ``names`` in that order (by ``column_order``), of ``types``.

    In pieces of ``CHUNK_ROWS``: the server works on one while the next is made.
    """
    fixed = [name for name in names if name in _NUMBERS or name == "event_id"]
    columns: list[list[bytes]] = [_fixed_width(batch, fixed, len(names))]
    for group, fields in ((_OF_AGGREGATE, _aggregate_fields), (_OF_TYPE, _type_fields)):
        wanted = [name for name in group if name in names]
        if wanted:
            columns.append(fields(batch, wanted))
    documents = [
        (batch.payloads if name == "payload" else batch.metadata, _VERSIONS.get(types[name], b""))
        for name in _DOCUMENTS
        if name in names
    ]
    yield _SIGNATURE
    for first in range(0, len(batch), CHUNK_ROWS):
        here = slice(first, first + CHUNK_ROWS)
        pieces = [column[here] for column in columns]
        for texts, version in documents:
            pieces += [[_document_head(len(text), version) for text in texts[here]], texts[here]]
        yield b"".join(chain.from_iterable(zip(*pieces, strict=True)))
    yield _TRAILER


_NUMBERS = {
    "global_sequence_id": lambda batch: batch.position,
    "transaction_id": lambda batch: batch.transaction_id,
    "sequence_number": lambda batch: batch.sequence,
    "expected_version": lambda batch: batch.sequence - 1,
    "timestamp_utc": lambda batch: batch.at_us - _POSTGRES_EPOCH_US,
}


def _fixed_width(batch: BatchColumns, names: Sequence[str], column_count: int) -> list[bytes]:
    """The number of columns and all columns of fixed width, one piece per row."""
    layout: list[tuple[str, str]] = [("columns", ">i2")]
    for name in names:
        layout += [(f"{name}_bytes", ">i4"), (name, "V16" if name == "event_id" else ">i8")]
    rows = np.empty(len(batch), dtype=layout)
    rows["columns"] = column_count
    for name in names:
        if name == "event_id":
            rows["event_id_bytes"] = 16
            rows["event_id"] = np.ascontiguousarray(batch.event_id).view("V16").ravel()
        else:
            rows[f"{name}_bytes"] = 8
            rows[name] = _NUMBERS[name](batch)
    return sliced(rows.tobytes(), rows.dtype.itemsize)


def _aggregate_fields(batch: BatchColumns, names: Sequence[str]) -> list[bytes]:
    """The columns of each event's aggregate, encoded once for each aggregate of the batch."""
    different, first, back = np.unique(batch.aggregate, return_index=True, return_inverse=True)
    fields = []
    for aggregate, tenant in zip(different.tolist(), batch.tenant[first].tolist(), strict=True):
        texts = {
            "tenant_id": batch.tenant_ids[tenant],
            "stream_id": batch.stream_ids[aggregate],
            "aggregate_type": batch.aggregate_types[aggregate],
            "aggregate_id": batch.aggregate_ids[aggregate],
        }
        fields.append(b"".join(_field(texts[name]) for name in names))
    return [fields[index] for index in back.tolist()]


def _type_fields(batch: BatchColumns, names: Sequence[str]) -> list[bytes]:
    """The columns of each event's type."""
    fields = [
        b"".join(_field(PAYLOAD_REVISION if name == "payload_revision" else text) for name in names)
        for text in batch.event_types
    ]
    return [fields[index] for index in batch.event_type.tolist()]


@cache
def _document_head(size: int, version: bytes) -> bytes:
    """What comes before a document of so many bytes: the field's length and the version of its encoding."""
    return (size + len(version)).to_bytes(4, "big") + version


def _field(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded
