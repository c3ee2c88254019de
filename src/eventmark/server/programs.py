"""psql and pgbench: which of those installed reach a server, and the secrets that they need.

What no variable of the environment carries is in a file that only we can read.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import asyncpg

from eventmark.errors import UsageError

_SERVICE = "eventmark"
_IS_ENCRYPTED = "select ssl from pg_catalog.pg_stat_ssl where pid = pg_catalog.pg_backend_pid()"
_ANSWER_TIMEOUT_S = 15.0


def service_of(options: Mapping[str, str]) -> dict[str, str]:
    """The variables that give a program of libpq these ``options``; the command line and its DSN stand over them.

    Raises ``UsageError`` for an option that a service file cannot hold.
    """
    for name, value in options.items():
        if value != value.strip() or not value.isprintable():
            raise UsageError(f"{name} begins or ends with a space", remedy="choose another one")
    lines = [f"[{_SERVICE}]", *(f"{name}={value}" for name, value in options.items()), ""]
    return {"PGSERVICEFILE": _file_of("\n".join(lines)), "PGSERVICE": _SERVICE}


def fitting_programs(
    places: Iterable[Path], dsn: str, environment: Mapping[str, str], *, encrypted: bool
) -> Path | None:
    """The first of ``places`` with a psql that reaches the server as the driver does, encrypted or not.

    A psql without TLS is refused by a server that takes nothing else, and beside an encrypted driver it would be
    compared with work that it does not do. Where none fits, the first that has both programs: its error says why.
    """
    installed = [
        directory
        for directory in places
        if (directory / "psql").exists() and (directory / "pgbench").exists()
    ]
    wanted = "t" if encrypted else "f"
    for directory in installed:
        if _answer(directory / "psql", dsn, environment) == wanted:
            return directory
    return installed[0] if installed else None


async def is_encrypted(dsn: str) -> bool:
    """Whether the driver's connections are."""
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval(_IS_ENCRYPTED))
    finally:
        await connection.close()


def _answer(psql: Path, dsn: str, environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            [str(psql), "-X", "-A", "-t", "-w", "-c", _IS_ENCRYPTED, dsn],
            capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=False, env={**os.environ, **environment},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


@cache
def _file_of(content: str) -> str:
    """A file of this content, readable by us alone, until this process ends."""
    directory = Path(tempfile.mkdtemp(prefix="eventmark-"))  # mode 0700
    atexit.register(_remove, directory, os.getpid())
    path = directory / "pg_service.conf"
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    return str(path)


def _remove(directory: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)
