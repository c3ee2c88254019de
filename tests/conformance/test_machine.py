"""A state machine does the same to the engine and to the reference, and compares every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventmark.domain import NewEvent, Snapshot, TrackingToken
from eventmark.domain.events import SequenceNumber
from eventmark.engine import ORDERINGS, PostgresEventStore, install_schema
from eventmark.engine.schema import Purpose
from eventmark.errors import EventStoreError
from eventmark.server import Server
from eventmark.stores import drop_scratch, run_id
from tests.conformance.conftest import NOW, stream_of
from tests.conformance.reference import ReferenceStore
from tests.engine.builders import DEADLINE_S

TENANTS = ("t1", "t2")
AGGREGATES = ("a", "b", "c")
KEYS = st.tuples(st.sampled_from(TENANTS), st.sampled_from(AGGREGATES))


class Comparison(RuleBasedStateMachine):
    """Tokens are kept in pairs: the engine's and the reference's of the same place."""

    dsn: ClassVar[str]
    ordering: ClassVar[str]

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.reference = ReferenceStore()
        self.engine: PostgresEventStore = self.runner.run(self._open())
        self.tails = (self.do(self.engine.create_tail_token()), self.do(self.reference.create_tail_token()))
        self.places: dict[str | None, list[tuple[TrackingToken, TrackingToken]]] = {
            tenant: [self.tails] for tenant in (None, *TENANTS)
        }

    async def _open(self) -> PostgresEventStore:
        connection = await asyncpg.connect(self.dsn)
        await drop_scratch(connection, "machine")
        await install_schema(
            connection, "machine", ordering=self.ordering, purpose=Purpose.SCRATCH, owner=run_id()
        )
        await connection.close()
        return await PostgresEventStore.connect(self.dsn, schema="machine", notify=False)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.runner.run(self.engine.close())
            self.runner.close()

    def do(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return self.runner.run(run())

    def both(self, operation: Callable[[Any], Awaitable[Any]]) -> tuple[Any, Any]:
        """The answers, an error's kind among them."""
        answers = []
        for store in (self.engine, self.reference):
            try:
                answers.append(self.do(operation(store)))
            except EventStoreError as error:
                answers.append(type(error))
        return answers[0], answers[1]

    @rule(
        key=KEYS, count=st.integers(1, 4), off=st.sampled_from([0, 0, 0, 0, -1, 1]),
        again=st.one_of(st.none(), st.integers(0, 100)),
    )  # fmt: skip
    def append(self, key: tuple[str, str], count: int, off: int, again: int | None) -> None:
        version = max(len(self.do(self.reference.load_aggregate(*key))) + off, 0)
        log = self.reference.log
        ids: list[UUID] = [uuid4() for _ in range(count)]
        if again is not None and log:
            ids[-1] = log[again % len(log)].event.event_id
        events = [
            NewEvent(
                event_id=event_id, event_type="T", payload={"n": place}, metadata={}, payload_type="T",
                timestamp=NOW + timedelta(seconds=len(log) + place),
            )
            for place, event_id in enumerate(ids)
        ]  # fmt: skip
        ours, theirs = self.both(
            lambda store: store.append_events(stream_of(key[1], key[0]), events, expected_version=version)
        )
        assert getattr(ours, "last_sequence_number", ours) == getattr(theirs, "last_sequence_number", theirs)

    @rule(key=KEYS, first=st.integers(0, 8))
    def load(self, key: tuple[str, str], first: int) -> None:
        ours, theirs = self.both(lambda store: store.load_aggregate(*key, from_sequence=first))
        assert shown(ours) == shown(theirs)

    @rule(tenant=st.sampled_from((None, *TENANTS)), place=st.integers(0, 50), limit=st.integers(1, 7))
    def stream(self, tenant: str | None, place: int, limit: int) -> None:
        if tenant is None and not self.engine.capabilities.all_tenants_stream:
            return
        known = self.places[tenant]
        ours, theirs = known[place % len(known)]
        there = self.do(self.reference.stream_events(theirs, limit=limit, tenant_id=tenant))
        here = self.do(self._settled(ours, limit, tenant, len(there.events)))
        assert shown(here.events) == shown(there.events)
        assert here.token.covers(ours)
        known.append((here.token, there.token))

    async def _settled(self, token: TrackingToken, limit: int, tenant: str | None, count: int) -> Any:
        """Other transactions of the cluster, autovacuum's too, may hold the horizon for a moment."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                batch = await self.engine.stream_events(
                    TrackingToken.parse(str(token)), limit=limit, tenant_id=tenant
                )
                if len(batch.events) >= count:
                    return batch
                await asyncio.sleep(0.005)

    @precondition(lambda self: self.engine.capabilities.all_tenants_stream)
    @rule()
    def head(self) -> None:
        self.stream_to_the_end()
        ours, theirs = self.both(lambda store: store.create_head_token())
        assert all(ours.covers(earlier) for earlier, _ in self.places[None])
        self.places[None].append((ours, theirs))

    def stream_to_the_end(self) -> None:
        ours, theirs = self.tails
        there = self.do(self.reference.stream_events(theirs, limit=1000))
        here = self.do(self._settled(ours, 1000, None, len(there.events)))
        assert shown(here.events) == shown(there.events)

    @rule(key=KEYS, sequence=st.integers(1, 10), draw=st.integers(0, 999))
    def snapshot(self, key: tuple[str, str], sequence: int, draw: int) -> None:
        snapshot = Snapshot(
            stream=stream_of(key[1], key[0]), sequence_number=SequenceNumber(sequence),
            payload=f'{{"draw": {draw}}}', payload_type="S", timestamp=NOW,
        )  # fmt: skip
        ours, theirs = self.both(lambda store: store.store_snapshot(snapshot))
        assert ours == theirs

    @rule(key=KEYS)
    def restore(self, key: tuple[str, str]) -> None:
        ours, theirs = self.both(lambda store: store.read_snapshot(*key))
        assert (ours and (ours.sequence_number, ours.payload)) == (
            theirs and (theirs.sequence_number, theirs.payload)
        )


def shown(events: Any) -> list[tuple[Any, ...]]:
    return [
        (event.tenant_id, event.aggregate_id, event.sequence_number, event.event_id, event.payload())
        for event in events
    ]


@pytest.fixture(scope="module")
def machine_dsn(server: Server) -> Iterator[str]:
    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute("create database machine"))
    yield server.dsn.rsplit("/", 1)[0] + "/machine"
    asyncio.run(execute("drop database machine with (force)"))


def compare(dsn: str, ordering: str, *, examples: int, steps: int) -> None:
    machine = type("Machine", (Comparison,), {"dsn": dsn, "ordering": ordering})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_the_engine_does_what_the_reference_does(machine_dsn: str, ordering: str) -> None:
    compare(machine_dsn, ordering, examples=8, steps=40)


@pytest.mark.long
@pytest.mark.parametrize("ordering", ORDERINGS)
def test_the_engine_does_what_the_reference_does_at_length(machine_dsn: str, ordering: str) -> None:
    compare(machine_dsn, ordering, examples=120, steps=80)
