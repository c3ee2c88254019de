"""A profiled result: nothing that rests on times is judged, and what failed stays broken."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventmark.jobs.profiled import as_profiled
from eventmark.results.results import RunResult, Verdict
from tests.report.conftest import operation, result  # noqa: F401 - a fixture


def of_times(result: RunResult, **changes: object) -> RunResult:  # noqa: F811
    """A result that has nothing but operations."""
    rest = {"corpus": None, "plans": [], "orderings": [], "sections": []}
    return msgspec.structs.replace(result, **(rest | changes))


def test_what_was_met_or_missed_under_a_profiler_is_not_decided(result: RunResult) -> None:  # noqa: F811
    for verdict in (Verdict.MET, Verdict.BROKEN):
        given = of_times(result, operations={"read_snapshot": operation(2.0, verdict, 1)}, verdict=verdict)
        profiled = as_profiled(given, "cpu", [Path("profile-cpu-01-worker.html")])
        assert profiled.verdict is Verdict.INCONCLUSIVE
        assert profiled.operations["read_snapshot"].verdict is Verdict.INCONCLUSIVE
        assert "profiler" in profiled.reasons[0]
        assert profiled.sections[-1].blocks[0].text == "profile-cpu-01-worker.html"


def test_what_failed_under_a_profiler_is_broken(result: RunResult) -> None:  # noqa: F811
    failed = msgspec.structs.replace(operation(2.0, Verdict.BROKEN, 1), failed=3)
    profiled = as_profiled(of_times(result, operations={"read_snapshot": failed}), "memory", [])
    assert profiled.verdict is Verdict.BROKEN
    assert profiled.operations["read_snapshot"].verdict is Verdict.BROKEN
    broken = [msgspec.structs.replace(one, verdict=Verdict.BROKEN) for one in result.plans[:1]]
    assert as_profiled(of_times(result, operations={}, plans=broken), "cpu", []).verdict is Verdict.BROKEN
