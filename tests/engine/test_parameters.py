"""Numbers and DSNs that cannot be used end in a ``UsageError`` that names the parameter, before anything is done."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventmark.engine import EventProcessor, GroupAppender, PostgresEventStore
from eventmark.engine.metrics import expose_metrics
from eventmark.errors import StoreUnavailableError, UsageError

NOWHERE = "postgresql://user:secret@localhost:1/db"
NO_SECONDS = [math.nan, math.inf, -math.inf, 1e300, 10**400, True, "1", [1]]
NO_COUNTS = [math.nan, math.inf, 1.0, -1, 2**40, 10**400, True, "1", [1]]
Call = Callable[[PostgresEventStore, str, Any], Awaitable[object]]


async def _connect(_: PostgresEventStore, name: str, value: Any) -> object:
    return await PostgresEventStore.connect(NOWHERE, **{name: value})


async def _wait(store: PostgresEventStore, name: str, value: Any) -> object:
    return await store.stream_events(await store.create_tail_token(), **{name: value})


async def _group(store: PostgresEventStore, name: str, value: Any) -> object:
    return GroupAppender(store, **{name: value})


async def _processor(store: PostgresEventStore, name: str, value: Any) -> object:
    async def handle(*_: object) -> None: ...

    return EventProcessor(store, "one", handle, **{name: value})


async def _metrics(store: PostgresEventStore, name: str, value: Any) -> object:
    return await expose_metrics(store, **{name: value})


SECONDS: list[tuple[Call, str, list[Any]]] = [
    (_connect, "acquire_timeout_s", [0, -1]),
    (_connect, "operation_timeout_s", [0, -1]),
    (_connect, "poll_interval_s", [0, -1, None]),
    (_wait, "wait_s", [None]),
    (_processor, "lease_s", [0, -1, None]),
    (_metrics, "interval_s", [0, -1, None]),
]
COUNTS: list[tuple[Call, str, list[Any]]] = [
    (_connect, "pool_min", []),
    (_connect, "pool_max", [0]),
    (_connect, "batch_bytes_max", [0]),
    (_group, "groups_at_a_time", [0]),
    (_group, "group_events_max", [0]),
    (_processor, "segments", [0, 10_001]),
    (_processor, "batch_events", [0, 100_001]),
    (_metrics, "port", [65_536]),
]


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [(call, name, value) for call, name, more in SECONDS for value in (*NO_SECONDS, *more)]
    + [(call, name, value) for call, name, more in COUNTS for value in (*NO_COUNTS, *more)],
    ids=lambda value: ascii(value)[:20] if not callable(value) else value.__name__,
)
async def test_a_number_that_cannot_be_used_is_refused_by_its_name(
    common_store: PostgresEventStore, call: Call, name: str, value: Any
) -> None:
    with pytest.raises(UsageError, match=f"^{name} must be ") as refused:
        await call(common_store, name, value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "dsn",
    [
        None, 5, b"postgresql://user@localhost/db", "nothing", "mysql://user:secret@localhost/db",
        "postgresql://user:secret@localhost:65537/db", "postgresql://user:secret@localhost:0/db",
        "postgresql://user:secret@localhost:-1/db", "postgresql://user:secret@localhost:five/db",
        "postgresql://user:secret@localhost,other:99999/db", "postgresql://user:secret@localhost/db?port=99999",
        "postgresql://user:secret@localhost/db?port=5432,0", "postgresql://user:secret@[::1/db",
        "postgresql://user:se/cret@localhost:5432/db", "postgresql://user:secret@localhost\0/db",
        "postgresql://user:secret@\udcff/db", f"postgresql://user:secret@{'x' * 300}/db",
        "postgresql://user:secret@localhost/db?sslmode=odd",
        "postgresql://user:secret@localhost/db?target_session_attrs=odd",
    ],
    ids=lambda dsn: ascii(dsn)[:60],
)  # fmt: skip
async def test_a_dsn_that_cannot_be_read_is_refused_without_a_part_of_it(dsn: Any) -> None:
    with pytest.raises(UsageError, match="DSN") as refused:
        await PostgresEventStore.connect(dsn, acquire_timeout_s=5)
    for part in ("secret", "cret", "user:", "localhost"):
        assert part not in str(refused.value)


@pytest.mark.parametrize(
    "dsn", ["postgresql://u:p%40@localhost:1/d", "postgresql://u@[::1]:1,localhost:65535/d"]
)
async def test_a_port_that_there_can_be_is_tried(dsn: str) -> None:
    with pytest.raises(StoreUnavailableError):
        await PostgresEventStore.connect(dsn, acquire_timeout_s=5)
