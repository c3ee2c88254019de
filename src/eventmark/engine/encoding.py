"""What goes to the server: checked, encoded, and refused with a typed error before anything is sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import jiter

from eventmark.domain import NewEvent, StreamId
from eventmark.engine.written_out import (
    NUMBER_DIGITS_MAX,
    STRING,
    check_escapes,
    check_written_out,
    encoded_text,
)
from eventmark.errors import InvalidEventError

ID_LENGTH_MAX = 255
BATCH_EVENTS_MAX = 10_000
VERSION_MAX = 2**63 - 1
DOCUMENT_DEPTH_MAX = 500
BATCH_CHARACTERS_MAX = 128 * 2**20  # the server takes messages of less than 1 GB
GROUP_SEPARATOR = "\x1e"  # ASCII's record separator
# The driver writes these two as -infinity and infinity, which come back as no instants at all.
_INFINITIES = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def checked_id(value: object, name: str) -> str:
    """``value``, if it can be stored as an id: a ``str`` of 1 to 255 characters, not blank, no NUL, valid Unicode."""
    if type(value) is not str:
        raise InvalidEventError(f"{name} must be a str, got {type(value).__name__}")
    if not 0 < len(value) <= ID_LENGTH_MAX:
        raise InvalidEventError(f"{name} must have 1 to {ID_LENGTH_MAX} characters, got {len(value)}")
    if value.isascii():
        if not value.isprintable() or value.strip() != value:
            raise InvalidEventError(f"{name} must not hold control characters or begin or end with a space")
    else:
        _check_unicode(value, name)
    return value


def checked_version(value: object, name: str, *, lowest: int = 0) -> int:
    """``value``, if it is an ``int`` (and not a ``bool``) that fits a ``bigint``: a version or sequence number."""
    if type(value) is not int:
        raise InvalidEventError(f"{name} must be an int, got {type(value).__name__}")
    if not lowest <= value <= VERSION_MAX:
        raise InvalidEventError(f"{name} must be from {lowest} to 2^63 - 1, got {value}")
    return value


def checked_instant(value: object, name: str) -> datetime:
    """A point in time: a ``datetime`` with a time zone, of no more than microseconds."""
    if not isinstance(value, datetime):
        raise InvalidEventError(f"{name} must be a datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidEventError(f"{name} must carry a time zone")
    if value.year in (1, 9999) and value in _INFINITIES:
        raise InvalidEventError(f"{name} must not be the calendar's first or last instant")
    if type(value) is not datetime and getattr(value, "nanosecond", None):
        raise InvalidEventError(f"{name} must not have nanoseconds, the server keeps microseconds")
    return value


def checked_stream(stream: StreamId) -> StreamId:
    """``stream``, if its three ids are valid. Its type must not contain ``:``, so that ``stream_id`` is unambiguous."""
    checked_id(stream.tenant_id, "tenant_id")
    checked_id(stream.aggregate_id, "aggregate_id")
    if ":" in checked_id(stream.aggregate_type, "aggregate_type"):
        raise InvalidEventError("aggregate_type must not hold ':'")
    return stream


def encoded_document(document: dict[str, Any] | str, name: str) -> str:
    """A JSON object as text, which can be read again. A ``str`` is taken as JSON already; the server checks it."""
    shallow = False
    encoded = None
    if isinstance(document, dict):
        document = _encode(document, name)
        if not 0 < sys.get_int_max_str_digits() <= NUMBER_DIGITS_MAX:
            encoded = document.encode()
    elif type(document) is not str:
        raise InvalidEventError(f"{name} must be a dict or a str of JSON, got {type(document).__name__}")
    elif not document.startswith("{") and not document.lstrip(" \t\n\r").startswith("{"):
        raise InvalidEventError(f"{name} must be a JSON object")
    else:
        encoded = encoded_text(document, name)
        if encoded.count(b":") > 1:
            shallow = _has_keys_once(document, encoded, name)
    check_written_out(document, encoded, name)
    check_escapes(document, name)
    # The server takes documents some 10,000 deep that no consumer's decoder gets through again.
    if (
        not shallow
        and document.count("{") + document.count("[") > DOCUMENT_DEPTH_MAX
        and _depth(document) > DOCUMENT_DEPTH_MAX
    ):
        raise InvalidEventError(f"{name} must be at most {DOCUMENT_DEPTH_MAX} deep")
    return document


class CheckedBatch(NamedTuple):
    """One append, checked and encoded: its stream, its condition, and each event's values in the columns' order."""

    tenant_id: str
    aggregate_id: str
    aggregate_type: str
    expected_version: int
    events: list[tuple[UUID, str, str, str, datetime, str, str]]

    @property
    def event_ids(self) -> tuple[UUID, ...]:
        return tuple(event[0] for event in self.events)

    def arguments(self) -> tuple[Any, ...]:
        """Those of ``append_events.sql``, in its order."""
        return (*self[:4], *map(list, zip(*self.events, strict=True)))


def append_arguments(stream: StreamId, events: Sequence[NewEvent], expected_version: int) -> tuple[Any, ...]:
    """The arguments of ``append_events.sql``, in its order; everything checked."""
    return checked_batch(stream, events, expected_version).arguments()


def checked_batch(stream: StreamId, events: Sequence[NewEvent], expected_version: int) -> CheckedBatch:
    """An append as it may be sent. Raises ``InvalidEventError``."""
    try:
        return _checked_batch(stream, events, expected_version)
    except AttributeError as error:
        raise InvalidEventError(f"not a StreamId, or not NewEvents: {error}") from error


def _checked_batch(stream: StreamId, events: Sequence[NewEvent], expected_version: int) -> CheckedBatch:
    checked_stream(stream)
    count = _checked_count(events)
    checked_version(expected_version, "expected_version")
    if expected_version > VERSION_MAX - count:
        raise InvalidEventError(f"a stream ends at 2^63 - 1 events, {expected_version} + {count} is beyond")
    checked = [_checked_event(event) for event in events]
    if count > 1:  # nearly every append is of one event, and by itself it breaks no limit of a batch
        if len({event[0] for event in checked}) != count:
            raise InvalidEventError("the batch contains an event id twice")
        characters = sum(len(payload) + len(metadata) for _, _, payload, metadata, *_ in checked)
        if characters > BATCH_CHARACTERS_MAX:
            raise InvalidEventError(
                f"a batch holds at most {BATCH_CHARACTERS_MAX} characters, got {characters}"
            )
    return CheckedBatch(
        stream.tenant_id, stream.aggregate_id, stream.aggregate_type, expected_version, checked
    )


def _checked_event(event: NewEvent) -> tuple[UUID, str, str, str, datetime, str, str]:
    """An event's values in the order of the statement's columns."""
    return (
        _checked_event_id(event.event_id),
        checked_id(event.event_type, "event_type"),
        encoded_document(event.payload, "payload"),
        encoded_document(event.metadata, "metadata"),
        checked_instant(event.timestamp, "timestamp"),
        checked_id(event.payload_type, "payload_type"),
        checked_id(event.payload_revision, "payload_revision"),
    )


def group_arguments(batches: Sequence[CheckedBatch]) -> tuple[Any, ...]:
    """The arguments of ``append_group.sql``.

    A column is sent as one text, its values joined by ``GROUP_SEPARATOR``: the driver encodes a text at once, and an
    array value by value. Raises ``InvalidEventError`` for an id or a document that contains the separator, which no
    valid JSON does.
    """
    *names, events = zip(*batches, strict=True)
    event_ids, event_types, payloads, metadatas, timestamps, payload_types, revisions = zip(
        *chain.from_iterable(events), strict=True
    )
    documents = GROUP_SEPARATOR.join(payloads), GROUP_SEPARATOR.join(metadatas)
    if any(text.count(GROUP_SEPARATOR) >= len(payloads) for text in documents):
        raise InvalidEventError("a document holds a control character, which is no JSON")
    if sum(map(len, documents)) > BATCH_CHARACTERS_MAX:
        raise InvalidEventError(f"a group holds at most {BATCH_CHARACTERS_MAX} characters")
    return (
        *(GROUP_SEPARATOR.join(map(str, column)) for column in names),
        *_places_in_batches(tuple(map(len, events))),
        GROUP_SEPARATOR.join([event_id.hex for event_id in event_ids]),
        GROUP_SEPARATOR.join(event_types),
        *documents,
        timestamps,
        GROUP_SEPARATOR.join(payload_types),
        GROUP_SEPARATOR.join(revisions),
    )


@lru_cache(maxsize=1024)  # nearly every group has one event a batch, and comes in all sizes
def _places_in_batches(counts: tuple[int, ...]) -> tuple[str, str]:
    """For each event the number of its batch, and its step in it; both from 1."""
    batches = (number for number, count in enumerate(counts, 1) for _ in range(count))
    steps = (step for count in counts for step in range(1, count + 1))
    return GROUP_SEPARATOR.join(map(str, batches)), GROUP_SEPARATOR.join(map(str, steps))


def _checked_count(events: Sequence[NewEvent]) -> int:
    try:
        count = len(events)
    except TypeError:
        raise InvalidEventError("events must be a sequence, such as a list") from None
    if not 0 < count <= BATCH_EVENTS_MAX:
        raise InvalidEventError(f"a batch holds 1 to {BATCH_EVENTS_MAX} events, got {count}")
    return count


def _checked_event_id(value: object) -> UUID:
    if not isinstance(value, UUID):
        raise InvalidEventError(f"event_id must be a UUID, got {type(value).__name__}")
    if not value.int:
        raise InvalidEventError("event_id must not be the nil UUID")
    return value


def _check_unicode(value: str, name: str) -> None:
    if not value.isprintable() and any(_is_control(character) for character in value):
        raise InvalidEventError(f"{name} must not hold control, bidirectional or surrogate characters")
    if value.strip() != value:
        raise InvalidEventError(f"{name} must not begin or end with a space")


def _is_control(character: str) -> bool:
    code = ord(character)
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or code in (0x061C, 0x200E, 0x200F)
        or 0x2028 <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xD800 <= code <= 0xDFFF
    )


def _encode(document: dict[str, Any], name: str) -> str:
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()  # lone surrogates fail here
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEventError(f"{name} is not a JSON document: {error}") from error
    _check_keys(document.items(), name)
    return text


def _has_keys_once(text: str, encoded: bytes, name: str) -> bool:
    """Refuse a key that occurs twice in an object: ``jsonb`` would keep the last, decoders choose for ``json``.

    Anything else that is wrong is left to the server, which decides what JSON is. Whether the quick look was
    enough: it goes some 200 deep.
    """
    try:
        jiter.from_json(encoded, catch_duplicate_keys=True, cache_mode="none")
    except ValueError:  # or too deep for it, or a number too long: another look, which is slower
        with suppress(ValueError, RecursionError):
            json.loads(text, object_pairs_hook=partial(_unlike_pairs, name), parse_int=str, parse_float=str)
        return False
    return True


def _unlike_pairs(name: str, pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise InvalidEventError(f"{name} has an object with a key that occurs twice")


def _depth(text: str) -> int:
    """The most brackets open at once, those in strings left out."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check_keys(items: Iterable[tuple[Any, Any]], name: str) -> None:
    for key, value in items:
        if type(key) is not str:
            # json.dumps writes 1 and "1" as the same key: one of the two would vanish
            raise InvalidEventError(f"{name} has a key that is not a str: {key!r}")
        if isinstance(value, dict):
            _check_keys(value.items(), name)
        elif isinstance(value, list | tuple):
            _check_keys(((key, item) for item in value if isinstance(item, dict | list | tuple)), name)
