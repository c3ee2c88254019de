"""The page in a real browser: every chart drawn, nothing to complain about, and it fits a phone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eventmark.report.charts import chart_specs
from eventmark.report.html import render_html
from eventmark.results.results import RunResult
from tests.report.browser import BROWSER, look_at

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(390, False, marks=pytest.mark.long),
        (390, True),
        pytest.param(1280, False, marks=pytest.mark.long),
    ],
)
def test_every_chart_is_drawn_and_the_page_does_not_scroll_sideways(
    result: RunResult, page: str, tmp_path: Path, width: int, dark: bool
) -> None:
    look = look_at(page, tmp_path, width=width, dark=dark)
    wanted = str(len(chart_specs(result)))
    assert look.console == []
    assert look.facts["chart-error"] == ""
    assert (look.facts["charts"], look.facts["drawn"]) == (wanted, wanted)
    assert int(look.facts["overflow"]) <= 0
    assert look.facts["wide"] == "0"
    if width == 390:
        assert look.facts["cut"] == "0"  # no figure of a table is out of sight
    assert int(look.facts["marks"]) > 50
    assert "alert(1)" in look.facts["text"]  # as text: hostile names are labels, not markup


def test_a_page_of_nothing_is_drawn_without_complaint(result: RunResult, tmp_path: Path) -> None:
    empty = msgspec.structs.replace(
        result, corpus=None, operations={}, plans=[], series=[], phases=[], skipped={}
    )
    look = look_at(render_html(empty), tmp_path, width=390)
    assert look.console == []
    assert (look.facts["drawn"], look.facts["chart-error"]) == ("0", "")
    assert int(look.facts["overflow"]) <= 0


def test_the_policy_stops_evaluation_and_loading_and_this_test_sees_it(page: str, tmp_path: Path) -> None:
    planted = (
        '<img src="http://127.0.0.1:9/x.png" alt=""><p style="width:2000px">wide</p>'
        "<script>try { eval('1') } catch (error) { console.error(String(error)) }</script>"
    )
    before, end, after = page.rpartition("</body>")
    look = look_at(before + planted + end + after, tmp_path, width=1280)
    said = "\n".join(look.console)
    assert "img-src" in said
    assert "EvalError" in said
    assert int(look.facts["overflow"]) > 0
