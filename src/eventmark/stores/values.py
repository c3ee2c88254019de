"""Values as the driver wants them for a parameter's type: Eventmark's ids are text, its times have a zone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg

Encoder = Callable[[object], object]

_BASE_TYPES = """
with recursive typed as (
    select oid as parameter, oid as type from pg_type where oid = any($1::oid[])
    union all
    select parameter, t.typbasetype from typed join pg_type t on t.oid = typed.type where t.typtype = 'd'
)
select parameter, format_type(t.oid, null) as type
from typed join pg_type t on t.oid = typed.type and t.typtype <> 'd'
"""
_TEXTS = ("text", "character varying", "varchar", "character", "char", "bpchar", "citext", "name")
_NUMBERS = ("smallint", "integer", "int", "bigint", "int2", "int4", "int8", "numeric")


async def read_encoders(
    connection: asyncpg.Connection[asyncpg.Record], statements: Mapping[str, str]
) -> dict[str, tuple[Encoder | None, ...]]:
    """For each parameter of each statement how its value is written; None where it is taken as it is."""
    oids = {}
    for name, sql in statements.items():
        try:
            oids[name] = [parameter.oid for parameter in (await connection.prepare(sql)).get_parameters()]
        except asyncpg.PostgresError:  # told when it is run
            continue
    rows = await connection.fetch(
        _BASE_TYPES, sorted({oid for type_oids in oids.values() for oid in type_oids})
    )
    types = {row["parameter"]: row["type"] for row in rows}
    return {
        name: tuple(encoder_of(types.get(oid, "")) for oid in type_oids) for name, type_oids in oids.items()
    }


def encoder_of(sql_type: str) -> Encoder | None:
    """How a value is written for an SQL type; None for a type that takes Eventmark's values as they are."""
    sql_type = sql_type.lower().strip()
    if sql_type.endswith("[]"):
        encoder = encoder_of(sql_type[:-2])
        return None if encoder is None else lambda values: [encoder(value) for value in values]  # type: ignore[attr-defined]
    plain = sql_type.partition("(")[0].strip()
    if plain in _TEXTS:
        return _as_text
    if plain in _NUMBERS:
        return _as_number
    if plain == "bytea":
        return _as_bytes
    if plain.startswith("timestamp") and plain != "timestamptz" and "with time zone" not in sql_type:
        return _without_zone
    return None


def instant_as_text(instant: datetime) -> str:
    """ISO 8601 in UTC, as the seeder writes it."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _as_text(value: object) -> object:
    if isinstance(value, datetime):
        return instant_as_text(value)
    return value if value is None or isinstance(value, str) else str(value)


def _as_number(value: object) -> object:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return int(value) if isinstance(value, str | Decimal) else value


def _as_bytes(value: object) -> object:
    if isinstance(value, UUID):
        return value.bytes
    return value.encode() if isinstance(value, str) else value


def _without_zone(value: object) -> object:
    return (
        value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
    )
