"""The least that a result may hold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

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


@pytest.fixture
def minimal_result() -> RunResult:
    """A result of nothing but its verdict."""
    return RunResult(
        scenario="run", run_id="1", started_at="2026-11-24T01:02:03+00:00", seconds=1.0, command="eventmark run", profile="quick",
        seed=1, verdict=Verdict.MET, reasons=[], environment=environment(), corpus=None, operations={}, plans=[],
        skipped={}, phases=[], series=[],
    )  # fmt: skip
