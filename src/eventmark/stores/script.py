"""A store's SQL read by PostgreSQL's own grammar before a server sees any of it.

What takes a session, a transaction or a database for its own is refused here by file and line; names are judged
against what a database holds, see ``outside``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from eventmark.engine.statements import Statement
from eventmark.errors import StoreDefinitionError
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.left_out import in_schema, is_left_out, kind_of
from eventmark.stores.migrations import NO_RULES, Rules

# Not by an import: a stub of release 0.2 is no Python, and who checks types against this package would stop there.
postgast: Any = import_module("postgast")
_FuncCall: Any = postgast.pg_query_pb2.FuncCall
_InsertStmt: Any = postgast.pg_query_pb2.InsertStmt
_ParamRef: Any = postgast.pg_query_pb2.ParamRef
_WRITES: dict[str, Any] = {
    "inserts": _InsertStmt,
    "updates": postgast.pg_query_pb2.UpdateStmt,
    "deletes": postgast.pg_query_pb2.DeleteStmt,
    "merges": postgast.pg_query_pb2.MergeStmt,
    "makes a table (INTO)": postgast.pg_query_pb2.IntoClause,
    "locks rows (FOR UPDATE, FOR SHARE)": postgast.pg_query_pb2.LockingClause,
}
_Token: Any = postgast.pg_query_pb2.Token

_NO_TRANSACTION = "delete the line: Eventmark runs the file in one transaction of its own"
_NO_SETTING = (
    "delete the line: the search path is the store's schema; other settings belong to the server or the role"
)
_NO_ROLE = "delete the line: make roles before, by hand"
_NO_EXTENSION = (
    "delete the line and create the extension before, by hand, in the database that --server names"
)

# Each kind of statement that is refused with a remedy of its own: what it is called, and the remedy.
_REFUSED = {
    "transaction_stmt": ("ends or begins a transaction", _NO_TRANSACTION),
    "variable_set_stmt": ("changes a setting of the session", _NO_SETTING),
    "discard_stmt": ("changes a setting of the session", _NO_SETTING),
    "create_extension_stmt": ("creates an extension", _NO_EXTENSION),
    "create_schema_stmt": (
        "creates a schema",
        "delete the line: Eventmark makes the schema that {schema} stands for",
    ),
    "copy_stmt": ("copies from or to a file or a program", "write INSERT statements"),
    "vacuum_stmt": ("runs vacuum or analyze", "delete the line: Eventmark does it after loading"),
    "create_role_stmt": ("creates a role", _NO_ROLE),
    "alter_role_stmt": ("changes a role", _NO_ROLE),
    "alter_role_set_stmt": ("changes a role", _NO_ROLE),
    "drop_role_stmt": ("drops a role", _NO_ROLE),
    "grant_role_stmt": ("grants a role", _NO_ROLE),
}
# Anything else that schema.sql and indexes.sql may not do is what is not among these.
_ALLOWED = frozenset(
    """
    create_stmt create_table_as_stmt index_stmt create_seq_stmt alter_seq_stmt alter_table_stmt view_stmt rule_stmt
    create_function_stmt alter_function_stmt create_trig_stmt create_enum_stmt alter_enum_stmt composite_type_stmt
    create_range_stmt create_domain_stmt alter_domain_stmt alter_type_stmt define_stmt comment_stmt grant_stmt
    insert_stmt update_stmt delete_stmt merge_stmt select_stmt truncate_stmt do_stmt call_stmt rename_stmt drop_stmt
    alter_owner_stmt create_stats_stmt alter_stats_stmt create_policy_stmt alter_policy_stmt create_cast_stmt
    create_op_class_stmt create_op_family_stmt alter_object_depends_stmt lock_stmt refresh_mat_view_stmt
    """.split()
)
_SEEDING = frozenset({"select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt", "call_stmt"})
ANY_SCHEMA = "store"  # stands for the store's own, where its name does not matter
_OPERATIONS = frozenset({"select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt"})
_READING = frozenset({"select_stmt"})
_READ_ONLY = "write one SELECT that only reads: what is written would stay in the corpus, and change later measurements"
_COMMENTS = (_Token.SQL_COMMENT, _Token.C_COMMENT)
_LITERALS = (_Token.SCONST, _Token.USCONST)
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")  # Flyway's, Liquibase's, goose's
_FILL = "write the value, in a copy of the file if need be; ${flyway:defaultSchema} is the store's schema"
_PSQL = "psql runs such lines by itself; delete it, or write it as SQL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptStatement:
    """One statement of a script as it is run.

    ``index`` is the name of the index that it makes, or empty; ``inserts_into`` are tables.
    """

    sql: str
    path: Path
    line: int
    index: str = ""
    inserts_into: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class QualifiedName:
    """A name with a schema's before it, and what the words before it do to it."""

    schema: str
    name: str
    line: int
    verb: str


def store_scripts(
    definition: StoreDefinition, schema: str, *, with_indexes: bool = True
) -> list[ScriptStatement]:
    """The statements of schema.sql and indexes.sql. Raises ``StoreDefinitionError`` by file and line."""
    statements = [
        statement
        for file in definition.schema_files
        for statement in _read_script(file.path, file.text, schema, rules=file.rules)
    ]
    return list(
        _told_apart([*statements, *index_statements(definition, schema)] if with_indexes else statements)
    )


def _told_apart(statements: Sequence[ScriptStatement]) -> Iterator[ScriptStatement]:
    """With blanks after each text that comes again: the server's errors name a statement by its text."""
    seen: Counter[str] = Counter()
    for statement in statements:
        yield replace(statement, sql=statement.sql + " " * seen[statement.sql])
        seen[statement.sql] += 1


def index_statements(definition: StoreDefinition, schema: str) -> list[ScriptStatement]:
    """The statements of indexes.sql. Raises ``StoreDefinitionError`` by file and line."""
    return _read_script(definition.indexes_path, definition.indexes_script, schema)


def seed_statements(definition: StoreDefinition, schema: str) -> list[ScriptStatement]:
    """The statements of seed.sql. Raises ``StoreDefinitionError`` by file and line."""
    return _read_script(definition.seed_path, definition.seed_script, schema, allowed=_SEEDING)


def _read_script(
    path: Path, script: str, schema: str, *, allowed: frozenset[str] = _ALLOWED, rules: Rules = NO_RULES
) -> list[ScriptStatement]:
    """The statements of a file, those that Eventmark does not run refused by ``StoreDefinitionError``.

    CONCURRENTLY is left out: nobody else uses the tables, and it does not work in a transaction.
    """
    text = in_schema(script, schema, rules)
    raw = text.encode()
    statements = []
    for parsed in parsed_statements(path, text, 1):
        line = 1 + raw.count(b"\n", 0, parsed.stmt_location)
        end = parsed.stmt_location + parsed.stmt_len if parsed.stmt_len else len(raw)
        if is_left_out(parsed, rules):
            continue
        _refuse_kind(parsed, path, line, allowed=allowed, rules=rules)
        sql = raw[parsed.stmt_location : end].decode()
        blank = len(sql) - len(sql.lstrip())
        node = parsed.stmt
        if node.index_stmt.concurrent or node.drop_stmt.concurrent:
            sql = _without_concurrently(sql)
        statements.append(
            ScriptStatement(
                sql=sql.strip(),
                path=path,
                line=line + sql.count("\n", 0, blank),
                index=node.index_stmt.idxname,
                inserts_into=frozenset(
                    insert.relation.relname for insert in postgast.find_nodes(parsed, _InsertStmt)
                ),
            )
        )
    return statements


def check_operation(statement: Statement, schema: str) -> None:
    """Refuse an operation's file that does anything but select, insert, update, delete or merge."""
    path = Path(statement.path)
    for parsed in parsed_statements(path, statement.sql(schema), statement.first_line):
        _refuse_kind(parsed, path, statement.first_line, allowed=_OPERATIONS)


def check_reading(statement: Statement) -> None:
    """Refuse a file that is anything but one SELECT, which writes nothing and uses each of its parameters."""
    path, first_line = Path(statement.path), statement.first_line
    sql = statement.sql(ANY_SCHEMA)
    statements = list(parsed_statements(path, sql, first_line))
    if len(statements) != 1:
        line = first_line + _lines_before(sql, statements[1]) if statements else first_line
        raise StoreDefinitionError(
            f"the file holds {len(statements) or 'no'} statements, and a statement of a mix is one",
            path=str(path), line=line, remedy="write a file for each, and name each in the mix",
        )  # fmt: skip
    (parsed,) = statements
    _refuse_kind(parsed, path, first_line + _lines_before(sql, parsed), allowed=_READING)
    for does, node in _WRITES.items():
        if any(True for _ in postgast.find_nodes(parsed, node)):
            raise StoreDefinitionError(
                f"this statement {does}, which a statement of a mix must not do",
                path=str(path), line=first_line, remedy=_READ_ONLY,
            )  # fmt: skip
    used = {reference.number for reference in postgast.find_nodes(parsed, _ParamRef)}
    names = [parameter.name for parameter in statement.parameters]
    if used != set(range(1, len(names) + 1)):
        unused = next((name for number, name in enumerate(names, 1) if number not in used), "")
        raise StoreDefinitionError(
            f"parameter {unused!r} is declared and not used" if unused else f"${max(used)} is no parameter",
            path=str(path), line=first_line, remedy="write a parameter as :name, and declare those that are used",
        )  # fmt: skip


def called_functions(sql: str) -> set[str]:
    """The names of all functions that a text calls by name, without their schemas."""
    parsed = postgast.parse(sql)
    return {call.funcname[-1].string.sval for call in postgast.find_nodes(parsed, _FuncCall)}


def bare(sql: str) -> str:
    """The first statement of a text, without the semicolon and the comments behind it."""
    parsed = postgast.parse(sql).stmts[0]
    raw = sql.encode()
    return raw[parsed.stmt_location : parsed.stmt_location + parsed.stmt_len or len(raw)].decode()


def _lines_before(sql: str, parsed: Any) -> int:
    """How many lines of the text stand before a statement of it, comments and blanks before it left out."""
    raw = sql.encode()
    text = raw[parsed.stmt_location :]
    first = next(
        (token.start for token in postgast.scan(text.decode()).tokens if token.token not in _COMMENTS), 0
    )
    return raw.count(b"\n", 0, parsed.stmt_location + first)


def qualified_names(sql: str, first_line: int) -> Iterator[QualifiedName]:
    """Every ``schema.name`` of a statement, also of those in its string literals: bodies of functions are such."""
    raw = sql.encode()
    tokens = [
        (token.token, raw[token.start : token.end].decode(), token.start)
        for token in postgast.scan(sql).tokens
        if token.token not in _COMMENTS
    ]
    for index, (kind, text, start) in enumerate(tokens):
        line = first_line + raw.count(b"\n", 0, start)
        if kind in _LITERALS:
            with suppress(postgast.PgQueryError):  # a text such as "it's", and no body of a function
                yield from qualified_names(_content(text), line)
        elif text == "." and 0 < index < len(tokens) - 1 and (index < 2 or tokens[index - 2][1] != "."):
            before = [word.lower() for _, word, _ in tokens[max(index - 4, 0) : index - 1]]
            yield QualifiedName(
                schema=_identifier(tokens[index - 1][1]),
                name=_identifier(tokens[index + 1][1]),
                line=first_line + raw.count(b"\n", 0, tokens[index - 1][2]),
                verb=_verb(before),
            )


def parsed_statements(path: Path, text: str, first_line: int) -> Iterator[Any]:
    try:
        yield from postgast.parse(text).stmts
    except postgast.PgQueryError as error:
        position = max(error.cursorpos - 1, 0)
        line = text[text.rfind("\n", 0, position) + 1 :].partition("\n")[0]
        message, remedy = error.message, "mend the statement"
        if line.lstrip().startswith("\\"):
            message, remedy = f"{line.strip()} is a command of psql", _PSQL
        elif placeholder := _PLACEHOLDER.search(line):
            message, remedy = f"{placeholder[0]} is a placeholder, and nothing fills it", _FILL
        raise StoreDefinitionError(
            message, path=str(path), line=first_line + text.count("\n", 0, position), remedy=remedy
        ) from error


def kinds_in(sql: str) -> list[str]:
    """What each statement of a text is, as PostgreSQL's grammar names it; nothing where it does not read the text."""
    try:
        return [statement.stmt.WhichOneof("node") or "" for statement in postgast.parse(sql).stmts]
    except postgast.PgQueryError:
        return []


def _refuse_kind(
    parsed: Any, path: Path, line: int, *, allowed: frozenset[str], rules: Rules = NO_RULES
) -> None:
    kind = parsed.stmt.WhichOneof("node") or ""
    does, remedy = _REFUSED.get(kind, ("", ""))
    if any(call.funcname[-1].string.sval == "set_config" for call in postgast.find_nodes(parsed, _FuncCall)):
        does, remedy = _REFUSED["variable_set_stmt"]
    elif kind not in allowed and not does:
        does, remedy = f"is {kind.removesuffix('_stmt').replace('_', ' ').upper()}", "delete the line"
    elif kind in allowed:
        return
    if allowed is _SEEDING:
        remedy = "seed.sql holds statements that fill tables: INSERT, UPDATE, DELETE, MERGE, SELECT, CALL"
    if allowed is _OPERATIONS:
        remedy = "an operation is one SELECT, INSERT, UPDATE, DELETE or MERGE"
    elif rules is not NO_RULES and (left_out := kind_of(parsed)):
        remedy = f'leave such statements out, in store.toml: [migrations], leave_out = ["{left_out}"]'
    whose = "the SQL of a store"
    if allowed is _READING:
        whose, remedy = "a statement of a mix", _READ_ONLY
    raise StoreDefinitionError(
        f"this statement {does}, which {whose} must not do", path=str(path), line=line, remedy=remedy
    )


def _without_concurrently(sql: str) -> str:
    raw = sql.encode()
    token = next(
        token_found for token_found in postgast.scan(sql).tokens if token_found.token == _Token.CONCURRENTLY
    )
    return (raw[: token.start] + raw[token.end :].lstrip()).decode()


def _content(literal: str) -> str:
    """What stands between the quotes; escapes as they would be read, as far as names need it."""
    tag = re.match(r"\$\w*\$", literal)
    if tag:
        return literal[tag.end() : -tag.end()]
    return literal[literal.index("'") + 1 : -1].replace("''", "'")


def _identifier(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def _ends_with(*words: str) -> Callable[[list[str]], bool]:
    return lambda before: before[-len(words) :] == list(words)


_VERBS: tuple[tuple[str, tuple[Callable[[list[str]], bool], ...]], ...] = (
    (
        "writes",
        (_ends_with("into"), _ends_with("update"), _ends_with("delete", "from"), _ends_with("truncate")),
    ),
    ("reads", (_ends_with("from"), _ends_with("join"))),
    (
        "creates",
        (_ends_with("create", "table"), _ends_with("not", "exists"), _ends_with("create", "sequence")),
    ),
    ("changes", (_ends_with("table"), _ends_with("on"), _ends_with("exists"), _ends_with("only"))),
)


def _verb(before: list[str]) -> str:
    return next((verb for verb, ends in _VERBS if any(end(before) for end in ends)), "names")
