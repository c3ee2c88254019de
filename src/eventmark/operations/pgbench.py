"""pgbench: the store's own SQL files through PostgreSQL's own client in C.

For latencies, the arguments are laid down in a table beforehand and fetched within the script; the time of fetching
alone, measured in a run of its own, is taken off. For rates, they stand in the script.
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
from eventmark.server.search_path import with_options

RATE_CLIENTS = 32

_TIMEOUT_S = 120.0
_RATE = re.compile(r"^tps = ([0-9.]+) ", re.MULTILINE)


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
        f"${number}::{parameter.sql_type}::text" for number, parameter in enumerate(statement.parameters, 2)
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

    One client, so that calls come one after the other: the time of a run that fetches arguments and calls,
    less that of a run that only fetches them, so that it may come out at nought or below where much else went
    on. Raises ``CannotRunError`` where pgbench is not there or fails.
    """
    call = f"{statement.pgbench_sql(schema)};\n"
    fetch = _fetch(statement, schema, table)
    fetch_ms = _mean_ms(server, fetch, first_call, calls) if fetch else 0.0
    return _mean_ms(server, fetch + call, first_call, calls) - fetch_ms


def _mean_ms(server: Server, script: str, first_call: int, calls: int) -> float:
    """Mean milliseconds of one pass of the script, connecting excepted.

    Out of the rate of the whole run: pgbench's own latency of a statement (``-r``) is nought for an answer
    that is there before the call that sent the question returns, as happens with quick statements where
    client and server share a core.
    """
    with tempfile.TemporaryDirectory(prefix="eventmark-") as folder:
        path = Path(folder) / "statement.sql"
        path.write_text(script)
        arguments = [
            "-M", "prepared", "-c", "1", "-t", str(calls), "-D", f"call={first_call - 1}", "-f", str(path),
        ]  # fmt: skip
        return 1000.0 / _rate(server, arguments)


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
    with tempfile.TemporaryDirectory(prefix="eventmark-") as folder:
        files = []
        for number, script in enumerate(scripts):
            path = Path(folder) / f"{number}.sql"
            path.write_text(script, encoding="utf-8")
            files += ["-f", str(path)]
        whole_s = str(max(round(seconds), 1))
        arguments = ["-M", mode, "-c", str(clients), "-j", "2", "-T", whole_s, *files]
        return _rate(server, arguments, options=options)


def _rate(server: Server, arguments: Sequence[str], *, options: str = "") -> float:
    """Transactions per second of a whole run, connecting excepted. Raises ``CannotRunError``."""
    if server.bin_directory is None:
        raise CannotRunError("pgbench was not found", remedy="install PostgreSQL's client programs")
    try:
        done = subprocess.run(
            [str(server.bin_directory / "pgbench"), "-n", *arguments, with_options(server.program_dsn, options)],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
            env={**os.environ, **server.program_environment, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRunError(f"pgbench failed: {error}") from error
    rate = _RATE.search(done.stdout)
    if done.returncode != 0 or rate is None or float(rate[1]) <= 0:
        reason = (done.stderr.strip().splitlines() or ["no report"])[-1]
        raise CannotRunError(f"pgbench failed: {reason}")
    return float(rate[1])


def _fetch(statement: Statement, schema: str, table: str) -> str:
    """The part of a script that puts the next row of arguments into variables; empty where there are none."""
    if not statement.parameters:
        return ""
    columns = ", ".join(f'"{parameter.name}"' for parameter in statement.parameters)
    return (
        "\\set call :call + 1\n"
        f'select {columns} from {quoted_schema(schema)}."{table}" where call = :call \\gset\n'
    )
