"""Appends like those of the corpus, by any store's statement: as a script for pgbench, and as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np

from eventmark.domain import NewEvent, StreamId
from eventmark.engine.statements import Statement, quoted_schema
from eventmark.stores import StoreDefinition, append_values, encoder_of, event_values, read_shape
from eventmark.workload import ONLY_TENANT

TEMPLATES = 24
"""Events whose types, tenants and payloads appends take: their sizes stand for all of the corpus'."""

_SAMPLED_ROWS = 2400
_OTHERWISE = {
    "tenant_id": ONLY_TENANT, "aggregate_type": "Order", "event_type": "OrderPlaced", "payload": "{}", "metadata": "{}",
    "payload_revision": "1.0",
}  # fmt: skip


# What a script says instead where a parameter has one of these types.
_OF_TYPE = {
    ("aggregate_id", "integer"): "(1073741824 + :stream % 1073741823)",
    ("aggregate_id", "bigint"): "(1099511627776 + :stream % 4503599627370496)",
    ("timestamp", "bigint"): "(extract(epoch from now()) * 1000)",
    ("event_id", "bytea"): "uuid_send(gen_random_uuid())",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An event that is there, as far as another one is made like it."""

    tenant_id: str
    aggregate_type: str
    event_type: str
    payload: str
    metadata: str
    payload_type: str
    payload_revision: str


async def sampled_templates(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> list[Template]:
    """``TEMPLATES`` events from everywhere in the table, evenly spread over the sizes of payloads."""
    columns = definition.sql_columns
    shape = await read_shape(connection, definition, schema)
    names = [name for name in (*_OTHERWISE, "payload_type") if name in columns]
    as_text = {
        name: f"convert_from({columns[name]}, 'UTF8')"
        if shape.type_of(definition, name) == "bytea"
        else f"{columns[name]}::text"
        for name in names
    }
    texts = ", ".join(f"{text} as {name}" for name, text in as_text.items())
    rows = await connection.fetch(
        f"with sampled as (select {texts}, length({as_text['payload']}) as bytes,"
        f" hashint8({columns['global_sequence_id']}::bigint) as place"
        f' from {quoted_schema(schema)}."{definition.events_table}" order by place limit {_SAMPLED_ROWS})'
        " select * from sampled order by bytes, place"
    )
    chosen = rows[len(rows) // (2 * TEMPLATES) :: max(len(rows) // TEMPLATES, 1)][:TEMPLATES]
    return [_template({name: row[name] for name in names}) for row in chosen]


def append_script(
    statement: Statement,
    schema: str,
    template: Template,
    *,
    version_num: int,
    types: Mapping[str, str] | None = None,
) -> str:
    """One append of one event to a new stream, for pgbench: all but the stream stands in it as constants.

    ``types`` are of parameters that have another one than the statement declares.
    """
    aggregate = "md5(:stream::text)::uuid::text"
    event_id = "uuidv7()" if version_num >= 180000 else "gen_random_uuid()"
    kind, moment = literal(template.aggregate_type), "now()"
    single = {
        "event_id": event_id, "event_type": literal(template.event_type), "payload": literal(template.payload),
        "metadata": literal(template.metadata), "timestamp": moment, "payload_type": literal(template.payload_type),
        "payload_revision": literal(template.payload_revision), "sequence_number": "1",
    }  # fmt: skip
    values = {
        "tenant_id": literal(template.tenant_id), "aggregate_id": aggregate, "aggregate_type": kind,
        "stream_id": f"({kind} || ':' || {aggregate})", "expected_version": "0", "event_count": "1", **single,
    }  # fmt: skip
    values |= {f"{name}s": value for name, value in single.items()}
    places = {}
    for parameter in statement.parameters:
        sql_type = (types or {}).get(parameter.name, parameter.sql_type)
        value = _OF_TYPE.get(
            (parameter.name.removesuffix("s"), sql_type.removesuffix("[]")), values[parameter.name]
        )
        places[parameter.name] = (
            f"array[{value}]::{sql_type}" if sql_type.endswith("[]") else f"({value})::{sql_type}"
        )
    lines = (
        line for line in statement.render(schema, places).splitlines() if not line.lstrip().startswith("--")
    )
    return "\\set stream random(1, 9000000000000000000)\n" + "\n".join(lines) + ";\n"


@dataclass(frozen=True, slots=True)
class AppendCall:
    """One append for a driver: its stream, and the statement's arguments in their order."""

    stream: StreamId
    arguments: tuple[object, ...]


def append_call(statement: Statement, template: Template, *, number: int, neighbour: int) -> AppendCall:
    """Append ``number`` of a series that is always the same, of one event to a new stream.

    With another ``neighbour``, another append whose ids are next to its own, on the same pages of indexes.
    """
    places = np.random.default_rng(number).bytes(30)
    stream = StreamId(
        tenant_id=template.tenant_id,
        aggregate_type=template.aggregate_type,
        aggregate_id=_stream_id(statement, places, neighbour),
    )
    event = NewEvent(
        event_id=UUID(bytes=places[15:] + bytes([neighbour])), event_type=template.event_type,
        payload=template.payload, metadata=template.metadata, timestamp=datetime.now(UTC),
        payload_type=template.payload_type, payload_revision=template.payload_revision,
    )  # fmt: skip
    values = append_values(stream, [event], 0)
    values |= event_values(values, 0)
    encoders = [encoder_of(parameter.sql_type) for parameter in statement.parameters]
    given = [values[parameter.name] for parameter in statement.parameters]
    arguments = (
        value if encode is None else encode(value) for value, encode in zip(given, encoders, strict=True)
    )
    return AppendCall(stream, tuple(arguments))


def _stream_id(statement: Statement, places: bytes, neighbour: int) -> str:
    """Of the type that the statement takes."""
    types = {parameter.name: parameter.sql_type for parameter in statement.parameters}
    if types.get("aggregate_id", "").partition("(")[0] in ("integer", "int", "bigint", "numeric"):
        return str((1 << 30) + int.from_bytes(places[:2]) * 256 + neighbour)
    return str(UUID(bytes=places[:15] + bytes([neighbour])))


def _template(row: Mapping[str, str | None]) -> Template:
    answers = {name: row.get(name) or otherwise for name, otherwise in _OTHERWISE.items()}
    return Template(**answers, payload_type=row.get("payload_type") or answers["event_type"])


def literal(text: str) -> str:
    """A constant that pgbench finds no variable in: colons stand as what they are in Unicode."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace(":", "\\003A")
    return f"U&'{escaped}'"
