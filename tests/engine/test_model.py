"""Random operations on the store and on a small obvious model of it give the same answers."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from eventmark.domain import NewEvent, SequenceNumber, Snapshot, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.errors import DuplicateEventError, SnapshotRefusedError, VersionConflictError
from tests.engine.builders import new_events, read_on, stream_of

STEPS = 250
TENANTS = ("acme", "other")
AGGREGATES = ("a-1", "a-2", "a-3")
Key = tuple[str, str]


@dataclass
class Model:
    """What a store does, said without a database: lists of event ids."""

    log: list[tuple[str, UUID]] = field(default_factory=list)
    streams: dict[Key, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    snapshots: dict[Key, tuple[int, str]] = field(default_factory=dict)

    def append(self, key: Key, events: list[NewEvent], expected_version: int) -> str:
        if len(self.streams[key]) != expected_version:
            return "conflict"
        if {(key[0], event.event_id) for event in events} & set(self.log):
            return "duplicate"
        self.streams[key] += [event.event_id for event in events]
        self.log += [(key[0], event.event_id) for event in events]
        return "stored"

    def store_snapshot(self, key: Key, sequence_number: int, payload: str) -> str:
        if sequence_number > len(self.streams[key]):
            return "refused"
        if key in self.snapshots and self.snapshots[key][0] > sequence_number:
            return "refused"
        self.snapshots[key] = (sequence_number, payload)
        return "stored"

    def after(self, place: int, tenant_id: str | None) -> list[UUID]:
        return [event_id for tenant, event_id in self.log[place:] if tenant_id in (None, tenant)]


class Comparison:
    """One run: draws operations, does each on both sides, compares."""

    def __init__(self, store: PostgresEventStore, seed: int) -> None:
        self.store = store
        self.model = Model()
        self.draw = random.Random(seed)
        self.tokens: list[tuple[int, TrackingToken]] = []

    async def run(self) -> None:
        self.tokens.append((0, await self.store.create_tail_token()))
        operations = (
            self.append,
            self.append,
            self.load,
            self.stream,
            self.head,
            self.snapshot,
            self.restore,
        )
        for _ in range(STEPS):
            await self.draw.choice(operations)()

    def key(self) -> Key:
        return self.draw.choice(TENANTS), self.draw.choice(AGGREGATES)

    async def append(self) -> None:
        key = self.key()
        events = new_events(self.draw.choice((1, 1, 2, 5)))
        if self.model.log and self.draw.random() < 0.15:
            old = self.draw.choice(self.model.log)[1]
            events.append(new_events(1, event_id=old)[0])
        version = max(0, len(self.model.streams[key]) + self.draw.choice((0, 0, 0, 0, -1, 1)))
        try:
            result = await self.store.append_events(
                stream_of(key[1], tenant_id=key[0]), events, expected_version=version
            )
        except VersionConflictError as conflict:
            assert conflict.actual_version == len(self.model.streams[key])
            answer = "conflict"
        except DuplicateEventError:
            answer = "duplicate"
        else:
            assert result.last_sequence_number == version + len(events)
            answer = "stored"
        assert answer == self.model.append(key, events, version)

    async def load(self) -> None:
        key, first = self.key(), self.draw.randint(0, 8)
        events = await self.store.load_aggregate(*key, from_sequence=first)
        expected = self.model.streams[key][max(first - 1, 0) :]
        assert [event.event_id for event in events] == expected
        assert [event.sequence_number for event in events] == list(
            range(max(first, 1), max(first, 1) + len(expected))
        )

    async def stream(self) -> None:
        place, token = self.draw.choice(self.tokens)
        tenant_id, limit = self.draw.choice((None, *TENANTS)), self.draw.randint(1, 20)
        expected = self.model.after(place, tenant_id)
        batch = await read_on(self.store, token, min(limit, len(expected)), limit=limit, tenant_id=tenant_id)
        assert [event.event_id for event in batch.events] == expected[: len(batch.events)]
        if tenant_id is None:
            self.tokens.append((place + len(batch.events), batch.token))

    async def head(self) -> None:
        place, token = self.tokens[-1]
        await read_on(self.store, token, len(self.model.log) - place)
        head = await self.store.create_head_token()
        assert all(head.covers(earlier) for _, earlier in self.tokens)
        self.tokens.append((len(self.model.log), head))

    async def snapshot(self) -> None:
        key, sequence_number = self.key(), self.draw.randint(1, 12)
        payload = f'{{"draw": {self.draw.randint(0, 999)}}}'
        snapshot = Snapshot(
            stream=stream_of(key[1], tenant_id=key[0]), sequence_number=SequenceNumber(sequence_number),
            payload=payload, payload_type="S", timestamp=datetime.now(UTC),
        )  # fmt: skip
        try:
            await self.store.store_snapshot(snapshot)
            answer = "stored"
        except SnapshotRefusedError:
            answer = "refused"
        assert answer == self.model.store_snapshot(key, sequence_number, payload)

    async def restore(self) -> None:
        key = self.key()
        found = await self.store.read_snapshot(*key)
        expected = self.model.snapshots.get(key)
        assert (found and (found.sequence_number, found.payload)) == expected


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_the_store_does_what_the_model_does(store: PostgresEventStore, seed: int) -> None:
    comparison = Comparison(store, seed)
    await comparison.run()
    assert len(comparison.model.log) > 50
    delivered = await read_on(store, await store.create_tail_token(), len(comparison.model.log))
    assert [(event.tenant_id, event.event_id) for event in delivered.events] == comparison.model.log
