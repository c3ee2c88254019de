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

_OPTION = re.compile(r"(?:^|\s+)-csearch_path=(\"(?:\\.|\S)*)$")  # as it is written here, and nowhere else

# Of extensions alone: where anybody else keeps a table or a function, an unqualified name could mean theirs.
_EXTENSION_SCHEMAS = """
select n.nspname::text as name
from pg_catalog.pg_namespace n
where n.nspname <> 'pg_catalog' and has_schema_privilege(n.oid, 'usage')
    and exists (select from pg_catalog.pg_extension e where e.extnamespace = n.oid)
    and not exists (
        select from (
            select 'pg_catalog.pg_class'::regclass as class, c.oid from pg_catalog.pg_class c
            where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            union all
            select 'pg_catalog.pg_proc'::regclass, p.oid from pg_catalog.pg_proc p where p.pronamespace = n.oid
        ) as own
        where not exists (
            select from pg_catalog.pg_depend d
            where d.classid = own.class and d.objid = own.oid and d.deptype = 'e'
        )
    )
"""
_CONFINE = f"""
select pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', $1::text, (
    select pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ' order by name)
    from ({_EXTENSION_SCHEMAS}) extensions where pg_catalog.quote_ident(name) <> $1::text and name <> $3
)), $2)
"""


def confined_dsn(dsn: str, schema: str, extension_schemas: Sequence[str] | None = None) -> str:
    """The DSN whose sessions find unqualified names in ``schema``, then in those of extensions.

    Without ``extension_schemas`` these are those of the DSN, where it is confined to another schema already.
    """
    options = _query(dsn).get("options", "")
    match = _OPTION.search(options)
    names = match[1].split(",")[1:] if match else []
    if extension_schemas is not None:
        names = [_quoted(name) for name in extension_schemas if name != schema]
    path = ",".join([_quoted(schema), *names]).replace("\\", "\\\\").replace(" ", "\\ ")
    return _with_options(dsn, [_OPTION.sub("", options), f"-csearch_path={path}"])


def unconfined_dsn(dsn: str) -> str:
    """The DSN as it was before ``confined_dsn``."""
    options = _query(dsn).get("options", "")
    return _with_options(dsn, [_OPTION.sub("", options)]) if _OPTION.search(options) else dsn


def with_options(dsn: str, options: str) -> str:
    """The DSN with more of a session's settings, ``-c name=value ...``, where it stays confined."""
    if not options:
        return dsn
    before = _query(dsn).get("options", "")
    path = _OPTION.search(before)
    return _with_options(dsn, [_OPTION.sub("", before), options, path[0].strip() if path else ""])


def without_options(dsn: str, options: str) -> str:
    """The DSN as it was before ``with_options``."""
    return (
        _with_options(dsn, [_query(dsn).get("options", "").removesuffix(options).strip()]) if options else dsn
    )


async def confine(connection: asyncpg.Connection[Any], schema: str, *, local: bool = False) -> None:
    """Let unqualified names of this session lead to ``schema``; ``local`` for its transaction alone."""
    await connection.fetchval(_CONFINE, _quoted(schema), local, schema)


async def extension_schemas(connection: asyncpg.Connection[Any]) -> tuple[str, ...]:
    """The schemas where nobody but extensions keeps anything."""
    return tuple(row["name"] for row in await connection.fetch(f"{_EXTENSION_SCHEMAS} order by name"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _query(dsn: str) -> dict[str, str]:
    return dict(parse_qsl(dsn.partition("?")[2], keep_blank_values=True))


def _with_options(dsn: str, options: Sequence[str]) -> str:
    # The driver sends search_path= of a DSN as a setting, which would come after the options.
    query = {
        name: value for name, value in _query(dsn).items() if name.lower() not in ("search_path", "options")
    }
    if joined := " ".join(filter(None, options)):
        query["options"] = joined
    # libpq reads %20 for a blank, and takes + for itself.
    text = urlencode(query, quote_via=quote, safe="/,")
    return f"{dsn.partition('?')[0]}{'?' if text else ''}{text}"
