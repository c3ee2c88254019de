"""How a store of SQL files says that a stream is not at the expected version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import asyncpg

_BROKEN_CONSTRAINTS = (asyncpg.UniqueViolationError, asyncpg.ExclusionViolationError)

FORMS = (
    "a conflict is a broken unique constraint, no row, a last_global_sequence of null, or the exception that "
    "[conflict] in store.toml names"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictForm:
    """The exception by which an append refuses: its SQLSTATE, and a pattern of its message with ``*`` and ``?``."""

    sqlstate: str = ""
    message: str = "*"

    def names(self, error: Exception) -> bool:
        return (
            isinstance(error, asyncpg.PostgresError)
            and error.sqlstate == self.sqlstate
            and fnmatchcase(error.message or "", self.message)
        )


def is_conflict(error: Exception, form: ConflictForm) -> bool:
    """Whether an error of the statement that appends is a conflict."""
    return isinstance(error, _BROKEN_CONSTRAINTS) or form.names(error)


def stored_nothing(row: Mapping[str, Any] | None, tag: str, *, is_void: bool) -> bool:
    """Whether the answer of the statement that appends is that it appended nothing: its last row and command tag.

    A statement without a result is known by the count of its command tag, a row without ``last_global_sequence`` by
    holding nothing but nulls, unless no column of it can hold anything (``is_void``).
    """
    if row is None:
        return tag.rpartition(" ")[2] == "0"
    if "last_global_sequence" in row:
        return row["last_global_sequence"] is None
    return all(value is None for value in row.values()) and not is_void


def form_of(error: BaseException | None, *names: str) -> str:
    """The line of store.toml that would name this exception as a conflict; empty where it is none of the server's.

    ``names`` and numbers, which differ from one conflict to the next, become ``*``.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return ""
    pattern = error.message or ""
    for name in sorted(names, key=len, reverse=True):
        pattern = pattern.replace(name, "*")
    pattern = re.sub(r"\d+", "*", pattern).translate(str.maketrans('"\\[]', "????"))
    return f'conflict = {{ sqlstate = "{error.sqlstate}", message = "{pattern}" }}'
