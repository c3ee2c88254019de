"""A corpus aged: what months of production leave in a store, made on a fresh one and taken back again.

- Gaps in the sequence, and dead rows in the table and its indexes: appends that were rolled back.
- A tail that nobody has vacuumed or analysed: events appended by the store itself, with autovacuum off for the
  table. Statistics are those of the corpus without it, and the visibility map does not know it.
- Dead rows of tokens: saved many times while a transaction that was open kept them from being removed.

Stored events are not changed: an event store refuses that, so age can only come from what fails and what is new.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np

from eventmark.domain import EventStore, NewEvent, StreamId
from eventmark.engine import PostgresEventStore
from eventmark.engine.statements import quoted_schema
from eventmark.seeding.progress import Progress, no_progress
from eventmark.server.search_path import confined_dsn
from eventmark.stores import StoreDefinition, append_beside, open_store, read_naming
from eventmark.workload import CorpusPlan, Naming, uuid_7

TAIL_SHARE = 0.03
"""Of the corpus: autovacuum is tuned to come after 2% of new rows, and takes its time."""

ROLLED_BACK_SHARE = 0.02
TAIL_EVENTS_MAX = 200_000
BATCH_EVENTS = 50
CONNECTIONS = 4
TOKEN_SAVES = 3000
PROCESSOR = "eventmark-aged"
_PAYLOADS = 300
_DEAD_ROWS_SEEN_WITHIN_S = 12.0  # a session that goes on adds its counts to the statistics after 10 s at most
_TOKENS_TABLE = "tracking_tokens"

_LEDGER = "create table if not exists {schema}.eventmark_aging (facts jsonb, at timestamptz default now())"
_TABLE = """
select
    pg_relation_size(c.oid) / current_setting('block_size')::bigint as pages, c.relallvisible as visible_pages,
    greatest(c.reltuples, 0)::bigint as analysed_rows, coalesce(s.n_dead_tup, 0) as dead_rows
from pg_class c left join pg_stat_all_tables s on s.relid = c.oid
where c.oid = to_regclass($1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aging:
    """What was done, and what the server counts after it. Rows of tokens are None where a store has none.

    ``gaps`` are numbers of the sequence that no event bears, None where the table draws from no sequence.
    ``visible_pages`` of ``pages`` are known to hold nothing but what everybody sees; ``analysed_rows`` is what
    the planner believes the table to hold.
    """

    tail_events: int
    rolled_back_events: int
    gaps: int | None
    dead_rows: int
    pages: int
    visible_pages: int
    analysed_rows: int
    dead_token_rows: int | None
    token_pages: int | None


async def age(
    dsn: str, definition: StoreDefinition, schema: str, plan: CorpusPlan, progress: Progress = no_progress
) -> Aging:
    """Age the corpus in ``schema``. It stays aged until ``rejuvenate``; the ledger knows.

    The same plan ages alike. Raises what the store raises, and leaves a mark that ``rejuvenate`` knows.
    """
    dsn = confined_dsn(dsn, schema)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_LEDGER.format(schema=quoted_schema(schema)))
        await connection.execute(f"truncate {quoted_schema(schema)}.eventmark_aging")
        await connection.execute(f"insert into {quoted_schema(schema)}.eventmark_aging (facts) values (null)")
        await _set_autovacuum(connection, definition, schema, on=False)
        facts = await _age(connection, dsn, definition, schema, plan, progress)
        await connection.execute(
            f"update {quoted_schema(schema)}.eventmark_aging set facts = $1", json.dumps(asdict(facts))
        )
        return facts
    finally:
        await connection.close()


async def read_aging(connection: asyncpg.Connection[Any], schema: str) -> Aging | None:
    """How the corpus in ``schema`` was aged; None for one that was not, or not to the end."""
    if not await _is_marked(connection, schema):
        return None
    facts = await connection.fetchval(f"select facts from {quoted_schema(schema)}.eventmark_aging")
    return None if facts is None else Aging(**json.loads(facts))


async def rejuvenate(dsn: str, definition: StoreDefinition, schema: str) -> bool:
    """Take back what ``age`` did to the tables' settings and to tokens; whether there was anything.

    ``remove_appended`` is to follow: it takes out the tail, as all that measuring appends, and vacuums.
    """
    dsn = confined_dsn(dsn, schema)
    connection = await asyncpg.connect(dsn)
    try:
        if not await _is_marked(connection, schema):
            return False
        await _set_autovacuum(connection, definition, schema, on=True)
        if definition.engine:
            tokens = f"{quoted_schema(schema)}.{_TOKENS_TABLE}"
            await connection.execute(f"delete from {tokens} where processor = $1", PROCESSOR)
            await connection.execute(f"vacuum {tokens}")
        await connection.execute(f"drop table {quoted_schema(schema)}.eventmark_aging")
        return True
    finally:
        await connection.close()


async def _is_marked(connection: asyncpg.Connection[Any], schema: str) -> bool:
    setting: bool = await connection.fetchval(
        "select to_regclass($1) is not null", f"{quoted_schema(schema)}.eventmark_aging"
    )
    return setting


async def _set_autovacuum(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, *, on: bool
) -> None:
    tables = [definition.events_table, *([_TOKENS_TABLE] if definition.engine else [])]
    for table in tables:
        name = f'{quoted_schema(schema)}."{table}"'
        action = "reset (autovacuum_enabled)" if on else "set (autovacuum_enabled = off)"
        await connection.execute(f"alter table {name} {action}")


async def _age(
    connection: asyncpg.Connection[Any], dsn: str, definition: StoreDefinition, schema: str, plan: CorpusPlan,
    progress: Progress,
) -> Aging:  # fmt: skip
    tail = _whole_batches(min(plan.events * TAIL_SHARE, TAIL_EVENTS_MAX))
    rolled_back = _whole_batches(min(plan.events * ROLLED_BACK_SHARE, TAIL_EVENTS_MAX))
    sequence = await _sequence(connection, definition, schema)
    before = await _drawn(connection, sequence)
    events = _Events(plan, await read_naming(connection, definition, schema))
    store = await open_store(definition, dsn, schema=schema, pool_max=CONNECTIONS)
    try:
        await _append(dsn, definition, schema, store, events, tail, rolled_back, progress)
    finally:
        await store.close()  # and its sessions add their counts to the statistics
    if definition.engine:
        await _save_tokens(dsn, schema)
    drawn = await _drawn(connection, sequence)
    table, tokens = await _counted(connection, definition, schema, rolled_back * BATCH_EVENTS)
    return Aging(
        tail_events=tail * BATCH_EVENTS, rolled_back_events=rolled_back * BATCH_EVENTS,
        gaps=None if drawn is None or before is None else drawn - before - tail * BATCH_EVENTS,
        dead_rows=table["dead_rows"], pages=table["pages"], visible_pages=table["visible_pages"],
        analysed_rows=table["analysed_rows"], dead_token_rows=tokens["dead_rows"] if tokens else None,
        token_pages=tokens["pages"] if tokens else None,
    )  # fmt: skip


def _whole_batches(events: float) -> int:
    return max(round(events / BATCH_EVENTS), 1)


async def _append(
    dsn: str, definition: StoreDefinition, schema: str, store: EventStore, events: _Events, tail: int,
    rolled_back: int, progress: Progress,
) -> None:  # fmt: skip
    """The tail's batches by the store itself, and among them those that are rolled back."""
    waiting = [(number, False) for number in range(tail)]
    step = max(tail // max(rolled_back, 1), 1)
    for number in range(rolled_back):
        waiting.insert(min(number * (step + 1), len(waiting)), (tail + number, True))
    batches = [(*events.batch(number), rolls_back) for number, rolls_back in waiting]
    total, done = len(batches), 0
    batches.reverse()

    async def work() -> None:
        nonlocal done
        connection = await asyncpg.connect(dsn, server_settings={"application_name": "eventmark-seed"})
        try:
            while batches:
                stream, new, rolls_back = batches.pop()
                if rolls_back:
                    await _roll_back(connection, definition, schema, stream, new)
                else:
                    await store.append_events(stream, new, expected_version=0)
                done += 1  # and not what was begun: others are at work on theirs
                progress("age", done, total)
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(work())


async def _roll_back(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, stream: StreamId,
    events: Sequence[NewEvent],
) -> None:  # fmt: skip
    """The store's own statement in a transaction that fails after it."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await append_beside(connection, definition, schema, stream, events)
    finally:
        await transaction.rollback()


async def _save_tokens(dsn: str, schema: str) -> None:
    """A processor's token saved batch after batch, while somebody's snapshot needs every version of it."""
    holder = await asyncpg.connect(dsn)
    try:
        async with (
            holder.transaction(isolation="repeatable_read", readonly=True),
            await PostgresEventStore.connect(dsn, schema=schema, pool_max=1, notify=False) as store,
        ):
            await holder.execute(
                "select"
            )  # it has its snapshot, and no transaction id that would hold consumers
            token, lease = str(await store.create_tail_token()), timedelta(minutes=5)
            await store.run_statement("create_processor", PROCESSOR, 1, token)
            fence = (await store.run_statement("claim_segment", PROCESSOR, PROCESSOR, lease))[0][3]
            for _ in range(TOKEN_SAVES):
                await store.run_statement("save_token", PROCESSOR, 0, fence, token, lease)
            await store.run_statement("release_segment", PROCESSOR, 0, fence)
    finally:
        await holder.close()


async def _counted(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, dead_rows: int
) -> tuple[Any, Any]:
    """The server's account of both tables, once it has heard of ``dead_rows`` or will not any more."""
    quoted = quoted_schema(schema)
    table = await connection.fetchrow(_TABLE, f'{quoted}."{definition.events_table}"')
    until = asyncio.get_running_loop().time() + _DEAD_ROWS_SEEN_WITHIN_S
    while table["dead_rows"] < dead_rows and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.2)
        table = await connection.fetchrow(_TABLE, f'{quoted}."{definition.events_table}"')
    tokens = await connection.fetchrow(_TABLE, f"{quoted}.{_TOKENS_TABLE}") if definition.engine else None
    return table, tokens


async def _sequence(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> str | None:
    setting: str | None = await connection.fetchval(
        "select pg_get_serial_sequence($1, $2)",
        f'{quoted_schema(schema)}."{definition.events_table}"',
        definition.columns["global_sequence_id"],
    )
    return setting


async def _drawn(connection: asyncpg.Connection[Any], sequence: str | None) -> int | None:
    if sequence is None:
        return None
    drawn: int = await connection.fetchval(f"select last_value from {sequence}")
    return drawn


class _Events:
    """Batches of new streams, drawn from the plan's own seed: tenants by their weight, payloads as the corpus'."""

    def __init__(self, plan: CorpusPlan, naming: Naming) -> None:
        self._random = plan.random("aging")
        self._payloads = plan.example_payloads(_PAYLOADS, self._random)
        self._tenants = [naming.tenant_id(number) for number in range(plan.tenant_count)]
        self._names = naming.new_stream_ids(self._random)
        self._is_text = naming.stream == "text"
        self._weights = np.array([tenant.weight for tenant in plan.tenants])

    def batch(self, number: int) -> tuple[StreamId, list[NewEvent]]:
        tenant = self._random.choice(len(self._tenants), p=self._weights / self._weights.sum())
        stream = StreamId(
            tenant_id=self._tenants[int(tenant)], aggregate_type="Order",
            aggregate_id=f"aged-{number:08d}" if self._is_text else next(self._names),
        )  # fmt: skip
        return stream, [self._event() for _ in range(BATCH_EVENTS)]

    def _event(self) -> NewEvent:
        now = datetime.now(UTC)
        return NewEvent(
            event_id=uuid_7(int(now.timestamp() * 1000), int.from_bytes(self._random.bytes(10))),
            event_type="OrderLineAdded",
            payload=self._payloads[int(self._random.integers(_PAYLOADS))], metadata="{}",
            timestamp=now, payload_type="OrderLineAdded",
        )  # fmt: skip
