"""The least that a result may hold, and a result of any experiment kept and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from eventmark.report import write_reports
from eventmark.results.files import read_result, write_result
from eventmark.results.results import (
    Environment,
    Finding,
    HostEnvironment,
    RunResult,
    ServerEnvironment,
    StoreEnvironment,
    Verdict,
)


def environment(fitness: Sequence[Finding] = ()) -> Environment:
    return Environment(
        host=HostEnvironment(
            system="Linux", cpu_model="x", cpu_count=2, memory_mib=1024, python="CPython", libraries={},
            eventmark="0", revision="",
        ),
        server=ServerEnvironment(
            kind="embedded", version="18.6", version_num=180006, address="", settings={}, tuning={}, fsync_ms=None
        ),
        store=StoreEnvironment(
            name="eaf", ordering="transaction-id", schema_sha256="", indexes=[], capabilities={}
        ),
        fitness=list(fitness),
    )  # fmt: skip


def assert_kept(result: RunResult, at: Path) -> None:
    """Written, shown in every form, and read again; the lines over time are every run's, and take the longest to draw."""
    write_result(result, at / "result.json")
    write_reports(msgspec.structs.replace(result, series=[]), at)
    assert read_result(at / "result.json") == result


@pytest.fixture
def minimal_result() -> RunResult:
    """A result of nothing but its verdict."""
    return RunResult(
        scenario="run", run_id="1", started_at="2026-11-24T01:02:03+00:00", seconds=1.0, command="eventmark run", profile="quick",
        seed=1, verdict=Verdict.MET, reasons=[], environment=environment(), corpus=None, operations={}, plans=[],
        skipped={}, phases=[], series=[],
    )  # fmt: skip
