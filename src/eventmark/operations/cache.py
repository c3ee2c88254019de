"""Cold buffers: the store's pages put out of the server's cache, where the server lets us."""

from __future__ import annotations

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.server import Server
from eventmark.server.extensions import extension_schema, missing_extension

NOT_TOLD = "cold was not measured: "

_RELATIONS = """
select c.oid
from pg_class c
where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'm', 'i', 'p')
union all
select t.oid
from pg_class c join pg_class t on t.oid = c.reltoastrelid
where c.relnamespace = $1::regnamespace
union all
select i.indexrelid
from pg_class c join pg_index i on i.indrelid = c.reltoastrelid
where c.relnamespace = $1::regnamespace
"""


class BufferCache:
    """Evicts a schema's pages from shared buffers by ``pg_buffercache``; PostgreSQL 18 and a superuser."""

    def __init__(self, server: Server, schema: str) -> None:
        self._server = server
        self._schema = schema

    async def evict(self) -> str:
        """Empty when it worked, else why it did not. The operating system's cache is not touched."""
        try:
            connection = await asyncpg.connect(self._server.admin_dsn)
        except (OSError, asyncpg.PostgresError) as error:
            return f"{NOT_TOLD}{error}"
        try:
            if connection.get_server_version().major < 18:
                return f"{NOT_TOLD}pages can be evicted from PostgreSQL 18 on"
            missing = await missing_extension(connection, "pg_buffercache", ours=self._server.ours)
            if missing:
                return f"{NOT_TOLD}{missing}"
            installed_in = await extension_schema(connection, "pg_buffercache")
            await connection.execute("checkpoint")
            names = await connection.fetch(_RELATIONS, quoted_schema(self._schema))
            for row in names:
                await connection.execute(
                    f"select {installed_in}.pg_buffercache_evict_relation($1::oid::regclass)", row[0]
                )
            return ""
        except asyncpg.PostgresError as error:
            return f"{NOT_TOLD}{str(error).partition(chr(10))[0]}"
        finally:
            await connection.close()
