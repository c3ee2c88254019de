"""The reports: complete, escaped, self-contained, and read back by the tools they are for."""

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

from eventmark.report import render_terminal, write_reports
from eventmark.report.html import render_html
from eventmark.report.jmh import render_jmh
from eventmark.report.junit import render_junit
from eventmark.report.markdown import render_markdown
from eventmark.results.results import Finding, RunResult, Verdict
from tools.docs.performance import render_performance


def test_every_report_is_written_beside_the_others(result: RunResult, tmp_path: Path) -> None:
    written = write_reports(result, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html", "report.md", "junit.xml", "jmh.json", "metrics.prom",
    }  # fmt: skip
    assert all(path.stat().st_size > 500 for path in written.values())


def test_the_page_escapes_everything_that_comes_from_outside(page: str) -> None:
    assert "<script>alert(1)" not in page
    assert page.count("<script") == 3  # the data, the library, ours
    assert "&lt;script&gt;alert(1)" in page


def test_the_page_loads_nothing_and_reports_it_in_its_policy(page: str) -> None:
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href|url\()\s*=?\s*["']?(https?:)?//""", markup)
    assert "default-src 'none'" in page
    assert "unsafe-eval" not in page
    assert len(page) < 4_000_000


def test_the_page_shows_each_verdict_number_and_reason(page: str) -> None:
    for expected in (
        "append_events[1]", "BROKEN", "INCONCLUSIVE", "MET", "7% slower than pgbench", "domain_events_stream", "250 per row",
        "917", "c0ffee", "PostgreSQL 18.6", "create_token_at", "never steady", "bottleneck",
    ):  # fmt: skip
        assert expected in page


def test_a_result_with_nothing_in_it_still_has_a_page(result: RunResult) -> None:
    empty = msgspec.structs.replace(
        result, corpus=None, operations={}, plans=[], series=[], phases=[], skipped={}
    )
    page = render_html(empty)
    assert "No operation was measured" in page
    assert render_markdown(empty)
    ElementTree.fromstring(render_junit(empty))
    assert json.loads(render_jmh(empty)) == []


def test_markdown_holds_the_tables_and_no_markup_from_outside(result: RunResult) -> None:
    text = render_markdown(result)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<script" not in rendered
    assert rendered.count("<table>") == len(re.findall(r"^\|[-:|]+\|$", text, re.MULTILINE))
    assert "| `append_events[1]` |" in text
    assert "❌ BROKEN" in text
    for line in text.splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 11


def test_junit_fails_what_is_broken_and_skips_what_is_open(result: RunResult) -> None:
    root = ElementTree.fromstring(render_junit(result))
    suites = {suite.get("name"): suite for suite in root}
    assert suites["operations"].get("failures") == "1"
    assert suites["operations"].get("skipped") == "1"
    assert suites["plans"].get("failures") == "1"
    failure = suites["plans"].find(".//failure")
    assert failure is not None
    assert "250 per row" in (failure.text or "")
    assert "\x1b" not in (failure.text or "")


def test_jmh_readers_find_the_fields_they_read(result: RunResult) -> None:
    benchmarks = json.loads(render_jmh(result))
    assert [one["benchmark"] for one in benchmarks] == [
        "eventmark.append_events_1", "eventmark.load_aggregate_1000", "eventmark.compare_tokens",
        "eventmark.foreign_script_script_alert_1_script_31m_cmd_x_somebody_x_gnp_exe",
    ]  # fmt: skip
    metric = benchmarks[1]["primaryMetric"]
    assert metric["scoreUnit"] == "ms/op"
    assert metric["scorePercentiles"]["95.0"] == pytest.approx(
        result.operations["load_aggregate[1000]"].latency_ms.p95, rel=0.01
    )
    assert sum(count for _, count in metric["rawDataHistogram"][0][0]) == 900


def test_the_terminal_gets_no_control_characters(result: RunResult) -> None:
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(render_terminal(result))
    text = console.export_text(styles=False)
    assert "\x1b" not in text
    assert "append_events[1]" in text
    assert "verdict: BROKEN" in text


def test_plans_that_are_mostly_serialization_are_remarked_upon(result: RunResult) -> None:
    finding = Finding(
        name="serialization", verdict=Verdict.MET, observed="13.8 ms, 82% of the statement's time", expected="",
        remedy="store documents as json",
    )  # fmt: skip
    work = {"rows": 1000.0, "execution_ms": 16.8, "serialization_ms": 13.8, "serialization_share": 0.82}
    plan = msgspec.structs.replace(
        result.plans[0], statement="load_aggregate", verdict=Verdict.MET, findings=[finding], work=work
    )
    remarked = msgspec.structs.replace(
        result, plans=[plan, msgspec.structs.replace(plan, condition="another")], operations={}, series=[]
    )
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(render_terminal(remarked))
    said = "load_aggregate: serialization 13.8 ms, 82% of the statement's time; store documents as json"
    assert console.export_text(styles=False).count(said) == 1
    assert "82% of it serialization" in render_html(remarked)


def test_the_performance_page_names_machine_ratios_and_rates(result: RunResult) -> None:
    page = "".join(render_performance([result]).values())
    assert "7% slower than pgbench" in page
    assert "5% slower than psql" in page
