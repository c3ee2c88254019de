"""A certification shown: the answer before everything else, in every report."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from eventmark.report import render_terminal
from eventmark.report.html import render_html
from eventmark.report.junit import render_junit
from eventmark.report.markdown import COMMENT_MAX, render_markdown
from eventmark.report.numbers import against, distance
from eventmark.report.summary import verdict_sentence
from eventmark.results.results import Criterion, Floor, RunResult, Section, Verdict


@pytest.fixture(scope="module")
def certified(hunted: RunResult) -> RunResult:
    criteria = [
        Criterion(
            name="no-event-lost", question="Does every consumer receive every event?", verdict=Verdict.BROKEN,
            figure="3,475 lost of 5,869 events", reason="Your consumers miss events. Cause: reads by number.",
            evidence="orderings", remedy="Read below the oldest transaction.",
        ),
        Criterion(name="growth", question="Is it as quick at 10M?", verdict=Verdict.MET, figure="1.04 ×", evidence="growth"),
        Criterion(name="memory", question="Is memory stable?", verdict=Verdict.INCONCLUSIVE, reason="not done in 6 minutes"),
        Criterion(name="streaming", question="Is it streamed in time?", verdict=None, reason="not asked: it has none"),
    ]  # fmt: skip
    sections = [
        Section(name="growth", title="Growth of the log", verdict=Verdict.MET),
        Section(name="growth--laws", title="Laws of growth", text=["x" * 3000] * 20),
    ]
    return msgspec.structs.replace(hunted, scenario="certify", criteria=criteria, sections=sections)


def test_the_terminal_shows_the_table_and_nothing_else_unless_it_is_asked_for_more(
    certified: RunResult,
) -> None:
    def shown(*, verbose: bool) -> str:
        console = Console(file=io.StringIO(), width=200)
        console.print(render_terminal(certified, verbose=verbose))
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    text = shown(verbose=False)
    assert text.startswith("verdict: BROKEN  1 of 3 criteria met, 1 broken, 1 undecided, 1 not asked.")
    for said in ("3,475 lost", "Cause: reads by number", "→ Read below", "not asked: it has none", "1.04 ×"):
        assert said in text
    assert "load_aggregate[1000]" not in text
    assert "load_aggregate[1000]" in shown(verbose=True)


@pytest.fixture(scope="module")
def certified_page(certified: RunResult) -> str:
    return render_html(certified)


def test_the_page_begins_with_the_criteria_and_each_leads_to_its_evidence(certified_page: str) -> None:
    page = certified_page
    table = page[page.index('id="criteria"') : page.index('id="orderings"')]
    assert re.findall(r'<a href="#([^"]+)"', table) == ["orderings", "growth"]
    assert all(f'id="{name}"' in page for name in ("orderings", "growth", "growth--laws"))
    for said in (
        "3,475 lost of 5,869 events",
        "Cause: reads by number",
        "Read below",
        "not asked",
        "not done in 6 minutes",
    ):
        assert said in table
    head = page[: page.index("<main")]
    assert "#growth--laws" not in head  # the bar leads to parts, not to each of their sections


def test_markdown_fits_a_comment_and_holds_every_criterion(certified: RunResult) -> None:
    text = render_markdown(certified)
    assert len(text.encode()) <= COMMENT_MAX + 1000
    assert text.index("3,475 lost") < text.index("<details>")
    for one in certified.criteria:
        assert one.question in text
    many = msgspec.structs.replace(certified, sections=certified.sections * 30)
    assert len(render_markdown(many).encode()) <= COMMENT_MAX + 1000


def test_junit_has_a_case_for_each_criterion(certified: RunResult) -> None:
    root = ElementTree.fromstring(render_junit(certified))
    (suite,) = root
    assert [case.get("name") for case in suite] == [one.question for one in certified.criteria]
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "2")
    assert "Read below the oldest transaction." in (suite.findtext(".//failure") or "")


def test_a_run_states_what_it_did_not_test_and_a_certification_does_not(
    result: RunResult, page: str, certified: RunResult, certified_page: str
) -> None:
    said = "Load and lost events were not tested"
    assert said in page and said in render_markdown(result)
    assert said not in certified_page and said not in render_markdown(certified)


def test_the_sentence_counts_criteria(certified: RunResult) -> None:
    assert verdict_sentence(certified) == "1 of 3 criteria met, 1 broken, 1 undecided, 1 not asked."


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.86, "14% faster than pgbench"), (0.45, "2.2 × faster than pgbench"), (1.07, "7% slower than pgbench"),
        (2.0, "2.0 × slower than pgbench"), (1.0, "as fast as pgbench"), (0.992, "0.8% faster than pgbench"),
        (1.4999, "50% slower than pgbench"), (1.5, "1.5 × slower than pgbench"), (12.34, "12 × slower than pgbench"),
        (0.0, "not comparable with pgbench"), (float("nan"), "not comparable with pgbench"),
    ],
)  # fmt: skip
def test_a_distance_cannot_be_read_backwards(ratio: float, said: str) -> None:
    baseline = Floor(tool="pgbench", statistic="mean", value=1.012, unit="ms", ratio=ratio)
    assert distance(baseline) == said
    assert against(baseline) == f"{said} (1.01\u202fms)"


def test_a_baseline_of_a_rate_shows_its_rate() -> None:
    seeding = Floor(tool="psql \\copy", statistic="2 connections", value=41_911.0, unit="rows/s", ratio=0.45)
    assert against(seeding) == "2.2 × faster than psql \\copy (41,911 rows/s)"
