"""A kept corpus is read into the server's cache by the role that owns it, which is no superuser."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg

from eventmark.jobs.warming import warm
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.server.role import STORE_ROLE, store_dsn
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan
from tests.database import execute

SCHEMA = "eventmark_corpus"
_CACHED = """
select count(distinct c.oid) from pg_buffercache b join pg_class c on c.relfilenode = b.relfilenode
where c.oid in (
    select unnest(array[oid, reltoastrelid]) from pg_class where relname = 'domain_events'
) and b.reldatabase = (select oid from pg_database where datname = current_database())
"""


def test_the_owner_of_a_corpus_warms_its_table_and_what_is_stored_beside_it(
    server: Server, database: str
) -> None:
    execute(
        database, "create extension if not exists pg_prewarm", "create extension if not exists pg_buffercache"
    )
    execute(database, f"grant create on database {database.rpartition('/')[2]} to {STORE_ROLE}")
    own = replace(
        server, dsn=store_dsn(server.admin_dsn).rpartition("/")[0] + "/" + database.rpartition("/")[2]
    )
    asyncio.run(seed(own.dsn, find_store("eaf-jsonb"), CorpusPlan(3000), schema=SCHEMA, workers=1))
    assert asyncio.run(warm(own, (SCHEMA,))) == ""
    assert asyncio.run(_cached(database)) == 2


async def _cached(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval(_CACHED)
        return found
    finally:
        await connection.close()
