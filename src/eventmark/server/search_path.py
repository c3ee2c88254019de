"""Where unqualified names lead: to one store's schema, then to schemas of extensions, nowhere else.

A store's SQL may come from migrations that name no schema. Run with a session's own search path it would reach
the tables of whoever uses the database. The path is an option of the connection, in its DSN, so that each driver
and program has it from the start and RESET or DISCARD lead back to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import asyncpg

_NO_STORE = "pg_catalog"
_OPTION = re.compile(r"\s*-csearch_path=(\S*)$")

# Of extensions alone: where anybody else keeps a table or a function, an unqualified name could mean theirs.
EXTENSION_SCHEMAS = """
select coalesce(array_agg(n.nspname::text order by n.nspname), '{}')
from pg_namespace n
where n.nspname <> 'pg_catalog' and has_schema_privilege(n.oid, 'usage')
    and exists (select from pg_extension e where e.extnamespace = n.oid)
    and not exists (
        select from (
            select 'pg_class'::regclass as class, c.oid from pg_class c
            where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            union all
            select 'pg_proc'::regclass, p.oid from pg_proc p where p.pronamespace = n.oid
        ) as own
        where not exists (
            select from pg_depend d where d.classid = own.class and d.objid = own.oid and d.deptype = 'e'
        )
    )
"""


def confined_dsn(dsn: str, schema: str) -> str:
    """The DSN whose sessions find unqualified names in ``schema``, then where ``without_store`` left them."""
    found = _OPTION.search(_query(dsn).get("options", ""))
    extensions = found[1].split(",")[1:] if found else []
    return _with_path(dsn, [_quoted(schema), *extensions])


def without_store(dsn: str, extension_schemas: Sequence[str]) -> str:
    """The DSN whose sessions find unqualified names in no schema but those of extensions."""
    return _with_path(dsn, [_NO_STORE, *map(_quoted, extension_schemas)])


def with_options(dsn: str, options: str) -> str:
    """The DSN with more of a session's settings, ``-c name=value ...``."""
    before = _query(dsn).get("options", "")
    path = _OPTION.search(before)
    kept = before[: path.start()] if path else before
    return _with_query(
        dsn, {"options": " ".join(filter(None, (kept, options, path[0].strip() if path else "")))}
    )


async def confine(connection: asyncpg.Connection[Any], schema: str, *, local: bool = False) -> None:
    """Let unqualified names of this session lead to ``schema``; ``local`` for its transaction alone."""
    extensions = await connection.fetchval(EXTENSION_SCHEMAS)
    path = ", ".join(map(_quoted, [schema, *(one for one in extensions if one != schema)]))
    await connection.execute("select pg_catalog.set_config('search_path', $1, $2)", path, local)


async def extensions_path(dsn: str) -> tuple[str, bool]:
    """``without_store`` of the DSN, and whether its sessions keep to it: a pooler may drop or refuse it."""
    connection = await asyncpg.connect(dsn)
    try:
        schemas = await connection.fetchval(EXTENSION_SCHEMAS)
    finally:
        await connection.close()
    bare = without_store(dsn, schemas)
    try:
        connection = await asyncpg.connect(bare)
    except asyncpg.PostgresError:
        return bare, False
    try:
        path = await connection.fetchval("select current_setting('search_path')")
    finally:
        await connection.close()
    return bare, path.split(",") == [_NO_STORE, *map(_quoted, schemas)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _query(dsn: str) -> dict[str, str]:
    return dict(parse_qsl(dsn.partition("?")[2], keep_blank_values=True))


def _with_path(dsn: str, names: Sequence[str]) -> str:
    kept = _OPTION.sub("", _query(dsn).get("options", ""))
    escaped = ",".join(name.replace("\\", "\\\\").replace(" ", "\\ ") for name in names)
    return _with_query(dsn, {"options": f"{kept} -csearch_path={escaped}".strip()})


def _with_query(dsn: str, changed: dict[str, str]) -> str:
    # The driver sends search_path= of a DSN as a setting, which would come after the options.
    query = {name: value for name, value in _query(dsn).items() if name.lower() != "search_path"} | changed
    # libpq reads %20 for a blank, and takes + for itself.
    return f"{dsn.partition('?')[0]}?{urlencode(query, quote_via=quote)}"
