"""What of somebody's migrations is not run, because a schema that Eventmark makes does not need it; and its names."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from eventmark.engine.statements import quoted_schema
from eventmark.stores.migrations import NO_RULES, Rules

postgast: Any = import_module("postgast")  # not by an import: see ``script``
_Protocol: Any = postgast.pg_query_pb2
_LITERALS = (_Protocol.SCONST, _Protocol.USCONST)
_COMMENTS = (_Protocol.SQL_COMMENT, _Protocol.C_COMMENT)

_KINDS = {
    "create_extension_stmt": "extensions", "alter_extension_stmt": "extensions", "create_role_stmt": "roles",
    "alter_role_stmt": "roles", "alter_role_set_stmt": "roles", "drop_role_stmt": "roles", "grant_role_stmt": "roles",
    "grant_stmt": "grants", "alter_owner_stmt": "grants", "alter_default_privileges_stmt": "grants",
    "create_schema_stmt": "schemas", "variable_set_stmt": "settings", "transaction_stmt": "transactions",
    "vacuum_stmt": "maintenance", "reindex_stmt": "maintenance", "cluster_stmt": "maintenance",
}  # fmt: skip
_TRANSACTIONS = (_Protocol.TRANS_STMT_BEGIN, _Protocol.TRANS_STMT_START, _Protocol.TRANS_STMT_COMMIT)
_OF_OBJECTS = {_Protocol.OBJECT_EXTENSION: "extensions", _Protocol.OBJECT_SCHEMA: "schemas"}


def kind_of(parsed: Any) -> str:
    """Which of ``KINDS`` a statement is, by PostgreSQL's grammar; "" for none."""
    node = parsed.stmt
    name = node.WhichOneof("node") or ""
    if name == "transaction_stmt" and node.transaction_stmt.kind not in _TRANSACTIONS:
        return ""  # ROLLBACK takes back what was to be kept
    if name == "create_schema_stmt" and node.create_schema_stmt.schema_elts:
        return ""
    if name == "comment_stmt":
        return _OF_OBJECTS.get(node.comment_stmt.objtype, "")
    if name == "alter_table_stmt" and all(
        command.alter_table_cmd.subtype == _Protocol.AT_ChangeOwner for command in node.alter_table_stmt.cmds
    ):
        return "grants"
    if name == "select_stmt" and all(
        target.res_target.val.func_call.funcname
        and target.res_target.val.func_call.funcname[-1].string.sval == "set_config"
        for target in node.select_stmt.target_list
    ):
        return "settings" if node.select_stmt.target_list else ""
    return _KINDS.get(name, "")


def is_left_out(parsed: Any, rules: Rules) -> bool:
    """Whether the rules keep a statement from being run."""
    kind = kind_of(parsed)
    is_own = kind == "schemas" and parsed.stmt.create_schema_stmt.schemaname in rules.schemas
    return kind in rules.leave_out or is_own


def in_schema(text: str, schema: str, rules: Rules) -> str:
    """The script with the schema's name for ``{schema}``, and for the names that the migrations have for it."""
    own = quoted_schema(schema)
    text = text.replace("{schema}", own)
    if rules is not NO_RULES:
        text = text.replace("${flyway:defaultSchema}", own)
    if not rules.schemas:
        return text
    try:
        tokens = [token for token in postgast.scan(text).tokens if token.token not in _COMMENTS]
    except postgast.PgQueryError:  # told by who parses it
        return text
    raw = text.encode()
    words = "|".join(map(re.escape, rules.schemas))
    in_literal = re.compile(rf'(?<![\w."])(?:"(?:{words})"|(?:{words}))\.(?=[\w"])')
    parts, at = [], 0
    for index, token in enumerate(tokens):
        word = raw[token.start : token.end].decode()
        if token.token in _LITERALS:
            replaced = in_literal.sub(f"{own}.", word)
        elif word.strip('"') in rules.schemas and _qualifies(tokens, index, raw):
            replaced = own
        else:
            continue
        parts += [raw[at : token.start].decode(), replaced]
        at = token.end
    return "".join([*parts, raw[at:].decode()])


def _qualifies(tokens: list[Any], index: int, raw: bytes) -> bool:
    """Whether a word stands before a dot, and after none."""

    def is_dot(number: int) -> bool:
        return 0 <= number < len(tokens) and raw[tokens[number].start : tokens[number].end] == b"."

    return is_dot(index + 1) and not is_dot(index - 1)
