"""Reports for other tools and for the terminal: in their formats, bounded, and harmless."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from eventmark.errors import UsageError
from eventmark.experiments.museum.museum import EXHIBITS
from eventmark.judgement.verdicts import judge_orderings
from eventmark.report import findings_table, numbers, render_table, render_terminal, write_reports
from eventmark.report.html import render_html
from eventmark.report.jmh import PERCENTILES, render_jmh
from eventmark.report.junit import render_junit
from eventmark.report.markdown import cell, fenced, render_markdown
from eventmark.report.terminal import PLANS_MAX
from eventmark.report.text import cut
from eventmark.results.files import read_result, write_result
from eventmark.results.results import Chart, Criterion, Point, RunResult, Verdict
from eventmark.stats.histogram import LatencyHistogram
from eventmark.text import plain
from tools.docs.museum import render_museum
from tools.docs.performance import fill_prices, render_performance, write_performance
from tools.docs.pictures import svg_of

COMMENT_MAX = 65_536  # characters that a comment on a change may hold


def terminal_text(result: RunResult, width: int = 100, *, verbose: bool = True) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(render_terminal(result, verbose=verbose))
    return console.export_text(styles=False)


def test_the_page_can_be_left_out(result: RunResult, tmp_path: Path) -> None:
    written = write_reports(result, tmp_path, html=False)
    assert sorted(written) == ["jmh.json", "junit.xml", "metrics.prom", "report.md"]
    assert not (tmp_path / "report.html").exists()


def test_junit_counts_what_it_holds_and_every_reason_is_reported(result: RunResult) -> None:
    text = render_junit(result)
    root = ElementTree.fromstring(text)
    for suite in root:
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))
    assert int(root.get("tests", "")) == len(root.findall(".//testcase"))
    assert all(one.get("message") for one in [*root.iter("failure"), *root.iter("skipped")])
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert [suite.get("name") for suite in root] == ["operations", "orderings", "plans", "corpus", "skipped"]


def test_jmh_has_the_fields_viewers_read_and_the_error_of_the_mean(result: RunResult) -> None:
    for one in json.loads(render_jmh(result)):
        metric = one["primaryMetric"]
        assert one["mode"] == "sample"
        assert {
            "jmhVersion",
            "benchmark",
            "threads",
            "forks",
            "warmupIterations",
            "measurementIterations",
        } <= set(one)
        assert re.fullmatch(r"eventmark\.\w+", one["benchmark"])
        assert one["secondaryMetrics"] == {}
        assert tuple(metric["scorePercentiles"]) == PERCENTILES
        values = list(metric["scorePercentiles"].values())
        assert values == sorted(values)
        low, high = metric["scoreConfidence"]
        assert high - low == pytest.approx(2 * metric["scoreError"])
        assert (low + high) / 2 == pytest.approx(metric["score"])
        pairs = metric["rawDataHistogram"][0][0]
        assert metric["score"] == pytest.approx(sum(v * n for v, n in pairs) / sum(n for _, n in pairs))


def test_jmh_states_nan_where_a_mean_has_no_error_and_leaves_out_what_is_damaged(result: RunResult) -> None:
    histogram = LatencyHistogram()
    histogram.record(2_000_000)
    one = result.operations["append_events[1]"]
    operations = {
        "single": msgspec.structs.replace(one, histogram=histogram.encode()),
        "damaged": msgspec.structs.replace(one, histogram="AAAA"),
    }
    benchmarks = json.loads(render_jmh(msgspec.structs.replace(result, operations=operations)))
    assert [found["benchmark"] for found in benchmarks] == ["eventmark.single"]
    assert benchmarks[0]["primaryMetric"]["scoreError"] == "NaN"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_terminal_shows_what_decides_within_its_width(result: RunResult, width: int) -> None:
    text = terminal_text(result, width)
    assert max(map(len, text.splitlines())) <= width
    for expected in (
        "BROKEN", "INCONCLUSIVE", "rows removed: 250 per row", "create an index", "900 samples",
        "skipped create_token_at", "select", "20,000 events/s",
    ):  # fmt: skip
        assert expected in text
    if width >= 100:
        latency = result.operations["load_aggregate[1000]"].latency_ms
        for value in (latency.p50, latency.p95, latency.p99):
            assert numbers.milliseconds(value) in text
    if width >= 140:
        assert "7% slower than pgbench (0.500" in text
        assert "5% slower than psql" in text


def test_no_control_character_or_markup_of_the_results_reaches_the_terminal(result: RunResult) -> None:
    hostile = msgspec.structs.replace(
        result.plans[0], statement="[bold red]x[/]\x1b]0;title\x07", condition="\x9b31m"
    )
    text = terminal_text(msgspec.structs.replace(result, plans=[hostile]))
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(
        render_table(
            findings_table([msgspec.structs.replace(result.plans[0].findings[0], name="\x1b[2J[red]")])
        )
    )
    text += console.export_text(styles=False)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "[bold red]x[/]" in text
    assert "[red]" in text


def test_very_many_broken_plans_leave_the_terminal_and_the_comment_readable(result: RunResult) -> None:
    long = msgspec.structs.replace(result.plans[0], query="select 1\n" * 5000)
    many = msgspec.structs.replace(result, plans=[long] * 500, reasons=["a reason " * 100] * 500)
    assert len(terminal_text(many).splitlines()) < 400
    assert f"and {500 - PLANS_MAX} more" in terminal_text(many)
    assert len(render_markdown(many)) < COMMENT_MAX


def test_text_in_a_comment_calls_nobody_and_brings_no_markup() -> None:
    text = "@octocat <b>x</b> [a](http://example.org) `c` | *d* _e_ $f$ &lt; \n# g"
    rendered = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| a |\n|---|\n| {cell(text)} |\n")
    )
    assert len(re.findall("<t[dh]>", rendered)) == 2
    assert not re.search("<(b|a|code|em|strong|h1)[ >]", rendered)
    assert "@octocat" not in rendered
    assert "&amp;lt;" in rendered


def test_a_query_cannot_leave_its_block_of_code() -> None:
    rendered = MarkdownIt("commonmark", {"html": True}).render(
        "\n".join(fenced("x\n```\n</details><script>\n````\ny"))
    )
    assert "<script>" not in rendered
    assert rendered.count("<pre>") == 1


def test_the_performance_page_sets_volumes_beside_each_other(result: RunResult, tmp_path: Path) -> None:
    assert result.corpus is not None
    corpus = msgspec.structs.replace(result.corpus, events=10_000_000)
    operations = {"append_events[1]": result.operations["append_events[1]"]}
    large = msgspec.structs.replace(result, corpus=corpus, operations=operations, verdict=Verdict.MET)
    for name, one in (("b", result), ("a", large)):
        write_result(one, tmp_path / "results" / f"{name}.json")
    write_performance(tmp_path / "results", tmp_path / "performance.md")
    for path, text in render_performance([large, result]).items():
        assert (tmp_path / path).read_text(encoding="utf-8") == text
    page = render_performance([large, result])["performance/operations.md"]
    assert page.index("## 50,000 events") < page.index("## 10,000,000 events")
    row = next(line for line in page.splitlines() if line.startswith("| `load_aggregate[1000]` p95"))
    assert row.endswith("| – |")
    assert "There are no results yet" in render_performance([])["performance.md"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.000123, "0.123\u202fµs"), (0.5754, "0.575\u202fms"), (9.996, "10.0\u202fms"), (0.0, "0\u202fms"),
        (1234.5, "1,230\u202fms"), (None, "–"),
    ],
)  # fmt: skip
def test_milliseconds_have_three_significant_digits(value: float | None, shown: str) -> None:
    assert numbers.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(28.53, "28.5\u202fs"), (268.1, "4\u202fmin 28\u202fs"), (7500, "2\u202fh 5\u202fmin")],
)
def test_durations_are_reported_in_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert numbers.duration(seconds) == shown


def test_plain_text_keeps_what_people_write_and_nothing_that_steers() -> None:
    assert plain("größer, 日本語 👍\u202f1\tx\ny") == "größer, 日本語 👍\u202f1\tx\ny"
    assert plain("\x1b\x9b\u202e\u2066\ud800\r\u2028") == "\ufffd" * 7
    assert cut("x" * 20, 5) == "xxxxx… (15 characters more)"


def test_what_each_ordering_lost_and_costs_is_in_every_report(hunted: RunResult, hunted_page: str) -> None:
    for text in (hunted_page, render_markdown(hunted), terminal_text(hunted, 200)):
        for figure in ("51,234", "128", "9,876", "0.500 / 1.25"):
            assert figure in text.replace("\u202f", " ")


def test_hostile_names_of_orderings_are_harmless_everywhere(hunted: RunResult, hunted_page: str) -> None:
    assert "<script>alert(1)" not in hunted_page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", terminal_text(hunted))
    rows = [line for line in render_markdown(hunted).splitlines() if "51,234" in line]
    assert len(rows) == 2
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    ElementTree.fromstring(render_junit(hunted))


def test_a_hunt_alone_is_shown_without_the_parts_of_the_main_job(hunted: RunResult) -> None:
    alone = msgspec.structs.replace(hunted, operations={}, plans=[], corpus=None, verdict=Verdict.MET)
    page, tables = render_html(alone), render_markdown(alone)
    assert 'id="orderings"' in page
    assert 'id="operations"' not in page
    assert "## Orderings" in tables
    assert "## Plans" not in tables
    assert "1 ordering keeps every invariant." in tables


def test_a_control_that_was_not_caught_leaves_a_hunt_open(hunted: RunResult) -> None:
    horizon, naive = hunted.orderings
    assert judge_orderings([horizon, naive])[0] is Verdict.MET
    missed = msgspec.structs.replace(naive, verdict=Verdict.MET)
    verdict, reasons = judge_orderings([horizon, missed])
    assert verdict is Verdict.INCONCLUSIVE
    assert "proves nothing" in reasons[0]
    assert judge_orderings([naive])[0] is Verdict.BROKEN
    assert (
        judge_orderings([msgspec.structs.replace(horizon, verdict=Verdict.BROKEN), naive])[0]
        is Verdict.BROKEN
    )


def test_a_chart_becomes_a_picture_in_colours_of_its_own() -> None:
    points = [Point(x=1.0, y=2.0, series="a"), Point(x=3.0, y=4.0, series="b")]
    svg = svg_of(Chart(title="Growth", mark="line", x="events", y="ms", points=points))
    assert svg.startswith("<svg")
    assert "Growth" in svg and "#3c64cf" in svg and "var(" not in svg


def test_the_pages_of_figures_are_what_the_committed_results_say() -> None:
    docs = Path(__file__).parents[2] / "docs"
    results = [read_result(path) for path in sorted((docs / "results").glob("*.json"))]
    assert results
    pages = render_performance(results)
    assert {path for path in pages if "/" in path} == {
        f"performance/{path.name}" for path in (docs / "performance").iterdir()
    }
    for path, text in pages.items():
        assert (docs / path).read_text(encoding="utf-8") == text
    pictures = re.findall(r"\]\(\.\./(pictures/[^)]+)\)", "".join(pages.values()))
    assert len(pictures) == len(set(pictures))
    assert {docs / path for path in pictures} == set((docs / "pictures").iterdir())
    assert len(pages["performance.md"].splitlines()) < 40, "a summary is one screen"
    page = (docs / "ordering.md").read_text(encoding="utf-8")
    assert page == fill_prices(results, page)


def test_the_page_of_figures_shows_what_the_instrument_was_found_to_be(shown: RunResult) -> None:
    section = msgspec.structs.replace(shown.sections[0], name="gate-calibration", title="The gate's rates")
    pages = render_performance([msgspec.structs.replace(shown, sections=[section])])
    assert "## The gate's rates" in pages["performance/instrument.md"]
    assert "performance/instrument.md" not in render_performance([shown])


def test_the_museum_s_page_is_what_the_committed_results_say() -> None:
    docs = Path(__file__).parents[2] / "docs"
    results = [read_result(path) for path in sorted((docs / "results").glob("museum-*.json"))]
    page = (docs / "museum.md").read_text(encoding="utf-8")
    assert page == render_museum(results)
    assert {result.verdict for result in results} == {Verdict.MET}
    for result in results:
        assert {section.name for section in result.sections} == set(EXHIBITS)
        assert {result.environment.server.version_num // 10000 for result in results} >= {15, 18}


def test_a_museum_without_results_reports_it() -> None:
    assert "There are no results yet" in render_museum([])


def test_prices_go_between_their_marks_and_nowhere_else(hunted: RunResult) -> None:
    page = "before\n<!-- prices -->\nold\n<!-- end of prices -->\nafter\n"
    filled = fill_prices([hunted], page)
    assert filled.startswith("before\n<!-- prices -->\n### Orderings")
    assert filled.endswith("<!-- end of prices -->\nafter\n")
    assert "old" not in filled
    assert fill_prices([hunted], filled) == filled
    with pytest.raises(UsageError, match="prices"):
        fill_prices([hunted], "no marks")


def test_a_certification_has_a_page_of_its_own_and_is_on_no_other(shown: RunResult) -> None:
    criteria = [
        Criterion(name="a", question="Does it hold?", verdict=Verdict.MET, figure="9 of 9"),
        Criterion(name="b", question="Is it isolated?", verdict=None, reason="the corpus has one tenant"),
    ]
    certified = msgspec.structs.replace(shown, scenario="certify", criteria=criteria)
    pages = render_performance([certified])
    assert set(pages) == {"performance.md", "performance/certification.md"}
    assert "| Does it hold? | ✅ MET | 9 of 9 |" in pages["performance/certification.md"]
    assert "1 of 1 criteria met" in pages["performance.md"]
