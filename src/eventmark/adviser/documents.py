"""How documents are stored: json in place of jsonb, and from which size of a row on PostgreSQL compresses them.

All of these are alternatives: each is tried by itself, and the one that reads and appends gain most from is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from eventmark.adviser.candidate import Candidate, Trial
from eventmark.adviser.table_facts import ColumnFacts, TableFacts
from eventmark.engine.statements import Statement
from eventmark.plans.sampling import quoted_name

postgast: Any = import_module("postgast")  # as in stores.script: its stubs cannot be read
_Expression: Any = postgast.pg_query_pb2.A_Expr
_Call: Any = postgast.pg_query_pb2.FuncCall
_Target: Any = postgast.pg_query_pb2.ResTarget

GROUP = "documents"
TARGETS_BYTES = (4080, 8160)
"""Of ``toast_tuple_target``: two rows to a page, and one; the server's own is four."""

LONG_ROW_BYTES = 2000
LONG_ROWS_SHARE_MIN = 0.01

_KIND = "documents"
_READERS = (
    "documents come back as they were written, with their blanks, order of keys and repeated keys, where jsonb has one "
    "form for equal documents; @>, ?, =, DISTINCT and GIN indexes no longer work on the column"
)
_LOCKED = "the table is rewritten, and locked meanwhile for readers as well"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of a store: columns by table, the table of events first.

    ``uses`` says where a statement looks into a column of jsonb. ``long_rows_share`` is of rows whose values are
    longer than ``LONG_ROW_BYTES`` uncompressed.
    """

    tables: Sequence[TableFacts]
    names: frozenset[str]
    uses: str
    long_rows_share: float
    of_engine: bool

    def of(self, table: TableFacts) -> list[ColumnFacts]:
        """The columns that hold documents, or would if they were jsonb."""
        return [
            column for column in table.columns
            if column.length == -1
            and not column.generated
            and (column.name in self.names or column.sql_type == "jsonb")
        ]  # fmt: skip

    @property
    def has_jsonb(self) -> bool:
        return any(column.sql_type == "jsonb" for table in self.tables for column in table.columns)


def document_candidates(documents: Documents) -> list[Candidate | Trial]:
    """Every type and target that may be better than what there is."""
    candidates: list[Candidate | Trial] = []
    as_json = documents.has_jsonb and not documents.uses
    if as_json:
        candidates.append(_stored(documents, as_json=True))
    else:
        reason = documents.uses or "no column is jsonb"
        candidates.append(_refused("jsonb columns as json", reason))
    targets = [
        target_bytes
        for target_bytes in TARGETS_BYTES
        if f"toast_tuple_target={target_bytes}" not in documents.tables[0].options
    ]
    if documents.tables[0].is_partitioned:
        return [*candidates, _refused("toast_tuple_target", "each partition of the table has its own")]
    if documents.long_rows_share < LONG_ROWS_SHARE_MIN:
        share = f"{documents.long_rows_share:.1%} of the rows are long enough to be compressed"
        return [*candidates, _refused("toast_tuple_target", f"{share}: it would change nothing")]
    if as_json:
        candidates += [_stored(documents, as_json=True, target=target) for target in targets]
    return candidates + [_stored(documents, as_json=False, target=target) for target in targets[as_json:]]


def _refused(name: str, reason: str) -> Trial:
    return Trial(
        candidate=Candidate(kind=_KIND, name=name, reason="", apply=(), script=(), risk=""), refusal=reason
    )


def _stored(documents: Documents, *, as_json: bool, target: int | None = None) -> Candidate:
    """The documents in another type, or from another size of rows on compressed, or both."""
    events = documents.tables[0]
    storage = f"toast_tuple_target = {target}" if target else ""
    types = {"jsonb": "json"} if as_json else {}
    tables = documents.tables if as_json else (events,)
    apply = tuple(_altered(documents, table, types, storage if table is events else "") for table in tables)
    name = " and ".join(filter(None, ("jsonb columns as json" if as_json else "", storage)))
    reasons = [
        "no statement looks into the documents: jsonb is parsed to be stored, and written out as text at each read"
        if as_json
        else "",
        "rows of more than 2 KB are compressed, and their documents fetched from another table"
        if target
        else "",
    ]
    return Candidate(
        kind=_KIND, name=name, reason="; ".join(filter(None, reasons)), apply=apply,
        script=apply if as_json else (f"alter table {quoted_name(events.name)} set ({storage})",),
        risk=_risk(documents, apply, as_json=as_json),
        level=tuple(_altered(documents, table, {}, "") for table in tables),
        retyped=types, by_time=True, group=GROUP,
    )  # fmt: skip


def _risk(documents: Documents, apply: Sequence[str], *, as_json: bool) -> str:
    if not as_json:
        return f"it holds for new rows; for those stored, {_LOCKED}: {'; '.join(apply)}"
    if documents.of_engine:
        return f"{_READERS}; {_LOCKED}: eventmark admin migrate --payload json does it for the engine's own tables"
    return f"{_READERS}; {_LOCKED}; in the statements, write json where they name jsonb"


def _altered(documents: Documents, table: TableFacts, types: Mapping[str, str], storage: str) -> str:
    """The table rewritten in place, its documents made again, so that they are stored by the rules that hold then."""
    changes = [_change(column, types.get(column.sql_type, column.sql_type)) for column in documents.of(table)]
    return f"alter table {quoted_name(table.name)} " + ", ".join(
        [*changes, *([f"set ({storage})"] if storage else [])]
    )


def _change(column: ColumnFacts, sql_type: str) -> str:
    name = quoted_name(column.name)
    if sql_type != column.sql_type:
        value = f"{name}::{sql_type}"
    else:
        value = f"({name}::text)::{sql_type}" if sql_type.startswith("json") else f"{name} || ''"
    return f"alter column {name} type {sql_type} using {value}"


def use_of_columns(statements: Mapping[str, Statement], columns: frozenset[str]) -> str:
    """The first operator or function that a statement applies to one of ``columns``; empty where there is none.

    By the parsed statement, columns under other names included. What compares or sorts is left to the server, which
    refuses it for json.
    """
    for name, statement in sorted(statements.items()):
        for column, used in _uses(postgast.parse(statement.sql("public")), columns):
            return f"{name} applies {used} to {column}"
    return ""


def _uses(parsed: Any, columns: frozenset[str]) -> Iterator[tuple[str, str]]:
    known = set(columns)
    for target in postgast.find_nodes(parsed, _Target):
        if target.name and _column(target.val) in known:
            known.add(target.name)
    for node in postgast.find_nodes(parsed, _Expression):
        for side in (node.lexpr, node.rexpr):
            if _column(side) in known:
                yield _column(side), f"the operator {node.name[-1].string.sval}"
    for call in postgast.find_nodes(parsed, _Call):
        for argument in call.args:
            if _column(argument) in known:
                yield _column(argument), f"the function {call.funcname[-1].string.sval}"


def _column(node: Any) -> str:
    """The column that an expression is, casts aside; empty for any other expression."""
    kind = node.WhichOneof("node")
    if kind == "type_cast":
        return _column(node.type_cast.arg)
    if kind != "column_ref":
        return ""
    last = node.column_ref.fields[-1]
    return str(last.string.sval) if last.WhichOneof("node") == "string" else ""
