"""A result shown: on the terminal, as a page, as tables, and in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

from eventmark.report.jmh import render_jmh
from eventmark.report.junit import render_junit
from eventmark.report.markdown import render_markdown
from eventmark.report.openmetrics import render_openmetrics
from eventmark.report.sections import findings_table, render_table
from eventmark.report.terminal import render_terminal
from eventmark.results.files import write_whole
from eventmark.results.results import RunResult

__all__ = ["findings_table", "render_table", "render_terminal", "write_reports"]


def _render_html(result: RunResult) -> str:
    from eventmark.report.html import render_html  # altair and what draws its charts: half a second

    return render_html(result)


_WRITERS = {
    "report.html": _render_html,
    "report.md": render_markdown,
    "junit.xml": render_junit,
    "jmh.json": render_jmh,
    "metrics.prom": render_openmetrics,
}


def write_reports(result: RunResult, directory: Path, *, html: bool = True) -> dict[str, Path]:
    """Every report of the result into ``directory``, the page only with ``html``; its files by name.

    Raises ``CannotRunError`` where a file cannot be written.
    """
    written = {}
    for name, render in _WRITERS.items():
        if name == "report.html" and not html:
            continue
        path = directory / name
        write_whole(path, render(result).encode("utf-8", "replace"))
        written[name] = path
    return written
