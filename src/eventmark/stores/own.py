"""Statements of the user's own against a store's tables, which a load runs as well: a SELECT in a file each.

They are written as a store's statements are, and confined as these are. They only read: what a run appends is
accounted for and removed, what they wrote would not be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from eventmark.engine.statements import Statement, read_statement
from eventmark.errors import StoreDefinitionError
from eventmark.results.targets import OWN_SUFFIX
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.script import check_reading
from eventmark.text_files import read_text

PARAMETERS: Mapping[str, str] = {
    "tenant_id": "tenant_id",
    "aggregate_id": "aggregate_id",
    "aggregate_type": "aggregate_type",
    "stream_id": "stream_id",
    "sequence_number": "sequence_number",
    "transaction_id": "transaction_id",
    "global_sequence": "global_sequence_id",
    "instant": "timestamp_utc",
    "batch_size": "",
}
"""What a load draws for such a statement, by name, and the column that the store's events have for that, if any."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}\.sql")


def read_own(path: Path) -> Statement:
    """The statement in ``path``, called as its file is. Raises ``StoreDefinitionError`` by file and line."""
    if not _NAME.fullmatch(path.name):
        raise StoreDefinitionError(
            "a statement's file is called by at most 48 letters, digits, _ and -",
            path=str(path),
            remedy=f"rename it, for example orders_by_customer{OWN_SUFFIX}",
        )
    if not path.is_file():
        raise StoreDefinitionError(
            "this is a folder" if path.is_dir() else "there is no such file",
            path=str(path),
            remedy="name a file of one SELECT, by its path from the current folder",
        )
    statement = replace(read_statement(path), name=path.name)
    for parameter in statement.parameters:
        if parameter.name not in PARAMETERS:
            raise _unknown(statement, parameter.name, ", ".join(PARAMETERS))
    typed = statement.typed()  # first: a type is a part of the text
    check_reading(typed)
    return typed


def with_own(definition: StoreDefinition, own: Mapping[str, Statement]) -> StoreDefinition:
    """The store with statements of the user's own among its statements.

    Raises ``StoreDefinitionError`` for one that asks for what the store does not have.
    """
    known = parameters_of(definition)
    for statement in own.values():
        for parameter in statement.parameters:
            if parameter.name not in known:
                why = f"store {definition.name!r} has no column {PARAMETERS[parameter.name]}"
                raise _unknown(statement, parameter.name, ", ".join(known), why)
    return replace(definition, statements={**definition.statements, **own})


def parameters_of(definition: StoreDefinition) -> list[str]:
    """What a load can draw for a statement against this store."""
    return [name for name, column in PARAMETERS.items() if not column or column in definition.read_columns]


def _unknown(statement: Statement, name: str, known: str, why: str = "") -> StoreDefinitionError:
    lines = read_text(Path(statement.path)).split("\n")
    line = next((number for number, text in enumerate(lines, 1) if re.match(r"--\s*parameters:", text)), 1)
    return StoreDefinitionError(
        f"a load draws no parameter {name!r}" + (f": {why}" if why else ""),
        path=statement.path,
        line=line,
        remedy=f"it draws {known}",
    )
