"""Bad ids, versions, batches and instants end in a typed error; odd but good ones are kept as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from eventmark.domain import NewEvent, Snapshot
from eventmark.engine import PostgresEventStore
from eventmark.errors import InvalidEventError
from tests.engine.builders import append_refused, event_count, new_event, new_events, stream_of

REFUSED_IDS: dict[str, Any] = {
    "empty": "",
    "a blank": " ",
    "blanks": " \u3000 ",
    "256 characters": "x" * 256,
    "256 four-byte characters": "😀" * 256,
    "a space before": " a",
    "a space behind": "a ",
    "a wide space behind": "a\u3000",
    "a new line behind": "a\n",
    "a new line inside": "a\nb",
    "a tabulator": "a\tb",
    "a line separator": "a\u2028b",
    "a paragraph separator": "a\u2029b",
    "a zero character": "a\0b",
    "delete": "a\x7f",
    "a C1 control": "é\x85b",
    "an escape": "\x1b[31m",
    "a right-to-left override": "a\u202eb",
    "a right-to-left mark": "a\u200fb",
    "a left-to-right mark": "a\u200eb",
    "an Arabic letter mark": "a\u061cb",
    "a first strong isolate": "a\u2068b",
    "a lone surrogate": "a\ud800",
    "an int": 7,
    "a UUID": UUID(int=7),
    "None": None,
    "bytes": b"a",
    "a list": ["a"],
}


@pytest.mark.parametrize("value", REFUSED_IDS.values(), ids=REFUSED_IDS.keys())
async def test_an_id_that_is_no_plain_text_is_refused_everywhere(
    common_store: PostgresEventStore, tenant: str, value: Any
) -> None:
    for field in ("event_type", "payload_type", "payload_revision"):
        await append_refused(common_store, f"{tenant}-{field}", [new_event(), new_event(**{field: value})])
    for number, place in enumerate(("tenant_id", "aggregate_id", "kind")):
        await append_refused(
            common_store, f"{tenant}-{number}", [new_event()], **{"tenant_id": tenant, place: value}
        )
        tenant += "x"
    token = await common_store.create_tail_token()
    for reading in (
        lambda: common_store.load_aggregate(value, "a"),
        lambda: common_store.load_aggregate("t", value),
        lambda: common_store.read_snapshot(value, "a"),
        lambda: common_store.read_snapshot("t", value),
    ):
        with pytest.raises(InvalidEventError):
            await reading()  # type: ignore[no-untyped-call]
    if value is not None:
        with pytest.raises(InvalidEventError):
            await common_store.stream_events(token, tenant_id=value)


KEPT_IDS = {
    "one character": "x",
    "255 characters": "x" * 255,
    "255 four-byte characters": "😀" * 255,
    "random four-byte characters": "".join(chr(0x10000 + 37 * number) for number in range(255)),
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "lower case": "straße",
    "upper case": "STRASSE",
    "quotes": 'o\'hara "x" `y`',
    "placeholders": "%s {} {0} :name $1 ? ;--",
    "a space inside": "a b",
    "delimiters": "a:b-c/d|e,f",
    "an emoji of several": "👩‍👩‍👧",
    "a number": "007",
    "null": "null",
    "other scripts": "عربى日本語",
}


@pytest.mark.parametrize("value", KEPT_IDS.values(), ids=KEPT_IDS.keys())
async def test_an_odd_id_is_kept_character_by_character(common_store: PostgresEventStore, value: str) -> None:
    kind = value.replace(":", ";")
    event = new_event(event_type=value, payload_type=value, payload_revision=value)
    await common_store.append_events(
        stream_of(value, tenant_id=value, kind=kind), [event], expected_version=0
    )
    (stored,) = await common_store.load_aggregate(value, value)
    assert (stored.tenant_id, stored.aggregate_id, stored.aggregate_type) == (value, value, kind)
    assert (stored.event_type, stored.payload_type, stored.payload_revision) == (value, value, value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-b", "c"), ("a", "b-c")),
        (("caf\u00e9", "x"), ("cafe\u0301", "x")),
        (("x", "\u212b"), ("x", "\u00c5")),
        (("x", "ID"), ("x", "id")),
        (("x", "İ"), ("x", "i")),
        (("x", "a:b"), ("x", "a;b")),
        (("x_y", "z"), ("x%y", "z")),
    ],
)
async def test_ids_that_look_alike_are_different_streams(
    store: PostgresEventStore, one: tuple[str, str], other: tuple[str, str]
) -> None:
    for count, (tenant_id, aggregate_id) in enumerate((one, other), 1):
        await store.append_events(
            stream_of(aggregate_id, tenant_id=tenant_id), new_events(count), expected_version=0
        )
    assert len(await store.load_aggregate(*one)) == 1
    assert len(await store.load_aggregate(*other)) == 2


@pytest.mark.parametrize("kind", ["a:b", ":", "Order:"])
async def test_a_type_with_the_delimiter_is_refused(
    common_store: PostgresEventStore, tenant: str, kind: str
) -> None:
    await append_refused(common_store, tenant, [new_event()], kind=kind)


@pytest.mark.parametrize("value", [str(UUID(int=7)), "not-a-uuid", UUID(int=0), None, 7, b"0" * 16], ids=repr)
async def test_an_event_id_that_is_no_uuid_is_refused(
    common_store: PostgresEventStore, tenant: str, value: Any
) -> None:
    await append_refused(common_store, tenant, [new_event(), new_event(event_id=value)])


@pytest.mark.parametrize(
    "version", [-1, 2**63, 2**63 - 1, 2**64, 10**30, True, False, 0.0, 1.0, "0", "1", None], ids=repr
)
async def test_a_version_that_is_none_is_refused(
    common_store: PostgresEventStore, tenant: str, version: Any
) -> None:
    await append_refused(common_store, tenant, [new_event()], expected_version=version)


@pytest.mark.parametrize("value", [-1, 2**63, True, 1.0, "1", None], ids=repr)
async def test_a_sequence_number_that_is_none_is_refused(
    common_store: PostgresEventStore, tenant: str, value: Any
) -> None:
    with pytest.raises(InvalidEventError):
        await common_store.load_aggregate(tenant, "a-1", from_sequence=value)
    snapshot = Snapshot(
        stream=stream_of(tenant_id=tenant), sequence_number=value, payload={}, payload_type="S",
        timestamp=datetime.now(UTC),
    )  # fmt: skip
    with pytest.raises(InvalidEventError):
        await common_store.store_snapshot(snapshot)


@pytest.mark.parametrize("limit", [0, -1, 10**12, True, 1.0, "1", None], ids=repr)
async def test_a_limit_that_is_none_is_refused(common_store: PostgresEventStore, limit: Any) -> None:
    with pytest.raises(InvalidEventError):
        await common_store.stream_events(await common_store.create_tail_token(), limit=limit)


async def test_a_stream_at_the_last_version_there_is_takes_no_more(
    store: PostgresEventStore, tenant: str
) -> None:
    await store.append_events(stream_of(tenant_id=tenant), [new_event()], expected_version=0)
    session = await store.pool.acquire()
    await session.connection.execute("alter table eventmark.domain_events disable trigger user")
    await session.connection.execute("update eventmark.domain_events set sequence_number = $1", 2**63 - 2)
    store.pool.release(session)
    stream = stream_of(tenant_id=tenant)
    await store.append_events(stream, [new_event()], expected_version=2**63 - 2)
    for size in (1, 2):
        with pytest.raises(InvalidEventError):
            await store.append_events(stream, new_events(size), expected_version=2**63 - 1)
    assert [event.sequence_number for event in await store.load_aggregate(tenant, "a-1")] == [
        2**63 - 2,
        2**63 - 1,
    ]


class _FailingHalfWay(Sequence[NewEvent]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: Any) -> Any:
        return new_event()

    def __iter__(self) -> Iterator[NewEvent]:
        yield from new_events(2)
        raise RuntimeError("half way")


@pytest.mark.parametrize(
    "batch", [[], (), iter(new_events(2)), None, 7, "abc", [None], [{}], {"a": 1}, [[new_event()]]]
)
async def test_a_batch_that_is_none_is_refused(
    common_store: PostgresEventStore, tenant: str, batch: Any
) -> None:
    await append_refused(common_store, tenant, batch)


@pytest.mark.parametrize("stream", [None, "acme", ("acme", "Order", "a-1"), {}], ids=repr)
async def test_a_stream_that_is_none_is_refused(common_store: PostgresEventStore, stream: Any) -> None:
    with pytest.raises(InvalidEventError):
        await common_store.append_events(stream, [new_event()], expected_version=0)


async def test_a_batch_with_an_event_id_twice_is_refused(
    common_store: PostgresEventStore, tenant: str
) -> None:
    event = new_event()
    await append_refused(common_store, tenant, [event, new_event(), event])


async def test_a_batch_whose_last_event_is_invalid_is_refused_whole(
    common_store: PostgresEventStore, tenant: str
) -> None:
    await append_refused(common_store, tenant, [*new_events(99), new_event(payload='{"a": }')])
    await append_refused(common_store, tenant + "-2", [*new_events(99), new_event(event_type="")])


async def test_a_batch_of_a_million_events_is_refused(common_store: PostgresEventStore, tenant: str) -> None:
    await append_refused(common_store, tenant, [new_event()] * 1_000_000)


async def test_events_that_fail_half_way_fail_as_they_do_and_write_nothing(
    common_store: PostgresEventStore, tenant: str
) -> None:
    before = await event_count(common_store)
    with pytest.raises(RuntimeError, match="half way"):
        await common_store.append_events(stream_of(tenant_id=tenant), _FailingHalfWay(), expected_version=0)
    assert await event_count(common_store) == before
    assert common_store.pool.in_use == 0


class _Nowhere(tzinfo):
    """A time zone that does not say where it is: to Python, its times are naive."""

    def utcoffset(self, when: datetime | None) -> None:
        return None

    def tzname(self, when: datetime | None) -> str:
        return "nowhere"

    def dst(self, when: datetime | None) -> None:
        return None


class _Nanoseconds(datetime):
    nanosecond = 500


@pytest.mark.parametrize(
    "value",
    [datetime(2026, 1, 1, tzinfo=_Nowhere()), _Nanoseconds(2026, 1, 1, tzinfo=UTC),
     datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC),
     datetime(1, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))), datetime(2026, 1, 1),
     datetime.min, datetime.max, date(2026, 1, 1), 1_767_225_600, "2026-01-01T00:00Z",
     "infinity", float("inf"), None],
)  # fmt: skip
async def test_a_timestamp_that_is_no_instant_is_refused(
    common_store: PostgresEventStore, tenant: str, value: Any
) -> None:
    await append_refused(common_store, tenant, [new_event(), new_event(timestamp=value)])
    with pytest.raises(InvalidEventError):
        await common_store.create_token_at(value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
    ids=str,
)
async def test_an_instant_that_has_no_place_in_the_calendar_is_refused(
    common_store: PostgresEventStore, tenant: str, value: datetime
) -> None:
    await append_refused(common_store, tenant, [new_event(timestamp=value)])


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2500, 6, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    ],
    ids=str,
)
async def test_an_instant_is_kept_to_the_microsecond(
    common_store: PostgresEventStore, tenant: str, value: datetime
) -> None:
    event = new_event(timestamp=value)
    await common_store.append_events(stream_of(tenant_id=tenant), [event], expected_version=0)
    (stored,) = await common_store.load_aggregate(tenant, "a-1")
    assert stored.timestamp.astimezone(UTC) == value.astimezone(UTC)


@pytest.mark.parametrize(
    "value", ["294276-12-31 23:59:59+00", "10000-01-01 00:00+00", "4713-01-01 00:00+00 BC"]
)
async def test_a_stored_instant_that_no_datetime_holds_is_a_typed_error_and_the_store_goes_on(
    store: PostgresEventStore, connection: asyncpg.Connection, value: str
) -> None:
    """No append writes one; what somebody else wrote is there all the same."""
    await store.append_events(stream_of(), [new_event()], expected_version=0)
    await connection.execute("alter table eventmark.domain_events disable trigger user")
    await connection.execute(f"update eventmark.domain_events set timestamp_utc = '{value}'")
    with pytest.raises(InvalidEventError, match="out of range"):
        await store.load_aggregate("acme", "a-1")
    await store.append_events(stream_of(), [new_event()], expected_version=1)


async def test_the_sessions_time_zone_changes_nothing(common_dsn: str, tenant: str) -> None:
    value = datetime(2026, 7, 1, 12, tzinfo=UTC)
    for zone in ("Asia/Tokyo", "America/St_Johns"):
        async with await PostgresEventStore.connect(f"{common_dsn}?timezone={zone}") as store:
            event = new_event(timestamp=value)
            await store.append_events(stream_of(zone, tenant_id=tenant), [event], expected_version=0)
            (stored,) = await store.load_aggregate(tenant, zone)
            assert stored.timestamp == value


async def test_a_batch_may_be_any_sequence(common_store: PostgresEventStore, tenant: str) -> None:
    batch: Sequence[NewEvent] = tuple(new_events(2))
    await common_store.append_events(stream_of(tenant_id=tenant), batch, expected_version=0)
    assert len(await common_store.load_aggregate(tenant, "a-1")) == 2
