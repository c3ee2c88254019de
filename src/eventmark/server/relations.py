"""A schema's tables and indexes as the server accounts for them: size, dead rows, upkeep, and what VACUUM does now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.server.extensions import extension_schema

INSPECTED_BYTES_MAX = 2 * 2**30
"""Larger indexes are not read whole to learn how full their pages are."""

_RELATIONS = """
select
    c.relname as name, c.relkind::text as kind, coalesce(t.relname, c.relname) as table_name,
    pg_relation_size(c.oid) as bytes,
    case when c.relkind = 'r' then pg_table_size(c.oid) - pg_relation_size(c.oid) end as toast_bytes,
    s.n_tup_ins as inserted_rows, s.n_live_tup as live_rows, s.n_dead_tup as dead_rows,
    s.autovacuum_count as autovacuums,
    s.autoanalyze_count as autoanalyzes, s.n_ins_since_vacuum as rows_since_vacuum, c.relallvisible as visible_pages
from pg_class c
left join pg_stat_all_tables s on s.relid = c.oid
left join pg_index i on i.indexrelid = c.oid
left join pg_class t on t.oid = i.indrelid
where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'i')
order by c.relname
"""
_NOW = """
select
    sum(pg_table_size(c.oid))::float8 as table_bytes, sum(pg_indexes_size(c.oid))::float8 as index_bytes,
    sum(s.n_dead_tup)::float8 as dead_rows,
    (select count(*) from pg_stat_progress_vacuum p join pg_class v on v.oid = p.relid
        where v.relnamespace = to_regnamespace($1))::float8 as vacuums_running
from pg_class c left join pg_stat_all_tables s on s.relid = c.oid
where c.relnamespace = to_regnamespace($1) and c.relkind = 'r'
"""
_FULLNESS = """
select c.relname as name, (s).avg_leaf_density / 100 as leaf_density
from pg_class c join pg_am a on a.oid = c.relam, lateral {place}.pgstatindex(c.oid::regclass) s
where c.relnamespace = to_regnamespace($1) and c.relkind = 'i' and a.amname = 'btree'
    and pg_relation_size(c.oid) between 1 and $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, or an index of ``table_name``. Rows and what was done to them are None for an index.

    ``leaf_density`` is how full an index's leaf pages are, None where that was not looked at.
    """

    name: str
    kind: str  # "r" a table, "i" an index
    table_name: str
    bytes: int
    toast_bytes: int | None
    inserted_rows: int | None
    live_rows: int | None
    dead_rows: int | None
    autovacuums: int | None
    autoanalyzes: int | None
    rows_since_vacuum: int | None
    visible_pages: int
    leaf_density: float | None = None


async def relations_snapshot(connection: asyncpg.Connection[Any], schema: str) -> dict[str, Relation]:
    """Every table and index of the schema by name; how full indexes are where pgstattuple is installed."""
    rows = await connection.fetch(_RELATIONS, f'"{schema}"')
    density = await _leaf_density(connection, schema)
    return {row["name"]: Relation(**dict(row), leaf_density=density.get(row["name"])) for row in rows}


async def _leaf_density(connection: asyncpg.Connection[Any], schema: str) -> Mapping[str, float]:
    installed_in = await extension_schema(connection, "pgstattuple")
    if installed_in is None:
        return {}
    try:
        rows = await connection.fetch(
            _FULLNESS.format(place=installed_in), f'"{schema}"', INSPECTED_BYTES_MAX
        )
    except asyncpg.PostgresError:  # a role that may not run it
        return {}
    # An index without an entry has leaves that are neither full nor empty: not a number.
    return {row["name"]: row["leaf_density"] for row in rows if not math.isnan(row["leaf_density"])}


async def relations_now(connection: asyncpg.Connection[Any], schema: str) -> dict[str, float]:
    """``table_bytes`` with TOAST, ``index_bytes``, ``dead_rows`` and ``vacuums_running`` of the whole schema."""
    row = await connection.fetchrow(_NOW, f'"{schema}"')
    return {name: float(value or 0.0) for name, value in (row or {}).items()}
