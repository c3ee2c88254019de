"""What libpq reports, as the exceptions of the stores' own driver: the rules that judge them stand in one place."""

from __future__ import annotations

from typing import Any

import asyncpg
from psycopg.pq import DiagnosticField, ExecStatus

from eventmark.engine.fence import replaced_error

_FIELDS = {
    "S": DiagnosticField.SEVERITY, "V": DiagnosticField.SEVERITY_NONLOCALIZED, "C": DiagnosticField.SQLSTATE,
    "M": DiagnosticField.MESSAGE_PRIMARY, "D": DiagnosticField.MESSAGE_DETAIL, "H": DiagnosticField.MESSAGE_HINT,
    "s": DiagnosticField.SCHEMA_NAME, "t": DiagnosticField.TABLE_NAME, "c": DiagnosticField.COLUMN_NAME,
    "n": DiagnosticField.CONSTRAINT_NAME, "F": DiagnosticField.SOURCE_FILE, "R": DiagnosticField.SOURCE_FUNCTION,
}  # fmt: skip
GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


def failure_of(result: Any) -> Exception:
    """The server's error as the driver raises it, or what the absence of the store's fence means."""
    texts = {key: result.error_field(field) for key, field in _FIELDS.items()}
    fields = {key: value.decode(errors="replace") for key, value in texts.items() if value is not None}
    if not fields:
        return lost(result.get_error_message())
    error: Exception = asyncpg.PostgresError.new(fields)
    if isinstance(error, asyncpg.UndefinedFunctionError):
        return replaced_error(error) or error
    return error


def lost(reason: str) -> ConnectionError:
    """The connection is gone; ``reason`` is libpq's, which quotes no password."""
    return ConnectionError(" ".join(reason.split()) or "the connection was closed")
