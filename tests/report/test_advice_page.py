"""The page of advice: what committed results say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventmark.results.files import read_result
from eventmark.results.results import Block, Column, RunResult, Section, Table
from tools.docs.advice import render_advice

ADVICE = Section(
    name="advice", title="Advice", text=["Possible improvements: 1."],
    tables=[Table(title="what to do", columns=[Column(name="what"), Column(name="times", unit="times")], rows=[["drop x|y", 1.42]])],
    blocks=[Block(title="advice.sql", text="drop index concurrently x;", language="sql")],
)  # fmt: skip


def test_the_page_is_what_the_committed_results_say() -> None:
    docs = Path(__file__).parents[2] / "docs"
    results = [read_result(path) for path in sorted((docs / "results").glob("*.json"))]
    assert (docs / "advice.md").read_text(encoding="utf-8") == render_advice(results)


def test_only_advice_is_shown_each_with_its_store_and_server(result: RunResult) -> None:
    other = msgspec.structs.replace(ADVICE, name="load", title="Load of another scenario")
    advised = msgspec.structs.replace(result, sections=[ADVICE, other])
    page = render_advice([result, advised])
    assert page.count("\n## ") == 1
    assert "### Advice" in page
    assert "1.42" in page
    assert "drop index concurrently x;" in page
    assert "drop x\\|y" in page
    assert "Load of another scenario" not in page
    assert "There are no results yet" in render_advice([result])
