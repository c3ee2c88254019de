"""Whole tables are not read on a server whose data is in use: the planner is asked before what a query would read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema

LARGE_PAGES = 10_000
"""Pages of 8 KiB, 80 MB: a table of more is not read whole, nor an index of one."""

COST_MAX = float(LARGE_PAGES)
"""What reading so many pages costs in the planner's units. A scan that a LIMIT ends early costs less."""

_LARGE = """
select c.relname::text from pg_class c
where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'm')
    and pg_relation_size(c.oid) > $2::bigint * current_setting('block_size')::bigint
"""
_INDEX_SCANS = ("Index Scan", "Index Only Scan", "Bitmap Index Scan")


async def large_tables(connection: asyncpg.Connection[Any], schema: str) -> frozenset[str]:
    """The tables of the schema that are too large to be read whole; partitions are tables of their own."""
    rows = await connection.fetch(_LARGE, quoted_schema(schema), LARGE_PAGES)
    return frozenset(row[0] for row in rows)


def scanned_table(document: Any, large: frozenset[str]) -> str:
    """The large table that a plan, as EXPLAIN writes it in JSON, reads whole or in great part; empty without one."""
    root = (json.loads(document) if isinstance(document, str | bytes) else document)[0]["Plan"]
    if not large or root["Total Cost"] <= COST_MAX:
        return ""
    names = (node["Relation Name"] for node in _nodes(root) if "Relation Name" in node and _reads_all(node))
    return next((name for name in names if name in large), "")


async def would_scan(
    connection: asyncpg.Connection[Any], large: frozenset[str], query: str, *arguments: object
) -> str:
    """The large table that the query would read whole; empty where there is none. The query is not run."""
    if not large:
        return ""
    return scanned_table(await connection.fetchval(f"explain (format json) {query}", *arguments), large)


def _reads_all(node: dict[str, Any]) -> bool:
    kind = node["Node Type"]
    return kind == "Seq Scan" or (kind in _INDEX_SCANS and "Index Cond" not in node)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
