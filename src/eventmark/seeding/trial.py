"""A store tried on a handful of events, the way a run uses it, before anything is measured on it.

The store's schema is made under a second name, seeded by the seeder, appended to, read, audited and
dropped. What fails here would fail later, after a corpus of millions was loaded.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg

from eventmark.domain import NewEvent, SequenceNumber, Snapshot, StreamId
from eventmark.engine.statements import quoted_schema
from eventmark.errors import (
    EventmarkError,
    EventStoreError,
    StoreDefinitionError,
    VersionConflictError,
)
from eventmark.results.results import Verdict
from eventmark.seeding.audit import audit
from eventmark.seeding.indexes import set_next_position
from eventmark.seeding.ledger import Stage, create_ledger, set_stage
from eventmark.seeding.load import copy_batch, first_line, load_task, remedy_for
from eventmark.seeding.sample import CorpusSample, SampledStream, sample_corpus
from eventmark.server.search_path import confined_dsn
from eventmark.stores import (
    SqlEventStore,
    StoreDefinition,
    check_store,
    drop_scratch,
    index_statements,
    install_store,
    line_of,
    open_store,
    read_shape,
    scratch_name,
)
from eventmark.stores.conflict import FORMS, form_of
from eventmark.workload import CorpusPlan, example_payloads, make_columns, snapshot_rows, uuid_7

EVENTS = 40
_APPENDED = 2
_COUNT_MAX = 2 * EVENTS

_Answer = TypeVar("_Answer")


async def try_store(dsn: str, definition: StoreDefinition, schema: str) -> list[str]:
    """``check_store``, and then the whole way; what is noteworthy of a store that runs.

    Raises ``StoreDefinitionError`` naming file and line, ``CannotRunError`` where the server refuses. Leaves nothing.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await check_store(connection, definition, schema)
        if definition.engine:  # tried by its own tests
            return []
        tried = scratch_name(schema, f"_tried_{secrets.token_hex(4)}")
        try:
            await install_store(connection, definition, tried, with_indexes=False)
            return await _Trial(confined_dsn(dsn, tried), definition, tried).run()
        finally:
            await drop_scratch(connection, tried)
    finally:
        await connection.close()


@dataclass(slots=True)
class _Trial:
    dsn: str
    definition: StoreDefinition
    schema: str

    async def run(self) -> list[str]:
        connection = await asyncpg.connect(self.dsn)
        try:
            plan = CorpusPlan(EVENTS, tenant_count=2, payload_profile="small")
            await self._seed(connection, plan)
            sampling = sample_corpus(connection, self.definition, schema=self.schema, events=EVENTS)
            sample = await self._read(sampling)
        finally:
            await connection.close()
        await self._audit()
        opened = await open_store(self.definition, self.dsn, schema=self.schema, pool_max=2)
        assert isinstance(opened, SqlEventStore)
        async with opened as store:
            notes = await self._use(store, sample)
        await self._audit()
        return notes

    async def _seed(self, connection: asyncpg.Connection[Any], plan: CorpusPlan) -> None:
        shape = await read_shape(connection, self.definition, self.schema)
        corpus = await create_ledger(connection, self.schema, plan, self.definition)
        task = load_task(self.dsn, self.schema, self.definition, plan, corpus.first_transaction_id, shape)
        batch = make_columns(plan, 0, first_transaction_id=corpus.first_transaction_id, naming=shape.naming)
        try:
            await copy_batch(connection, task, batch, snapshot_rows(plan, batch))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._error(
                self._seeding_file(error, task.staging),
                f"seeding fails: {first_line(error)}",
                remedy_for(error),
            ) from None
        await set_next_position(connection, self.definition, self.schema, plan.events)
        for statement in index_statements(self.definition, self.schema):
            try:
                await connection.execute(statement.sql)
            except asyncpg.PostgresError as error:
                raise StoreDefinitionError(
                    f"with events in the table: {first_line(error)}",
                    path=str(statement.path),
                    line=statement.line,
                ) from None
        await set_stage(connection, self.schema, Stage.READY)

    def _seeding_file(self, error: Exception, staging: Any) -> tuple[str, int]:
        query = getattr(error, "query", None)
        for statement in staging.before if staging else ():
            if statement.sql == query:
                return str(statement.path), statement.line
        return self._toml("")

    def _toml(self, value: str) -> tuple[str, int]:
        path = self.definition.directory / "store.toml"
        return str(path), line_of(path, value)

    def _error(self, where: tuple[str, int], message: str, remedy: str = "") -> StoreDefinitionError:
        return StoreDefinitionError(message, path=where[0], line=where[1], remedy=remedy)

    def _file(self, name: str) -> tuple[str, int]:
        statement = self.definition.statements[name]
        return statement.path, statement.first_line

    async def _tried(self, name: str, what: str, call: Awaitable[_Answer], remedy: str = "") -> _Answer:
        """What the call answers; anything that it raises is told by the operation's file."""
        try:
            return await call
        except StoreDefinitionError:
            raise
        except (
            EventmarkError,
            TypeError,
            ValueError,
            LookupError,
            OverflowError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            message = (
                error.message
                if isinstance(error, EventmarkError)
                else f"{type(error).__name__}: {first_line(error)}"
            )
            raise self._error(
                self._file(name), f"{what} fails: {message}", remedy or "mend the statement"
            ) from error

    async def _read(self, reading: Awaitable[_Answer]) -> _Answer:
        """What Eventmark itself reads of the store's tables, as run and audit do."""
        try:
            return await reading
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TypeError, ValueError) as error:
            raise self._error(
                self._toml(""), f"the seeded events cannot be read back by [columns]: {first_line(error)}",
                "check that [tables] and [columns] name what seed.sql and [seeded_columns] fill",
            ) from error  # fmt: skip

    async def _audit(self) -> None:
        report = await self._read(audit(self.dsn, self.definition, schema=self.schema))
        for finding in report.findings:
            if finding.verdict is Verdict.BROKEN and finding.name not in _OF_SMALL_CORPORA:
                raise self._error(
                    self._toml(""), f"seeded events are not in the table as they were sent: {finding.name}: "
                    f"{finding.observed}, expected {finding.expected}", "see seed.sql, [seeded_columns] and triggers",
                )  # fmt: skip

    async def _use(self, store: SqlEventStore, sample: CorpusSample) -> list[str]:
        seeded = max(sample.streams, key=lambda stream: stream.version)
        new_id = next(sample.naming.new_stream_ids(CorpusPlan(1).random("trial")))
        new = SampledStream(stream=replace(seeded.stream, aggregate_id=new_id), version=0)
        notes = []
        for known, what, remedy in (
            (new, "an append to a new stream", ""),
            (seeded, "an append to a seeded stream, at the version it has", _COMPANIONS),
        ):
            await self._tried("append_events", what, self._append(store, known.stream, known.version), remedy)
            await self._check_numbers(store, known)
        if self.definition.capabilities.expected_version and (note := await self._refusal(store, seeded)):
            notes.append(note)
        notes += await self._read_log(store, sample)
        await self._keep_snapshot(store, seeded)
        return notes

    async def _append(self, store: SqlEventStore, stream: StreamId, version: int) -> None:
        payloads = example_payloads(_APPENDED, CorpusPlan(1).random("trial"), "small")
        now = datetime.now(UTC)
        events = [
            NewEvent(
                event_id=uuid_7(int(now.timestamp() * 1000), secrets.randbits(80)), event_type="OrderLineAdded",
                payload=payload, metadata='{"user": "trial"}', timestamp=now, payload_type="OrderLineAdded",
            )
            for payload in payloads
        ]  # fmt: skip
        await store.append_events(stream, events, expected_version=version)

    async def _check_numbers(self, store: SqlEventStore, known: SampledStream) -> None:
        """What was appended has the numbers that the table's column and the statement's result should have."""
        stream, version = known.stream, known.version
        events = await self._tried(
            "load_aggregate", "loading a stream", store.load_aggregate(stream.tenant_id, stream.aggregate_id)
        )
        numbers = [int(event.sequence_number) for event in events]
        stored = await self._stored_numbers(store, stream)
        first = self.definition.first_sequence
        last = list(range(version + first, version + first + _APPENDED))
        if stored[-_APPENDED:] != last and version == 0 and stored[0] != first:
            raise self._error(
                self._toml(self.definition.columns["sequence_number"]),
                f"a stream's first event has {stored[0]} in column {self.definition.columns['sequence_number']!r},"
                f" and store.toml has {first}", f"write above [tables]: first_sequence = {stored[0]}",
            )  # fmt: skip
        if stored[-_APPENDED:] == last and numbers and numbers[0] == first != 1:
            raise self._error(
                self._file("load_aggregate"), f"the result's first sequence_number is {numbers[0]}, not 1",
                f"statements count from 1: select your_column + {1 - first} as sequence_number",
            )  # fmt: skip

    async def _stored_numbers(self, store: SqlEventStore, stream: StreamId) -> list[int]:
        columns = self.definition.sql_columns
        table = f'{quoted_schema(self.schema)}."{self.definition.events_table}"'
        session = await store.pool.acquire()
        try:
            rows = await session.connection.fetch(
                f"select {columns['sequence_number']}::bigint from {table}"
                f" where {columns['tenant_id']}::text = $1 and {columns['aggregate_id']}::text = $2 order by 1",
                stream.tenant_id,
                stream.aggregate_id,
            )
        finally:
            store.pool.release(session)
        if len(rows) < _APPENDED:
            raise self._error(
                self._file("append_events"), f"of {_APPENDED} events appended to one stream, the table has {len(rows)}",
                "let the statement store every event, under the tenant and stream it is given",
            )  # fmt: skip
        return [row[0] for row in rows]

    async def _refusal(self, store: SqlEventStore, known: SampledStream) -> str:
        """What is noteworthy of an append after the version that the stream had before.

        Raises ``StoreDefinitionError`` where the store refuses in a form that is not known as a conflict: every
        conflict would be called a failure, and no race would be hunted.
        """
        before = await self._stored_numbers(store, known.stream)
        try:
            await self._append(store, known.stream, known.version)
        except VersionConflictError:
            return ""
        except EventStoreError as error:
            names = (known.stream.tenant_id, known.stream.aggregate_id)
            line = form_of(error.__cause__, *names)
            raise self._error(
                self._file("append_events"),
                f"an append after a version that is taken fails, and not as a conflict: {error.message}",
                f"{FORMS}; write above [tables] in store.toml: {line}" if line else FORMS,
            ) from None
        if await self._stored_numbers(store, known.stream) == before:
            raise self._error(
                self._file("append_events"),
                "an append after a version that is taken stores nothing, and answers as if it had", FORMS,
            )  # fmt: skip
        return "append_events: an append after a version that is taken is not refused (see eventmark verify)"

    async def _read_log(self, store: SqlEventStore, sample: CorpusSample) -> list[str]:
        if not self.definition.capabilities.tokens:
            return []
        tail = await store.create_tail_token()
        batch = await self._tried(
            "stream_events", "reading the log", store.stream_events(tail, limit=_COUNT_MAX)
        )
        wanted = EVENTS + 2 * _APPENDED
        notes = (
            [f"stream_events: {len(batch.events)} events from the log's beginning, {wanted} were stored"]
            if len(batch.events) < wanted
            else []
        )
        if "create_head_token" in self.definition.statements:
            await self._tried("create_head_token", "a token of the log's end", store.create_head_token())
        if self.definition.capabilities.token_at and sample.instants:
            await self._tried(
                "create_token_at", "a token of an instant", store.create_token_at(sample.instants[0])
            )
        if "stream_tenant_events" in self.definition.statements:
            tenant = sample.streams[0].stream.tenant_id
            reading = store.stream_events(tail, limit=_COUNT_MAX, tenant_id=tenant)
            await self._tried("stream_tenant_events", "reading a tenant's log", reading)
        return notes

    async def _keep_snapshot(self, store: SqlEventStore, known: SampledStream) -> None:
        if not self.definition.capabilities.snapshots:
            return
        snapshot = Snapshot(
            stream=known.stream, sequence_number=SequenceNumber(known.version), payload='{"tried": true}',
            payload_type="Tried", timestamp=datetime.now(UTC),
        )  # fmt: skip
        await self._tried("store_snapshot", "storing a snapshot", store.store_snapshot(snapshot))
        stream = known.stream
        read = await self._tried(
            "read_snapshot", "reading a snapshot", store.read_snapshot(stream.tenant_id, stream.aggregate_id)
        )
        if read is None or read.sequence_number != known.version:
            raise self._error(
                self._file("read_snapshot"), f"of a snapshot of version {known.version}, the statement answers with"
                f" {'nothing' if read is None else read.sequence_number}", "let it answer with the latest snapshot",
            )  # fmt: skip


_OF_SMALL_CORPORA = frozenset({"tenants 80/20", "streams of exactly 1000"})
_COMPANIONS = (
    "the append reads rows of other tables, which seeded streams need too: insert them in seed.sql, from seeded_events "
    "(docs/your-own-store.md)"
)
