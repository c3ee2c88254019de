"""A table made anew with its columns in another order or type, or in partitions, and filled from the old one."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.plans.indexes import IndexFacts
from eventmark.plans.sampling import quoted_name
from eventmark.plans.tables import ColumnFacts, TableFacts

NOT_CARRIED_OVER = "privileges, policies, foreign keys, comments and replica identity"

_SUFFIX = "_rebuilt"
_STORAGE = {"p": "plain", "e": "external", "m": "main", "x": "extended"}
_ENABLED = {"A": "enable always", "R": "enable replica"}


def rebuild_statements(
    table: TableFacts,
    indexes: Sequence[IndexFacts],
    *,
    order: Sequence[ColumnFacts],
    hash_column: str = "",
    partitions: int = 0,
) -> tuple[str, ...]:
    """SQL for a search path that leads to the table: all of its rows, indexes, checks and triggers, in ``order``.

    With ``hash_column``, in so many partitions by its hash. What ``NOT_CARRIED_OVER`` names is not made again.
    """
    old, new = quoted_name(table.name), quoted_name(table.name + _SUFFIX)
    columns = ", ".join(_column(column) for column in order)
    options = f" with ({', '.join(table.options)})" if table.options and not hash_column else ""
    by = f" partition by hash ({quoted_name(hash_column)})" if hash_column else ""
    named = ", ".join(quoted_name(column.name) for column in order if not column.generated)
    return (
        f"create table {new} ({columns}){by}{options}",
        *(_partition(table.name, new, number, partitions) for number in range(partitions)),
        *_storage(new, order),
        f"insert into {new} ({named}) overriding system value select {named} from {old}",
        *(f"alter sequence {column.sequence} owned by {new}.{quoted_name(column.name)}"
          for column in order if column.sequence and not column.identity),
        f"drop table {old}",
        f"alter table {new} rename to {old}",
        *(f"alter table {old} add constraint {quoted_name(one.name)} {one.definition}" for one in table.checks),
        *(_index(old, one) for one in indexes if one.table == table.name),
        *_triggers(old, table),
        *_identities(table.name, order),
        f"analyze {old}",
    )  # fmt: skip


def _column(column: ColumnFacts) -> str:
    parts = [quoted_name(column.name), column.sql_type]
    if column.collation:
        parts.append(f"collate {column.collation}")
    if column.identity:
        parts.append(f"generated {'always' if column.identity == 'a' else 'by default'} as identity")
    elif column.generated:
        parts.append(f"generated always as ({column.default_expression}) stored")
    elif column.default_expression:
        parts.append(f"default {column.default_expression}")
    return " ".join([*parts, *(["not null"] if column.is_not_null else [])])


def _partition(table: str, new: str, number: int, partitions: int) -> str:
    name = quoted_name(f"{table}_{number}")
    return (
        f"create table {name} partition of {new} for values with (modulus {partitions}, remainder {number})"
    )


def _storage(new: str, order: Sequence[ColumnFacts]) -> list[str]:
    """How long values are stored, where the column says so itself."""
    found = [
        f"alter table {new} alter column {quoted_name(column.name)} set storage {_STORAGE[column.storage]}"
        for column in order
        if column.length == -1
    ]
    methods = {"l": "lz4", "p": "pglz"}
    return found + [
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
    found = []
    for trigger in table.triggers:
        found.append(trigger.definition)
        if trigger.enabled in _ENABLED:
            found.append(f"alter table {old} {_ENABLED[trigger.enabled]} trigger {quoted_name(trigger.name)}")
    return found


def _identities(table: str, order: Sequence[ColumnFacts]) -> list[str]:
    """Let identities go on after what was copied."""
    text = "'" + quoted_name(table).replace("'", "''") + "'"
    return [
        f"select setval(pg_get_serial_sequence({text}, '{column.name}'), "
        f"(select coalesce(max({quoted_name(column.name)}), 0) + 1 from {quoted_name(table)}), false)"
        for column in order
        if column.identity
    ]
