"""The page over a history: trends of what is comparable, every run, in a real browser."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eventmark.errors import UsageError
from eventmark.history import KeptRun, entry_of, find_trends, read_runs
from eventmark.report.history_page import history_charts, render_history_page
from eventmark.results.files import write_result
from eventmark.results.results import Figure, RunResult
from tests.history.test_trends import history as made_up
from tests.history.test_trends import runs_of, stepped
from tests.report.browser import BROWSER, look_at


@pytest.fixture
def history(result: RunResult, shown: RunResult, tmp_path: Path) -> list[KeptRun]:
    """Three comparable runs of the main job and two of a scenario, in folders of their own."""
    for number in range(5):
        found = msgspec.structs.replace(
            result if number < 3 else shown,
            run_id=f"run-{number}",
            started_at=f"2026-11-2{number}T01:02:03+00:00",
            figures={
                "capacity_appends_per_s": Figure(value=100.0 + number, unit="appends/s", low=90.0, high=120.0)
            },
        )
        write_result(found, tmp_path / f"run-{number}" / "result.json")
    (tmp_path / "run-1" / "report.html").write_text("<p>a report</p>")
    (tmp_path / "other.json").write_text("{}")
    return read_runs(tmp_path).runs


def test_results_of_a_folder_and_below_it_are_read_the_oldest_first(history: list[KeptRun]) -> None:
    assert [run.day[:10] for run in history] == [f"2026-11-2{number}" for number in range(5)]


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match="no result"):
        read_runs(tmp_path)


def test_runs_that_are_not_comparable_are_lines_of_their_own(history: list[KeptRun]) -> None:
    bigger = msgspec.structs.replace(
        history[0].result, corpus=msgspec.structs.replace(history[0].result.corpus, events=10_000_000)
    )
    charts = list(
        history_charts([*history, KeptRun(history[0].path, bigger), KeptRun(history[0].path, bigger)])
    )
    append = next(chart for chart in charts if chart.title.startswith("append_events[1]"))
    assert sorted(
        len([point for point in append.points if point.series == kind])
        for kind in {point.series for point in append.points}
    ) == [2, 3]
    growth = next(chart for chart in charts if chart.title.startswith("Growth"))
    assert {point.x for point in growth.points} == {50_000.0, 10_000_000.0}


def test_what_came_once_has_no_trend(history: list[KeptRun]) -> None:
    assert all(not chart.points for chart in history_charts(history[:1]))


def test_a_report_beside_its_result_is_linked(history: list[KeptRun], tmp_path: Path) -> None:
    page = render_history_page(history, tmp_path / "pages" / "dashboard.html")
    assert page.count("its report</a>") == 1
    assert 'href="../run-1/report.html"' in page
    assert "<script>alert(1)" not in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "dark"), [(390, True), pytest.param(1280, False, marks=pytest.mark.long)])
def test_the_page_is_drawn_and_does_not_scroll_sideways(
    history: list[KeptRun], tmp_path: Path, width: int, dark: bool
) -> None:
    page = render_history_page(history, tmp_path / "dashboard.html")
    (tmp_path / "look").mkdir()
    look = look_at(page, tmp_path / "look", width=width, dark=dark)
    assert look.console == []
    assert look.facts["chart-error"] == ""
    assert int(look.facts["drawn"]) == len([1 for chart in history_charts(history) if chart.points]) > 3
    assert int(look.facts["overflow"]) <= 0
    assert look.facts["wide"] == "0"


def test_a_page_over_a_step_for_the_worse_is_headed_by_it_and_marks_it(tmp_path: Path) -> None:
    runs = runs_of(made_up(stepped(ratio=1.4)))
    trends = find_trends([entry_of(run) for run in runs])
    page = render_history_page(runs, tmp_path / "dashboard.html", trends)
    assert 'class="hero tint-BROKEN"' in page
    assert "the last run met its targets; 2 numbers got worse over the runs" in page
    assert f"commit {16:040x}"[:19] in page
    chart = next(history_charts(runs, trends))
    assert [point.x for point in chart.points if point.series == "worse"] == [runs[16].moment]
    steady = render_history_page(runs_of(made_up([1.0] * 20)), tmp_path / "dashboard.html")
    assert 'class="hero tint-MET"' in steady
    assert "nothing got worse over the runs" in steady
