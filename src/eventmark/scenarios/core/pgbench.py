"""pgbench: the store's own SQL files through PostgreSQL's own client in C.

For latencies, the arguments are laid down in a table beforehand and fetched within the script, outside what is
timed: only the statement's own latency is taken from pgbench's report. For rates, they stand in the script.
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

RATE_CLIENTS = 32

_TIMEOUT_S = 120.0
_TPS = re.compile(r"^tps = (\d+\.\d+)", re.MULTILINE)
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
    with tempfile.TemporaryDirectory(prefix="eventmark-") as place:
        path = Path(place) / "statement.sql"
        path.write_text(_script(statement, schema, table))
        said = _run(
            server,
            [
                "-r",
                "-M",
                "prepared",
                "-c",
                "1",
                "-t",
                str(calls),
                "-D",
                f"call={first_call - 1}",
                "-f",
                str(path),
            ],
        )
    return float(_found(_LATENCY.findall(said))[-1])


def pgbench_rate(
    server: Server,
    scripts: Sequence[str],
    *,
    seconds: float,
    clients: int = RATE_CLIENTS,
    mode: str = "prepared",
    options: str = "",
) -> float:
    """Transactions per second of ``clients`` connections that run ``scripts``, one drawn each time.

    ``mode`` is how statements are sent: prepared, extended or simple. ``options`` are the sessions' own
    settings, ``-c name=value ...``. Raises ``CannotRunError`` where pgbench is not there or fails.
    """
    with tempfile.TemporaryDirectory(prefix="eventmark-") as place:
        files = []
        for number, script in enumerate(scripts):
            path = Path(place) / f"{number}.sql"
            path.write_text(script, encoding="utf-8")
            files += ["-f", str(path)]
        whole_s = str(max(round(seconds), 1))
        arguments = ["-M", mode, "-c", str(clients), "-j", "2", "-T", whole_s, *files]
        said = _run(server, arguments, options=options)
    return float(_found(_TPS.findall(said))[0])


def _run(server: Server, arguments: Sequence[str], *, options: str = "") -> str:
    """What pgbench printed. Raises ``CannotRunError``."""
    if server.bin_directory is None:
        raise CannotRunError("pgbench was not found", remedy="install PostgreSQL's client programs")
    try:
        done = subprocess.run(
            [str(server.bin_directory / "pgbench"), "-n", *arguments, server.program_dsn],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
            env={**os.environ, **server.program_environment, **({"PGOPTIONS": options} if options else {})},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRunError(f"pgbench failed: {error}") from error
    if done.returncode != 0:
        raise CannotRunError(f"pgbench failed: {(done.stderr.strip().splitlines() or ['no report'])[-1]}")
    return done.stdout


def _found(figures: Sequence[str]) -> Sequence[str]:
    if not figures:
        raise CannotRunError("pgbench failed: no report")
    return figures


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
