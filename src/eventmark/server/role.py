"""The role that everything runs as on a server of our own, but what Eventmark itself needs a superuser for.

A store's folder may be somebody else's. Its SQL, and what hangs on its tables, runs as a login role that is no
superuser: it owns its schema, cannot run programs or read files, and has no way back to more, as SET ROLE would.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import asyncpg

from eventmark.errors import CannotRunError
from eventmark.server.extensions import missing_extension

STORE_ROLE = "eventmark_store"

EXTENSIONS = ("pg_stat_statements", "pg_prewarm", "pgstattuple", "pg_buffercache")
_MEMBER_OF = "pg_monitor, pg_signal_backend, pg_checkpoint"
_MADE = f"""
do $$ begin
    if not exists (select from pg_roles where rolname = '{STORE_ROLE}') then
        create role {STORE_ROLE};
    end if;
end $$;
alter role {STORE_ROLE} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password '{{password}}';
grant {_MEMBER_OF} to {STORE_ROLE};
"""
# Settings of superusers that change what a session costs, never whose code it runs.
_SETTINGS = """
select name from pg_settings
where context = 'superuser' and (
    category like 'Write-Ahead Log%' or category like 'Statistics%' or category like 'Resource Usage%'
    or category in ('Lock Management', 'Query Tuning / Planner Method Configuration')
)
"""
_RUNS_PROGRAMS = """
select r.rolsuper or exists (
    select from unnest(array['pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files']) as name
    where pg_has_role(r.oid, name, 'member')
)
from pg_roles r where r.rolname = session_user
"""


def store_dsn(admin_dsn: str) -> str:
    """The DSN of ``STORE_ROLE``. Its password follows from the superuser's, and not the other way round."""
    parts = urlsplit(admin_dsn)
    return (
        f"{parts.scheme}://{STORE_ROLE}:{_password(admin_dsn)}@{parts.netloc.rpartition('@')[2]}{parts.path}"
    )


def _password(admin_dsn: str) -> str:
    return hashlib.sha256(f"{urlsplit(admin_dsn).password}:{STORE_ROLE}".encode()).hexdigest()[:32]


async def make_store_role(admin_dsn: str, *, with_statistics: bool) -> None:
    """The role, what it may do, and the extensions that only a superuser can make.

    Raises ``CannotRunError`` for a server that starts without the statistics of statements it was given.
    """
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute(_MADE.format(password=_password(admin_dsn)))
        database = await connection.fetchval("select quote_ident(current_database())")
        await connection.execute(f"grant create, connect, temporary on database {database} to {STORE_ROLE}")
        for row in await connection.fetch(_SETTINGS):
            await connection.execute(f"grant set on parameter {row['name']} to {STORE_ROLE}")
        for name in EXTENSIONS:
            missing = await missing_extension(connection, name, ours=True)
            if missing and name == "pg_stat_statements" and with_statistics:
                raise CannotRunError(
                    f"the server started but refused an extension: {missing}",
                    remedy="delete the cluster's directory, or name another",
                )
    finally:
        await connection.close()


async def runs_programs(connection: asyncpg.Connection) -> bool:
    """Whether the connection's role may run programs of the server's machine, or read its files."""
    return bool(await connection.fetchval(_RUNS_PROGRAMS))
