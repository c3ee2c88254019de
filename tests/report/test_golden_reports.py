"""What users read, as rendered: a file per kind of report in ``golden``, for a reviewer to read.

A change of the words that is meant is approved: ``pytest tests/report/test_golden_reports.py --approve-reports``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from eventmark.report import render_terminal
from eventmark.report.annotations import render_annotations
from eventmark.report.history_page import render_history_page
from eventmark.report.html import render_html
from eventmark.report.junit import render_junit
from eventmark.report.markdown import render_markdown
from eventmark.report.openmetrics import render_openmetrics
from eventmark.results.results import RunResult
from tests.report.examples import EXAMPLES as WHOLE_EXAMPLES
from tests.report.examples import nights
from tests.report.section_examples import advice_result, gate_result, load_result
from tools.docs.words import banned

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = {**WHOLE_EXAMPLES, "gate": gate_result, "advise": advice_result, "load": load_result}


def terminal(result: RunResult) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(render_terminal(result))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def page_text(result: RunResult) -> str:
    return visible_text(render_html(result))


def history_text(_: RunResult) -> str:
    """As far as the newest of the runs, which are all shown alike."""
    text = visible_text(render_history_page(nights(), GOLDEN / "dashboard.html"))
    return text[: text.index(nights()[-2].day)]


def visible_text(page: str) -> str:
    """What a reader of the page sees, a line for each cell and paragraph."""
    reader = _Visible()
    reader.feed(page)
    return "\n".join(line for text in reader.texts if (line := " ".join(text.split()))) + "\n"


class _Visible(HTMLParser):
    _UNSEEN = ("script", "style", "title", "symbol")

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.unseen = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.unseen += tag in self._UNSEEN

    def handle_endtag(self, tag: str) -> None:
        self.unseen -= tag in self._UNSEEN

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.texts.append(data)


RENDERED: dict[str, tuple[str, Callable[[RunResult], str]]] = {
    **{f"{name}-terminal.txt": (name, terminal) for name in EXAMPLES},
    "run-page.txt": ("run", page_text),
    "run.md": ("run", render_markdown),
    "run-junit.xml": ("run", render_junit),
    "run-annotations.txt": ("run", render_annotations),
    "run-metrics.prom": ("run", render_openmetrics),
    "certify-page.txt": ("certify", page_text),
    "certify.md": ("certify", render_markdown),
    "certify-junit.xml": ("certify", render_junit),
    "gate.md": ("gate", render_markdown),
    "gate-annotations.txt": ("gate", render_annotations),
    "advise.md": ("advise", render_markdown),
    "load.md": ("load", render_markdown),
    "history-page.txt": ("trend", history_text),
}


@pytest.mark.parametrize("name", RENDERED)
def test_a_report_reads_as_approved(name: str, request: pytest.FixtureRequest) -> None:
    example, render = RENDERED[name]
    text = "".join(line.rstrip() + "\n" for line in render(EXAMPLES[example]()).splitlines())
    if request.config.getoption("--approve-reports"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8"), (
        f"approve it with --approve-reports if {name} is meant to change"
    )


def test_every_approved_report_is_rendered_and_has_no_banned_word() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in GOLDEN.iterdir()}
    assert set(files) == set(RENDERED)
    assert not {name: wrong for name, text in files.items() if (wrong := banned(text))}
