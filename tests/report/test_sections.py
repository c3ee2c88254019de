"""Sections of a scenario: in every report, drawn by a real browser, and harmless."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from eventmark.report.html import render_html
from eventmark.report.junit import render_junit
from eventmark.report.markdown import render_markdown
from eventmark.report.section_charts import drawn_chart
from eventmark.report.sections import cell_text, is_number_column
from eventmark.results.files import read_result, write_result
from eventmark.results.results import Chart, Column, Point, RunResult, Section, Table
from tests.report.browser import BROWSER, look_at
from tests.report.test_tools import terminal_text


def test_a_section_is_in_every_report_with_its_numbers_in_their_units(
    shown: RunResult, shown_page: str
) -> None:
    for report in (shown_page, render_markdown(shown), terminal_text(shown, 200)):
        text = report.replace("\u202f", " ")
        assert "Capacity" in text
        assert "1.25 ms" in text
        assert "51,234" in text
        assert "nobody" in text
    suite = ElementTree.fromstring(render_junit(shown)).find("testsuite[@name='capacity']")
    assert suite is not None and suite.get("failures") == "1"


def test_a_section_alone_is_shown_without_the_parts_of_the_main_job(
    shown: RunResult, shown_page: str
) -> None:
    for text in (shown_page, render_markdown(shown)):
        assert "No operation was measured" not in text
        assert "No corpus was seeded" not in text


def test_a_closing_section_comes_after_everything_else(shown: RunResult, result: RunResult) -> None:
    closing = msgspec.structs.replace(shown.sections[0], title="What limited it", name="limit", closing=True)
    whole = msgspec.structs.replace(result, series=[], sections=[*shown.sections, closing])
    for text in (render_html(whole), render_markdown(whole), terminal_text(whole, 200)):
        body = text.partition("<main")[2] or text
        first, operations, last = (
            body.index(title) for title in ("Capacity", "append_events[1]", "What limited it")
        )
        assert first < last and operations < last
    alone = msgspec.structs.replace(shown, sections=[closing], operations={}, corpus=None, plans=[])
    assert "No operation was measured" in render_markdown(alone)


def test_hostile_text_in_a_section_is_harmless(shown: RunResult, shown_page: str) -> None:
    assert "<script>alert(1)" not in shown_page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", terminal_text(shown))
    assert "<script" not in re.sub("```.*?```|`[^`]*`", "", render_markdown(shown), flags=re.DOTALL)


def test_a_result_with_sections_is_read_back_as_it_was(shown: RunResult, tmp_path: Path) -> None:
    write_result(shown, tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == shown


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [pytest.param(390, marks=pytest.mark.long), 1280])
def test_every_kind_of_chart_is_drawn(shown: RunResult, shown_page: str, tmp_path: Path, width: int) -> None:
    look = look_at(shown_page, tmp_path, width=width)
    assert look.console == []
    assert (look.facts["chart-error"], look.facts["drawn"]) == ("", "5")
    assert (look.facts["wide"], int(look.facts["overflow"]) <= 0) == ("0", True)


def test_a_logarithmic_heat_map_of_like_values_looks_like_one() -> None:
    points = [Point(x="a", y="b", value=1.0), Point(x="a", y="c", value=1.01)]
    drawn = drawn_chart(Chart(title="", mark="heat", x="", y="", y_log=True, points=points)).to_dict()
    assert drawn["encoding"]["opacity"]["scale"]["domain"] == [1.0, 10.0]


def test_series_of_dots_are_not_joined_to_a_line() -> None:
    points = [Point(x=float(x), y=float(x), series=name) for x in range(3) for name in ("fitted", "measured")]
    chart = Chart(title="", mark="line", x="", y="", points=points, dots=["measured"])
    layers = drawn_chart(chart).to_dict()["layer"]
    drawn = {layer["mark"]["type"]: layer["transform"][-1]["filter"]["oneOf"] for layer in layers}
    assert drawn == {"line": ["fitted"], "point": ["measured"]}


def test_a_chart_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="pie"):
        drawn_chart(Chart(title="", mark="pie", x="", y="", points=[Point(x=1.0, y=1.0)]))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"), (0.5, "share", "50.0%"), (1.5, "times", "1.50\u202f×"), (90.0, "s", "90.0\u202fs"),
        (12.0, "events/s", "12 events/s"), (12.0, "", "12"), ("text", "ms", "text"),
    ],
)  # fmt: skip
def test_cells_are_shown_in_their_column_s_unit(value: str | float | None, unit: str, text: str) -> None:
    assert cell_text(value, Column(name="x", unit=unit)) == text


def test_a_column_of_names_is_no_column_of_numbers() -> None:
    table = Table(title="", columns=[Column(name="a"), Column(name="b")], rows=[["x", 1.0], ["y", None]])
    assert [is_number_column(table, place) for place in range(2)] == [False, True]
    assert Section(name="a", title="A").verdict is None
