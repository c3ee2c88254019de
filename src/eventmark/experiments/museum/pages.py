"""What writing costs in pages: a token that is updated at every batch, and an index whose every entry is elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from eventmark.experiments.museum.exhibit import Exhibit, Limit, Room, Trial, judge_counters
from eventmark.experiments.museum.log import empty_log
from eventmark.plans.work import nodes

UPDATES = 3000
ROWS_INDEXED, ROWS_INSERTED = 100_000, 300

INDEX_SHARE = Limit(
    counter="updates that touched indexes, share",
    most=0.2,
    why="an update that touches no index needs no vacuum",
)
TOKEN_PAGES = Limit(
    counter="pages of the table", most=16, why="one row, and room for the versions not yet pruned"
)
PAGES_DIRTIED = Limit(
    counter="pages dirtied per row", most=0.2, why="entries that follow each other share a page"
)

_UPDATE = """
do $$ begin
    for number in 1..{updates} loop
        update {table} set token = number::text, lease_until = clock_timestamp() where processor = 'p' and segment = 0;
        commit;
    end loop;
end $$
"""
_COUNTED = """
select n_tup_upd::float8 as updates, n_tup_hot_upd::float8 as hot,
    pg_relation_size(relid)::float8 / current_setting('block_size')::float8 as pages,
    pg_indexes_size(relid)::float8 / current_setting('block_size')::float8 as index_pages
from pg_stat_user_tables where relid = to_regclass($1)
"""

# A time in its first 48 bits, as version 7 has it: each is more than the one before.
_ORDERED_ID = (
    "(lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3)"
    " || '8' || substr(md5(n::text), 4, 15))::uuid"
)
_RANDOM_ID = "md5((n * 2 + 1)::text)::uuid"


async def _token_table(room: Room) -> Sequence[Trial]:
    return [
        await _updated(room, "an index on the token, to see who is behind", index=True),
        await _updated(room, "a transaction left open meanwhile", held=True),
        await _updated(room, "the engine's: half of each page free, no index on what changes"),
    ]


async def _updated(room: Room, variant: str, *, index: bool = False, held: bool = False) -> Trial:
    """One token updated again and again, each time in a transaction of its own."""
    async with empty_log(room) as (connection, schema):
        table = f'"{schema}".tracking_tokens'
        await connection.execute(
            f"insert into {table} (processor, segment, segments, token) values ('p', 0, 1, '0')"
        )
        if index:
            await connection.execute(f"create index on {table} (token)")
        other = await asyncpg.connect(room.server.dsn)
        try:
            if held:
                await other.execute("begin isolation level repeatable read; select pg_current_xact_id()")
            await connection.execute(_UPDATE.format(updates=UPDATES, table=table))
        finally:
            await other.close()
        await connection.execute("select pg_stat_force_next_flush()")
        row = await connection.fetchrow(_COUNTED, table)
    counters = {
        INDEX_SHARE.counter: round(1 - row["hot"] / row["updates"], 3), TOKEN_PAGES.counter: row["pages"],
        "pages of its indexes": row["index_pages"],
    }  # fmt: skip
    verdict, reason = judge_counters(counters, [INDEX_SHARE, TOKEN_PAGES])
    return Trial(
        variant=variant, good=not index and not held, verdict=verdict, reason=reason, counters=counters
    )


async def _random_ids(room: Room) -> Sequence[Trial]:
    return [
        await _inserted(room, _RANDOM_ID, "random ids, as version 4 has them", good=False),
        await _inserted(
            room, _ORDERED_ID, "ids that begin with their time, as version 7 has them", good=True
        ),
    ]


async def _inserted(room: Room, expression: str, variant: str, *, good: bool) -> Trial:
    """A few rows inserted, one by one, into an index of many, after a checkpoint."""
    async with empty_log(room) as (connection, schema):
        table = f'"{schema}".ids'
        await connection.execute(f"create table {table} (id uuid not null)")
        await connection.execute(
            f"insert into {table} select {expression} from generate_series(1, {ROWS_INDEXED}) as n"
        )
        await connection.execute(f"create unique index ids_id on {table} (id)")
        await connection.execute("checkpoint")
        document = await connection.fetchval(
            f"explain (analyze, buffers, wal, format json) insert into {table} select {expression}"
            f" from generate_series({ROWS_INDEXED + 1}, {ROWS_INDEXED + ROWS_INSERTED}) as n"
        )
    plan = (json.loads(document) if isinstance(document, str) else document)[0]["Plan"]
    counters = {
        PAGES_DIRTIED.counter: _most(plan, "Shared Dirtied Blocks") / ROWS_INSERTED,
        "full page images per row": _most(plan, "WAL FPI") / ROWS_INSERTED,
        "WAL bytes per row": round(_most(plan, "WAL Bytes") / ROWS_INSERTED),
    }
    verdict, reason = judge_counters(counters, [PAGES_DIRTIED])
    return Trial(variant=variant, good=good, verdict=verdict, reason=reason, counters=counters)


def _most(plan: dict[str, Any], counter: str) -> float:
    return float(max(node.get(counter, 0) for node in nodes(plan)))


TOKEN_TABLE = Exhibit(
    name="token-table",
    title="The table of tokens, updated at every batch, fills the disk",
    sources=("AxonFramework#1351",),
    story="Each update of a token leaves a row version, and, where an indexed column changes or the page is full, an "
    "index entry. Vacuum cannot take them while an old transaction is open. 900 GB were reclaimed, and a batch went "
    "from 5 hours to 2.",
    lesson="No index on what changes, a fillfactor that leaves room for versions on the page, no transaction left "
    "open.",
    judged_by="counters: updates within the page, pages of the table",
    run=_token_table,
)
RANDOM_EVENT_IDS = Exhibit(
    name="random-event-ids",
    title="An index of random ids touches a page for each row",
    sources=("METR/hawk#1814",),
    story="Each random id belongs on another page of its index. About one block is read for each row inserted, and "
    "after a checkpoint each page goes into the WAL as a whole.",
    lesson="Ids that begin with their time, version 7: neighbours in time are neighbours in the index.",
    judged_by="counters: pages dirtied and full page images",
    run=_random_ids,
)
