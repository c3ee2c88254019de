"""What tests of scenarios share."""

from __future__ import annotations

import pytest

from eventmark.results.results import RunResult, Verdict
from tests.experiments.results import environment


@pytest.fixture
def minimal_result() -> RunResult:
    """A result of nothing but its verdict."""
    return RunResult(
        scenario="run", run_id="1", started_at="2026-11-24T01:02:03+00:00", seconds=1.0, command="eventmark run", profile="quick",
        seed=1, verdict=Verdict.MET, reasons=[], environment=environment(), corpus=None, operations={}, plans=[],
        skipped={}, phases=[], series=[],
    )  # fmt: skip
