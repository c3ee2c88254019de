"""A table made anew with its columns in another order or type, or in partitions, and filled from the old one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from eventmark.adviser.index_facts import IndexFacts
from eventmark.adviser.table_facts import ColumnFacts, TableFacts
from eventmark.plans.sampling import quoted_name

NOT_CARRIED_OVER = "privileges, policies, foreign keys, comments and replica identity"

PARTITIONS = 8

_SUFFIX = "_rebuilt"
_STORAGE = {"p": "plain", "e": "external", "m": "main", "x": "extended"}
_ENABLED = {"A": "enable always", "R": "enable replica"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitioning:
    """``by`` what, such as ``hash ("tenant_id")``, and the bounds of each partition."""

    by: str
    bounds: tuple[str, ...]


def by_hash(column: str) -> Partitioning:
    """In ``PARTITIONS`` parts by a column's hash."""
    bounds = (f"with (modulus {PARTITIONS}, remainder {number})" for number in range(PARTITIONS))
    return Partitioning(by=f"hash ({quoted_name(column)})", bounds=tuple(bounds))


def by_range(column: str, limits: Sequence[str]) -> Partitioning:
    """In one part more than there are ``limits``, which rise; each is text that the column's type reads."""
    ends = ["minvalue", *(f"'{limit}'" for limit in limits), "maxvalue"]
    bounds = (f"from ({low}) to ({high})" for low, high in pairwise(ends))
    return Partitioning(by=f"range ({quoted_name(column)})", bounds=tuple(bounds))


def rebuild_statements(
    table: TableFacts,
    indexes: Sequence[IndexFacts],
    *,
    order: Sequence[ColumnFacts] | None = None,
    partitioning: Partitioning | None = None,
    values: Mapping[str, str] | None = None,
    rows_by: Sequence[str] = (),
) -> tuple[str, ...]:
    """SQL for a search path that leads to the table: all of its rows, indexes, checks and triggers.

    ``order`` of the columns is the table's own unless given; ``values`` are expressions to fill columns by,
    where not by what is in them. Rows are written in the order of ``rows_by``: in that in which they lie, each
    time a table is made anew they would lie less in order. What ``NOT_CARRIED_OVER`` names is not made again.
    """
    columns = table.columns if order is None else order
    old, new = quoted_name(table.name), quoted_name(table.name + _SUFFIX)
    filled = [column for column in columns if not column.generated]
    named = ", ".join(quoted_name(column.name) for column in filled)
    by = f" order by {', '.join(map(quoted_name, rows_by))}" if rows_by else ""
    read = ", ".join((values or {}).get(column.name, quoted_name(column.name)) for column in filled)
    return (
        _create(table, columns, new, partitioning),
        *_partitions(table.name, new, partitioning),
        *_storage(new, columns),
        f"insert into {new} ({named}) overriding system value select {read} from {old}{by}",
        *(f"alter sequence {column.sequence} owned by {new}.{quoted_name(column.name)}"
          for column in columns if column.sequence and not column.identity),
        f"drop table {old}",
        f"alter table {new} rename to {old}",
        *(f"alter table {old} add constraint {quoted_name(check.name)} {check.definition}" for check in table.checks),
        *(_index(old, index) for index in indexes if index.table == table.name),
        *_triggers(old, table),
        *_identities(table.name, columns),
        f"analyze {old}",
    )  # fmt: skip


def _create(
    table: TableFacts, columns: Sequence[ColumnFacts], new: str, partitioning: Partitioning | None
) -> str:
    listed = ", ".join(_column(column) for column in columns)
    if partitioning is not None:
        return f"create table {new} ({listed}) partition by {partitioning.by}"
    return f"create table {new} ({listed})" + (f" with ({', '.join(table.options)})" if table.options else "")


def _partitions(table: str, new: str, partitioning: Partitioning | None) -> list[str]:
    bounds = partitioning.bounds if partitioning else ()
    return [
        f"create table {quoted_name(f'{table}_{number}')} partition of {new} for values {bound}"
        for number, bound in enumerate(bounds)
    ]


def _column(column: ColumnFacts) -> str:
    parts = [quoted_name(column.name), column.sql_type]
    if column.collation:
        parts.append(f"collate {column.collation}")
    if column.identity:
        how = "always" if column.identity == "a" else "by default"
        parts.append(f"generated {how} as identity (sequence name {_meanwhile(column.sequence)})")
    elif column.generated:
        parts.append(f"generated always as ({column.default_expression}) stored")
    elif column.default_expression:
        parts.append(f"default {column.default_expression}")
    return " ".join([*parts, *(["not null"] if column.is_not_null else [])])


def _storage(new: str, order: Sequence[ColumnFacts]) -> list[str]:
    """How long values are stored, where the column says so itself."""
    statements = [
        f"alter table {new} alter column {quoted_name(column.name)} set storage {_STORAGE[column.storage]}"
        for column in order
        if column.length == -1
    ]
    methods = {"l": "lz4", "p": "pglz"}
    return statements + [
        f"alter table {new} alter column {quoted_name(column.name)} set compression {methods[column.compression]}"
        for column in order
        if column.compression in methods
    ]


def _index(old: str, index: IndexFacts) -> str:
    if index.constraint:
        return (
            f"alter table {old} add constraint {quoted_name(index.constraint)} {index.constraint_definition}"
        )
    return index.definition


def _triggers(old: str, table: TableFacts) -> list[str]:
    statements = []
    for trigger in table.triggers:
        statements.append(trigger.definition)
        if trigger.enabled in _ENABLED:
            statements.append(
                f"alter table {old} {_ENABLED[trigger.enabled]} trigger {quoted_name(trigger.name)}"
            )
    return statements


def _identities(table: str, order: Sequence[ColumnFacts]) -> list[str]:
    """Let identities go on after what was copied, with their sequences called as before."""
    statements = []
    for column in order:
        if column.identity:
            last = f"(select coalesce(max({quoted_name(column.name)}), 0) + 1 from {quoted_name(table)})"
            renamed = f"alter sequence {_meanwhile(column.sequence)} rename to {column.sequence}"
            sequence = "'" + column.sequence.replace("'", "''") + "'"
            statements += [renamed, f"select setval({sequence}, {last}, false)"]
    return statements


def _meanwhile(sequence: str) -> str:
    """What a sequence is called while the old table has its name."""
    return quoted_name(sequence.strip('"').replace('""', '"') + _SUFFIX)
