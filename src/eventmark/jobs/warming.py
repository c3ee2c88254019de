"""A store's pages brought into shared buffers, where a server has them that has run for some time."""

from __future__ import annotations

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.server import Server
from eventmark.server.extensions import extension_schema, missing_extension

PATIENCE_S = 3600.0  # for reading a whole corpus once

# By number: TOAST tables are in a schema whose names only a superuser may look up.
RELATIONS = """
select
    c.oid,
    case when c.relkind = 't' then 'TOAST of ' || owner.relname else c.relname end as name,
    case c.relkind when 'i' then 'index' when 't' then 'toast' else 'table' end as kind,
    pg_relation_size(c.oid) as size_bytes
from pg_class c
left join pg_class owner on owner.reltoastrelid = c.oid
where c.relkind in ('r', 'i', 't')
    and (c.relnamespace = $1::regnamespace or owner.relnamespace = $1::regnamespace)
    and coalesce(owner.relname, c.relname) not like 'eventmark\\_%'
    and c.relname not like 'eventmark\\_%'
order by kind desc, size_bytes desc, name
"""


async def warm(server: Server, schemas: tuple[str, ...]) -> str:
    """Read every page of the schemas into shared buffers, the last schema last; why not, where not.

    As much stays as there is room for: so each corpus is found as a server has it that has run for some time.
    """
    connection = await asyncpg.connect(server.dsn)
    try:
        missing = await missing_extension(connection, "pg_prewarm", ours=server.ours)
        if missing:
            return missing
        installed_in = await extension_schema(connection, "pg_prewarm")
        for schema in schemas:
            for row in await connection.fetch(RELATIONS, quoted_schema(schema)):
                if row["size_bytes"]:
                    await connection.execute(
                        f"select {installed_in}.pg_prewarm($1::oid::regclass)", row["oid"], timeout=PATIENCE_S
                    )
        return ""
    finally:
        await connection.close()
