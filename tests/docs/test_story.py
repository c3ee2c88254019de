from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from eventmark.results.files import read_result
from eventmark.results.results import Figure, RunResult, Verdict
from tools.docs.story import NOT_SHOWN, STORY, Evidence, Line, decided, render_story

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def result() -> RunResult:
    return read_result(RESULTS / "soak-postgresql-18.json")


def line(files: str, part: str = "") -> Line:
    return Line("", "soak", (Evidence(files, part),))


def test_a_line_without_a_committed_result_is_not_shown(result: RunResult) -> None:
    assert decided(line("soak-*"), {"load-postgresql-18.json": result}) == (NOT_SHOWN, [])
    assert decided(line("soak-*", "operations read_minds"), {"soak-1.json": result})[0] == NOT_SHOWN


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_worst_verdict_of_a_part_decides(result: RunResult, verdict: Verdict) -> None:
    operations = {name: replace(one, verdict=Verdict.MET) for name, one in result.operations.items()}
    operations["append_events[10]"] = replace(operations["append_events[10]"], verdict=verdict)
    results = {"soak-1.json": replace(result, operations=operations)}
    assert decided(line("soak-*", "operations append_events*"), results) == (verdict.value, ["soak-1.json"])
    assert decided(line("soak-*", "operations append_events[100]"), results)[0] == "MET"


@pytest.mark.parametrize(("value", "verdict"), [(1200.0, "MET"), (300.0, "INCONCLUSIVE")])
def test_a_run_that_asked_for_less_shows_nothing(result: RunResult, value: float, verdict: str) -> None:
    results = {"soak-1.json": replace(result, figures={"rate": Figure(value=value, unit="events/s")})}
    assert decided(line("soak-*", "figures rate 990"), results)[0] == verdict
    assert decided(line("soak-*", "figures other 990"), results)[0] == "INCONCLUSIVE"


def test_every_line_is_on_the_page_with_its_verdict() -> None:
    page = render_story({})
    assert page.count(f"| {NOT_SHOWN} |") == sum(len(lines) for lines in STORY.values())
