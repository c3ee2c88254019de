"""Sizes and shapes of a store's relations, and its hits in the cache."""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.experiments.scale.steps import Relation
from eventmark.jobs.warming import PATIENCE_S, RELATIONS
from eventmark.server import Server
from eventmark.server.extensions import extension_schema, missing_extension

_SHAPE = "select tree_level, avg_leaf_density, leaf_fragmentation from {place}.pgstatindex($1::oid::regclass)"
_CACHE = """
select
    coalesce(sum(heap_blks_hit + coalesce(idx_blks_hit, 0) + coalesce(toast_blks_hit, 0)
        + coalesce(tidx_blks_hit, 0)), 0)::bigint as hits,
    coalesce(sum(heap_blks_read + coalesce(idx_blks_read, 0) + coalesce(toast_blks_read, 0)
        + coalesce(tidx_blks_read, 0)), 0)::bigint as reads
from pg_statio_all_tables where schemaname = $1
"""
_SCANS = "select indexrelname as name, idx_scan as scans from pg_stat_all_indexes where schemaname = $1"


async def relations_of(
    connection: asyncpg.Connection[Any], server: Server, schema: str
) -> tuple[list[Relation], str]:
    """A schema's relations; and why its indexes' shapes are not told, where they are not."""
    missing = await missing_extension(connection, "pgstattuple", ours=server.ours)
    shape_of = _SHAPE.format(place=await extension_schema(connection, "pgstattuple"))
    rows = await connection.fetch(RELATIONS, quoted_schema(schema))
    relations = []
    for row in rows:
        shape = None
        if row["kind"] == "index" and not missing:
            shape = await connection.fetchrow(shape_of, row["oid"], timeout=PATIENCE_S)
        relations.append(_relation(row, shape))
    return relations, missing


def _relation(row: Any, shape: Any) -> Relation:
    return Relation(
        name=row["name"], kind=row["kind"], size_bytes=row["size_bytes"],
        levels=shape["tree_level"] if shape else None,
        leaf_density=_share(shape["avg_leaf_density"]) if shape else None,
        fragmentation=_share(shape["leaf_fragmentation"]) if shape else None,
    )  # fmt: skip


def _share(percent: float) -> float | None:
    """The extension tells what is not a number of an index without a leaf."""
    return round(percent / 100, 4) if percent == percent else None


async def cache_counts(connection: asyncpg.Connection[Any], schema: str) -> tuple[int, int]:
    """Pages of the schema's tables and indexes found in shared buffers, and read into them, so far."""
    row = await connection.fetchrow(_CACHE, schema)
    return row["hits"], row["reads"]


async def index_scans(connection: asyncpg.Connection[Any], schema: str) -> dict[str, int]:
    """Searches in each index so far."""
    return {row["name"]: row["scans"] for row in await connection.fetch(_SCANS, schema)}
