"""What draws charts and what fits curves takes a second to import: only a verb that does so pays for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CHARTS_AND_FITS = {"altair", "scipy", "vl_convert"}
HEAVY = CHARTS_AND_FITS | {"asyncpg", "numpy", "postgast", "psycopg"}


def imported(statement: str) -> set[str]:
    """The packages that a process has imported after ``statement``."""
    code = f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stderr))


@pytest.mark.parametrize("verb", ["", "doctor", "report"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    modules = imported(
        f"from eventmark.cli.main import run_command; assert run_command('{verb} --help'.split()) == 0"
    )
    assert not HEAVY & modules
    assert not verb or "eventmark.cli.diagnose" in modules


def test_doctor_and_the_main_job_import_what_draws_and_fits_when_they_need_it() -> None:
    modules = imported("import eventmark.cli.diagnose, eventmark.cli.session, eventmark.cli.run")
    assert {"eventmark.server.doctor", "eventmark.report"} <= modules
    assert not CHARTS_AND_FITS & modules
