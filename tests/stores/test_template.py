"""The example that ``stores new`` writes does what its headers promise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from eventmark.domain import NewEvent
from eventmark.stores import make_scratch_store, open_store, read_definition, write_template
from tests.engine.builders import new_event, read_on, stream_of


async def test_a_consumer_from_an_instant_misses_nothing_of_a_clock_that_was_ahead(
    database: str, tmp_path: Path
) -> None:
    """An hour ahead for 250 events, 20 right ones after each 25 of them, and 300 right ones in the end."""
    write_template(tmp_path / "own")
    definition = read_definition(tmp_path / "own")
    await make_scratch_store(database, definition, "tried")
    instant = datetime(2026, 3, 1, 12, tzinfo=UTC)
    due: list[NewEvent] = [new_event(timestamp=instant + timedelta(seconds=second)) for second in range(300)]
    async with await open_store(definition, database, schema="tried", pool_max=1) as store:
        early = [new_event(timestamp=instant - timedelta(hours=1, seconds=second)) for second in range(90)]
        await store.append_events(stream_of("early"), early, expected_version=0)
        for turn in range(10):
            ahead = [new_event(timestamp=instant + timedelta(minutes=30, seconds=turn)) for _ in range(25)]
            right = [new_event(timestamp=instant - timedelta(minutes=30 - turn)) for _ in range(20)]
            await store.append_events(stream_of("ahead"), ahead, expected_version=25 * turn)
            await store.append_events(stream_of("right"), right, expected_version=20 * turn)
            due = [*ahead, *due]
        await store.append_events(stream_of("late"), due[250:], expected_version=0)
        token = await store.create_token_at(instant)
        batch = await read_on(store, token, 250 + 200 + 300)
        assert {event.event_id for event in due} <= {event.event_id for event in batch.events}
        assert not (await store.stream_events(batch.token)).events  # nor the 90 before all of them
