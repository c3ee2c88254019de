"""Tables put into the state in which they are looked at."""

from __future__ import annotations

import json

import asyncpg

from eventmark.engine import PostgresEventStore
from eventmark.seeding.copying import tidy
from eventmark.stores import find_store
from tests.engine.builders import new_event, stream_of

APPENDED = 30
BEYOND = """
explain (analyze, buffers, format json)
select event_type from eventmark.domain_events
where tenant_id = 'acme' and (transaction_id, global_sequence_id) > ($1, $2)
"""


async def test_a_vacuum_takes_what_was_rolled_back_out_of_the_indexes(corpus: str) -> None:
    """Of a small share of the table: there PostgreSQL would leave the index entries, and the log's end in the way."""
    connection = await asyncpg.connect(corpus)
    batch = [new_event(payload={"text": "x" * 6000}) for _ in range(APPENDED)]
    async with await PostgresEventStore.connect(corpus, schema="eventmark", pool_max=1) as store:
        head = await store.create_head_token()
        try:
            async with store.transaction() as transaction:
                await transaction.append_events(stream_of("undone"), batch, expected_version=0)
                raise InterruptedError
        except InterruptedError:
            pass
    await tidy(connection, find_store("eaf"), "eventmark", "vacuum analyze")
    # The planner looks at that index's end, and cleans it as it does.
    await connection.execute("alter table eventmark.domain_events drop constraint domain_events_position")
    await connection.execute("set enable_seqscan = off")
    found = await connection.fetchval(BEYOND, head.transaction_id, head.global_sequence)
    (plan,) = json.loads(found) if isinstance(found, str) else found
    assert "domain_events_tenant_position" in json.dumps(plan["Plan"])
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] <= 10
    await connection.close()
