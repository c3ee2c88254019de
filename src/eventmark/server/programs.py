"""Secrets for psql and pgbench that no variable of the environment carries: in a file that only we can read."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from eventmark.errors import UsageError

_SERVICE = "eventmark"


def service_of(options: Mapping[str, str]) -> dict[str, str]:
    """The variables that give a program of libpq these ``options``; the command line and its DSN stand over them.

    Raises ``UsageError`` for an option that a service file cannot hold.
    """
    for name, value in options.items():
        if value != value.strip() or not value.isprintable():
            raise UsageError(f"{name} begins or ends with a space", remedy="choose another one")
    lines = [f"[{_SERVICE}]", *(f"{name}={value}" for name, value in options.items()), ""]
    return {"PGSERVICEFILE": _file_of("\n".join(lines)), "PGSERVICE": _SERVICE}


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
