"""The floor by pgbench: the store's own SQL files, prepared, through PostgreSQL's own client in C.

The arguments are laid down in a table beforehand and fetched within the script, outside what is timed: only
the statement's own latency is taken from pgbench's report.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.errors import CannotRunError
from eventmark.server import Server

_TIMEOUT_S = 120.0
_LATENCY = re.compile(r"^\s+(\d+\.\d+)\s+\d+\s", re.MULTILINE)


async def lay_down_arguments(
    connection: asyncpg.Connection[Any],
    schema: str,
    table: str,
    statement: Statement,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Create ``table`` with one column of text per parameter, one row per call."""
    where = f'{quoted_schema(schema)}."{table}"'
    names = [parameter.name for parameter in statement.parameters]
    await connection.execute(f"drop table if exists {where}")
    columns = "".join(f', "{name}" text' for name in names)
    await connection.execute(f"create unlogged table {where} (call integer primary key{columns})")
    if not names:
        return
    values = ", ".join(
        f"${place}::{parameter.sql_type}::text" for place, parameter in enumerate(statement.parameters, 2)
    )
    insert = await connection.prepare(f"insert into {where} values ($1::integer, {values})")
    await insert.executemany([(call, *(row[name] for name in names)) for call, row in enumerate(rows, 1)])
    await connection.execute(f"analyze {where}")


def pgbench_mean_ms(
    server: Server,
    schema: str,
    table: str,
    statement: Statement,
    *,
    first_call: int,
    calls: int,
) -> float:
    """Mean latency of the statement, milliseconds, over ``calls`` calls with the arguments from ``first_call`` on.

    One client, so that calls come one after the other. Raises ``CannotRunError`` where pgbench is not there
    or fails.
    """
    if server.bin_directory is None:
        raise CannotRunError("pgbench was not found", remedy="install PostgreSQL's client programs")
    with tempfile.TemporaryDirectory(prefix="eventmark-") as place:
        path = Path(place) / "statement.sql"
        path.write_text(_script(statement, schema, table))
        done = subprocess.run(
            [
                str(server.bin_directory / "pgbench"), "-n", "-r", "-M", "prepared", "-c", "1", "-t", str(calls),
                "-D", f"call={first_call - 1}", "-f", str(path), server.program_dsn,
            ],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
            env={**os.environ, **server.program_environment},
        )  # fmt: skip
    latencies = _LATENCY.findall(done.stdout)
    if done.returncode != 0 or not latencies:
        reason = (done.stderr.strip().splitlines() or ["no report"])[-1]
        raise CannotRunError(f"pgbench failed: {reason}")
    return float(latencies[-1])


def _script(statement: Statement, schema: str, table: str) -> str:
    """Fetch the next row of arguments into variables, then run the statement, which is what is timed."""
    if not statement.parameters:
        return f"{statement.pgbench_sql(schema)};\n"
    columns = ", ".join(f'"{parameter.name}"' for parameter in statement.parameters)
    return (
        "\\set call :call + 1\n"
        f'select {columns} from {quoted_schema(schema)}."{table}" where call = :call \\gset\n'
        f"{statement.pgbench_sql(schema)};\n"
    )
