"""The statements of a store over one table of somebody's, as they may be written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from eventmark.stores.from_migrations.mapping import Mapped, constant
from eventmark.stores.from_migrations.tables import Reference, Table

# Eventmark's columns that an append fills, and the parameter with one element per event.
_BATCH = {
    "event_id": "event_ids", "event_type": "event_types", "payload": "payloads", "metadata": "metadatas",
    "timestamp_utc": "timestamps", "payload_type": "payload_types", "payload_revision": "payload_revisions",
}  # fmt: skip
_STREAM = ("tenant_id", "aggregate_id", "aggregate_type")
_RESULTS = (
    "global_sequence_id", "transaction_id", "tenant_id", "aggregate_type", "aggregate_id", "sequence_number",
    "event_id", "event_type", "payload_type", "payload_revision", "payload", "metadata", "timestamp_utc",
)  # fmt: skip
_LINE = "\n"
_LINE_LENGTH_MAX = 100
_VERSIONS = ("version", "streamversion", "aggregateversion", "revision", "currentversion", "position")


def statement_files(
    events: Mapped, snapshots: Mapped | None, tables: Mapping[str, Table]
) -> Iterator[tuple[str, str]]:
    """The names and texts of the store's SQL files."""
    companions = [
        (tables[reference.table], reference) for reference in events.references() if reference.table in tables
    ]
    if companions:
        yield "seed.sql", "\n\n".join(_seed(events, *companion) for companion in companions)
    yield "append_events.sql", _append(events, companions)
    yield "load_aggregate.sql", _load(events)
    yield "stream_events.sql", _stream(events)
    yield "create_head_token.sql", _head(events)
    if "tenant_id" in events.guesses:
        yield "stream_tenant_events.sql", _stream(events, of_tenant=True)
    if snapshots is not None:
        yield "store_snapshot.sql", _store_snapshot(snapshots)
        yield "read_snapshot.sql", _read_snapshot(snapshots)


def _header(name: str, purpose: str, parameters: list[str], index: str = "") -> str:
    lines = [f"-- name: {name}", f"-- purpose: {purpose}", f"-- parameters: {', '.join(parameters)}"]
    return "\n".join([*lines, *([f"-- index: {index}"] if index else [])])


def _table(mapped: Mapped) -> str:
    return f"{{schema}}.{mapped.table.sql}"


def _parameter(mapped: Mapped, name: str) -> str:
    return f"{name} {mapped[name].declared}"


def _stream_ids(mapped: Mapped) -> list[str]:
    return [name for name in ("tenant_id", "aggregate_id") if name in mapped.guesses]


def _of_stream(mapped: Mapped) -> str:
    return " and ".join(f"{mapped[name].sql} = :{name}" for name in _stream_ids(mapped))


def _stream_index(mapped: Mapped) -> str:
    return mapped.table.index_on(*(mapped[name].name for name in (*_stream_ids(mapped), "sequence_number")))


def _results(mapped: Mapped) -> str:
    results = []
    for name in _RESULTS:
        if column := mapped.column(name):
            is_number = column.type == "numeric" and name in ("global_sequence_id", "sequence_number")
            results.append(f"{column.sql}{'::bigint' if is_number else ''} as {name}")
    return _wrapped(results, 4)


def _append(events: Mapped, companions: list[tuple[Table, Reference]]) -> str:
    batch = [name for name in _BATCH if name in events.guesses]
    ids = [name for name in _STREAM if name in events.guesses]
    beside = [_companion(events, *companion, number) for number, companion in enumerate(companions)]
    counting = [number for number, (_, counts) in enumerate(beside) if counts]
    parameters = [_parameter(events, name) for name in ids]
    parameters += ["expected_version bigint", *(["event_count bigint"] if counting else [])]
    parameters += [f"{_BATCH[name]} {events[name].declared}[]" for name in batch]
    version, position = events["sequence_number"].sql, events["global_sequence_id"].sql
    columns, values = zip(*_inserted(events, batch, ids), strict=True)
    transaction = events.column("transaction_id")
    guards = ["coalesce((select version from last_event), 0) = :expected_version"]
    if transaction:
        guards.append("coalesce((select written_by <= pg_current_xact_id() from last_event), true)")
    guards += [f"exists (select from companion_{number})" for number in counting]
    header = _header(
        "append_events", "append a batch to one stream, if the stream is at the expected version; one statement",
        parameters, _stream_index(events),
    )  # fmt: skip
    return f"""{header}
-- A last_global_sequence of null means that nothing was stored: a conflict.
with last_event as (
    select {version} as version{f", {transaction.sql} as written_by" if transaction else ""}
    from {_table(events)}
    where {_of_stream(events)}
    order by {version} desc
    limit 1
){"".join(f", {text}" for text, _ in beside)}, appended as (
    insert into {_table(events)} (
        {_wrapped(columns)}
    )
    select
        {_wrapped(values)}
    from unnest(
        {_wrapped([f":{_BATCH[name]}::{events[name].declared}[]" for name in batch])}
    ) with ordinality as batch ({", ".join([*batch, "place"])})
    where {_and(guards, 8)}
    returning {position}
)
select
    (select max({position}) from appended){_number(events)} as last_global_sequence,
    coalesce((select version from last_event), 0)::bigint as actual_version{
        f",{_LINE}    pg_current_xact_id() as transaction_id" if transaction else ""
    }"""


def _wrapped(words: Iterable[str], indent: int = 8) -> str:
    """With commas between them, in lines that can be read."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > _LINE_LENGTH_MAX:
            lines.append("")
        lines[-1] += f", {word}" if lines[-1] else word
    return f",{_LINE}{' ' * indent}".join(lines)


def _and(conditions: Sequence[str], indent: int = 4) -> str:
    return f"{_LINE}{' ' * indent}and ".join(conditions)


def _number(events: Mapped) -> str:
    return "::bigint" if events["global_sequence_id"].type == "numeric" else ""


def _inserted(events: Mapped, batch: list[str], ids: list[str]) -> Iterator[tuple[str, str]]:
    """The columns that an append fills, and with what."""
    if events.next_position:
        yield events["global_sequence_id"].sql, events.next_position
    for name in ids:
        yield events[name].sql, f":{name}::{events[name].declared}"
    yield events["sequence_number"].sql, ":expected_version + place"
    for name in batch:
        yield events[name].sql, name
    transaction = events.column("transaction_id")
    if transaction and not transaction.expression:
        yield transaction.sql, "pg_current_xact_id()"
    for name, expression in events.filled.items():
        yield events.table.columns[name].sql, expression


def _load(events: Mapped) -> str:
    version = events["sequence_number"].sql
    parameters = [*(_parameter(events, name) for name in _stream_ids(events)), "from_sequence bigint"]
    purpose = "the events of one stream from a version on, in order"
    return f"""{_header("load_aggregate", purpose, parameters, _stream_index(events))}
select {_results(events)}
from {_table(events)}
where {_of_stream(events)} and {version} >= :from_sequence
order by {version}"""


def _stream(events: Mapped, *, of_tenant: bool = False) -> str:
    position = events["global_sequence_id"]
    transaction = events.column("transaction_id")
    order = [*([transaction] if transaction else []), position]
    tenant = [events["tenant_id"]] if of_tenant else []
    parameters = [_parameter(events, "tenant_id")] if of_tenant else []
    parameters += ["transaction_id xid8"] if transaction else []
    parameters += ["global_sequence bigint", "batch_size bigint"]
    guards = [f"{tenant[0].sql} = :tenant_id"] if of_tenant else []
    if transaction:
        guards.append(f"({transaction.sql}, {position.sql}) > (:transaction_id, :global_sequence)")
        guards.append(f"{transaction.sql} < pg_snapshot_xmin(pg_current_snapshot())")
    else:
        guards.append(f"{position.sql} > :global_sequence")
    header = _header(
        "stream_tenant_events" if of_tenant else "stream_events",
        f"a batch of {'one tenant' + chr(39) + 's events' if of_tenant else 'events'} after a place in the log",
        parameters,
        events.table.index_on(*(column.name for column in (*tenant, *order))),
    )
    return f"""{header}
select {_results(events)}
from {_table(events)}
where {_and(guards)}
order by {", ".join(column.sql for column in order)}
limit :batch_size"""


def _head(events: Mapped) -> str:
    position = events["global_sequence_id"]
    transaction = events.column("transaction_id")
    order = [*([transaction] if transaction else []), position]
    index = events.table.index_on(*(column.name for column in order))
    selected = f"{transaction.sql} as transaction_id, " if transaction else ""
    where = f"where {transaction.sql} < pg_snapshot_xmin(pg_current_snapshot())\n" if transaction else ""
    return f"""{_header("create_head_token", "the end of the log as consumers may see it now", [], index)}
select {selected}{position.sql}{_number(events)} as global_sequence_id
from {_table(events)}
{where}order by {", ".join(f"{column.sql} desc" for column in order)}
limit 1"""


def _store_snapshot(snapshots: Mapped) -> str:
    names = [name for name in (*_STREAM, "sequence_number", "timestamp_utc", "payload", "payload_type",
                               "payload_revision") if name in snapshots.guesses]  # fmt: skip
    own = {name: snapshots[name] for name in names}
    key = next((index.columns for index in snapshots.table.indexes if index.is_unique), ())
    others = [column.sql for column in own.values() if column.name not in key]
    quoted = ", ".join(snapshots.table.columns[name].sql for name in key)
    conflict = (
        f"\non conflict ({quoted}) do update set {', '.join(f'{other} = excluded.{other}' for other in others)}"
        if key
        else ""
    )
    header = _header(
        "store_snapshot", "keep a snapshot; the same key again replaces it",
        [_parameter(snapshots, name) for name in names],
    )  # fmt: skip
    return f"""{header}
insert into {_table(snapshots)} ({", ".join(column.sql for column in own.values())})
values ({", ".join(f":{name}" for name in names)}){conflict}"""


def _read_snapshot(snapshots: Mapped) -> str:
    parameters = [_parameter(snapshots, name) for name in _stream_ids(snapshots)]
    version = snapshots["sequence_number"].sql
    index = _stream_index(snapshots) or snapshots.table.index_on(
        *(snapshots[name].name for name in _stream_ids(snapshots))
    )
    return f"""{_header("read_snapshot", "the latest snapshot of a stream", parameters, index)}
select {_results(snapshots)}
from {_table(snapshots)}
where {_of_stream(snapshots)}
order by {version} desc
limit 1"""


def _beside(events: Mapped, table: Table, reference: Reference) -> tuple[dict[str, str], str, dict[str, str]]:
    """Of a table that events refer to: its columns that are Eventmark's, its version, and what else it needs."""
    roles = {guess.column.name: name for name, guess in events.guesses.items()}
    known = {target: roles[own] for own, target in reference.columns.items() if own in roles}
    version = ""
    if "aggregate_id" in known.values():
        version = next((name for name in table.columns if name.replace("_", "") in _VERSIONS), "")
    for name, column in table.columns.items():
        is_same = name in roles and roles[name] in _STREAM and events[roles[name]].type == column.type
        if (
            is_same
            and "aggregate_id" in known.values()
            and name not in known
            and name != version
            and roles[name] not in known.values()
        ):
            known[name] = roles[name]
    needed = {
        column.sql: constant(column)
        for name, column in table.columns.items()
        if column.needed and name not in known and name != version
    }
    return known, version, needed


def _seed(events: Mapped, table: Table, reference: Reference) -> str:
    known, version, needed = _beside(events, table, reference)
    columns = [table.columns[name].sql for name in known]
    key = ", ".join(table.columns[name].sql for name in reference.columns.values())
    values = list(known.values())
    grouped = ", ".join(values)
    update = "do nothing"
    if version:
        quoted = table.columns[version].sql
        columns.append(quoted)
        values.append("max(sequence_number)")
        update = f"do update set {quoted} = greatest(beside.{quoted}, excluded.{quoted})"
    return f"""-- What seeded events refer to in {table.name}.
insert into {{schema}}.{table.sql} as beside ({", ".join([*columns, *needed])})
select {", ".join([*values, *needed.values()])}
from seeded_events
group by {grouped}
order by {grouped}
on conflict ({key}) {update};"""


def _companion(events: Mapped, table: Table, reference: Reference, number: int) -> tuple[str, bool]:
    """The part of an append that keeps a table events refer to, and whether it counts the stream's versions."""
    known, version, needed = _beside(events, table, reference)
    columns = [table.columns[name].sql for name in known]
    values = [f":{name}::{table.columns[target].declared}" for target, name in known.items()]
    key = ", ".join(table.columns[name].sql for name in reference.columns.values())
    conflict = "do nothing"
    if version:
        quoted = table.columns[version].sql
        columns.append(quoted)
        values.append(":expected_version::bigint + :event_count::bigint")
        is_next = f"beside.{quoted} = :expected_version"
        conflict = f"do update set {quoted} = excluded.{quoted} where {is_next}\n    returning true"
    return (
        f"""companion_{number} as (
    insert into {{schema}}.{table.sql} as beside ({", ".join([*columns, *needed])})
    select {", ".join([*values, *needed.values()])}
    where coalesce((select version from last_event), 0) = :expected_version
    on conflict ({key}) {conflict}
)""",
        bool(version),
    )
