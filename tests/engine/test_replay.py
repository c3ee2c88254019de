"""A state from a snapshot equals one from all events; a snapshot that is no good is passed over with a warning."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from eventmark.domain import SequenceNumber, Snapshot, StoredEvent
from eventmark.engine import PostgresEventStore, Replayed, replay_aggregate
from eventmark.errors import InvalidEventError, StoreUnavailableError
from tests.engine.builders import SCHEMA, new_event, stream_of


def begin() -> list[int]:
    return []


def apply(state: list[int], event: StoredEvent) -> list[int]:
    return [*state, event.payload()["n"]]


def restore(snapshot: Snapshot) -> list[int]:
    state: list[int] = json.loads(str(snapshot.payload))["seen"]
    return [number + 0 for number in state]


async def replayed(
    store: PostgresEventStore, tenant_id: str = "acme", aggregate_id: str = "a-1"
) -> Replayed[list[int]]:
    return await replay_aggregate(
        store, tenant_id, aggregate_id, begin=begin, apply=apply, restore=restore, revisions=("1.0", "1.1")
    )


@pytest.fixture
async def filled(store: PostgresEventStore) -> PostgresEventStore:
    """A store whose aggregate has the events 1 to 10."""
    events = [new_event(payload={"n": number}) for number in range(1, 11)]
    await store.append_events(stream_of(), events, expected_version=0)
    return store


async def keep(store: PostgresEventStore, sequence_number: int, **changes: Any) -> None:
    fields: dict[str, Any] = {"payload": {"seen": list(range(1, sequence_number + 1))}, **changes}
    await store.store_snapshot(
        Snapshot(
            stream=stream_of(), sequence_number=SequenceNumber(sequence_number), payload_type="S",
            timestamp=datetime.now(UTC), **fields,
        )
    )  # fmt: skip


ALL = list(range(1, 11))


async def test_without_a_snapshot_all_events_are_replayed_and_nothing_is_warned_of(
    filled: PostgresEventStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert await replayed(filled) == Replayed(ALL, 10, 0)
    assert await replayed(filled, aggregate_id="nobody") == Replayed([], 0, 0)
    assert not caplog.records


@pytest.mark.parametrize("sequence_number", [1, 7, 10])
@pytest.mark.parametrize("revision", ["1.0", "1.1"])
async def test_a_snapshot_and_what_follows_it_are_the_state_of_all_events(
    filled: PostgresEventStore, caplog: pytest.LogCaptureFixture, sequence_number: int, revision: str
) -> None:
    await keep(filled, sequence_number, payload_revision=revision)
    assert await replayed(filled) == Replayed(ALL, 10, sequence_number)
    assert not caplog.records


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown revision": ({"payload_revision": "2.0"}, "revision is '2.0'"),
    "a key missing": ({"payload": {"sene": [1]}}, "KeyError"),
    "another shape": ({"payload": {"seen": 7}}, "TypeError"),
    "a value of another type": ({"payload": {"seen": ["confidential"]}}, "TypeError"),
    "nothing": ({"payload": {}}, "KeyError"),
}


@pytest.mark.parametrize(("changes", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_a_snapshot_that_no_state_can_be_made_of_is_passed_over_with_a_warning(
    filled: PostgresEventStore, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
) -> None:
    await keep(filled, 7, **changes)
    assert await replayed(filled) == Replayed(ALL, 10, 0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    assert "confidential" not in record.getMessage()


async def test_a_snapshot_beyond_its_streams_end_is_passed_over_with_a_warning(
    filled: PostgresEventStore, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """No store takes one; a table restored without its last events has it all the same."""
    await keep(filled, 10, payload={"seen": [99]})
    for beyond in (11, 500):
        await connection.execute(f"update {SCHEMA}.aggregate_snapshots set sequence_number = {beyond}")
        assert await replayed(filled) == Replayed(ALL, 10, 0)
        assert "beyond the end" in caplog.records.pop().getMessage()


async def test_a_snapshot_that_the_server_cannot_read_is_passed_over_with_a_warning(
    filled: PostgresEventStore, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await keep(filled, 7)
    await connection.execute(f"alter table {SCHEMA}.aggregate_snapshots rename to moved")
    assert await replayed(filled) == Replayed(ALL, 10, 0)
    assert "cannot be read" in caplog.records[0].getMessage()


async def test_another_tenants_snapshot_is_not_used(filled: PostgresEventStore) -> None:
    await keep(filled, 7, payload={"seen": [99]})
    mine = [new_event(payload={"n": 5})]
    await filled.append_events(stream_of(tenant_id="other"), mine, expected_version=0)
    assert await replayed(filled, "other") == Replayed([5], 1, 0)


async def test_a_store_that_is_away_or_an_id_that_is_none_is_an_error_and_no_empty_state(
    filled: PostgresEventStore,
) -> None:
    with pytest.raises(InvalidEventError):
        await replayed(filled, aggregate_id="")
    await filled.close()
    with pytest.raises(StoreUnavailableError):
        await replayed(filled)
