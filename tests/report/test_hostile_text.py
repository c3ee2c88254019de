"""No text of a result, whichever field it stands in, steers a terminal or turns a line around."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from rich.table import Table

from eventmark.cli import output
from eventmark.cli.output import Screen
from eventmark.cli.progress import make_bars
from eventmark.history import write_otava
from eventmark.history.entries import Entry, Measurement
from eventmark.report import render_terminal
from eventmark.report.annotations import render_annotations
from eventmark.report.html import render_html
from eventmark.report.jmh import render_jmh
from eventmark.report.junit import render_junit
from eventmark.report.markdown import render_markdown
from eventmark.report.openmetrics import render_openmetrics
from eventmark.results.results import Figure, RunResult, Verdict
from tests.report.conftest import ordering

STEERING = "\x1b]0;owned\x07\x9b31m\u202egnp\x00\r\x7f"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
READ = {"format", "mark", "histogram", "target_quantile", "started_at", "language", "name", "description"}
"""Fields that programs read, not people, and those whose values parts of the report are looked up by."""


def steered(value: Any, field: str = "") -> Any:
    """The value with ``STEERING`` at the end of every text that people read, keys of mappings included."""
    if type(value) is str:
        return value if field in READ else value + STEERING
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: steered(getattr(value, name), name) for name in value.__struct_fields__}
        )
    if isinstance(value, dict):
        return {key + STEERING: steered(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(steered(item) for item in value)
    return value


@pytest.fixture(scope="module")
def hostile(result: RunResult, shown: RunResult) -> RunResult:
    whole = msgspec.structs.replace(
        result, sections=shown.sections, figures={"rate": Figure(value=1.0, unit="events/s", better="more")},
        orderings=[ordering("horizon", Verdict.BROKEN, 3)],
    )  # fmt: skip
    changed = steered(whole)
    names = [msgspec.structs.replace(one, name=one.name + STEERING) for one in changed.sections]
    return msgspec.structs.replace(changed, sections=names)


def on_screen(result: RunResult) -> str:
    screen = Screen(file=io.StringIO(), width=100, force_terminal=False)
    screen.print(render_terminal(result))
    screen.print(f"a path {STEERING}", markup=False)
    return screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "render", [on_screen, render_junit, render_markdown, render_html, render_jmh, render_openmetrics, render_annotations],
    ids=lambda render: render.__name__,
)  # fmt: skip
def test_no_text_of_a_result_steers_a_terminal(
    hostile: RunResult, render: Callable[[RunResult], str]
) -> None:
    shown = render(hostile)
    found = STEERS.search(shown)
    assert found is None, shown[max(0, found.start() - 200) : found.end() + 50]


def test_square_brackets_and_colons_are_printed_as_they_are() -> None:
    said = "store.toml:8: [columns] does not map tenant_id [/x] :smile:"
    screen = Screen(file=io.StringIO(), width=200, force_terminal=False)
    table = Table(title=said)
    table.add_column("[columns]")
    table.add_row(said)
    bars = make_bars(screen)
    bars.add_task(said, total=1)
    screen.print(said, table, bars.get_renderable())
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count(said) == 4


def test_the_command_line_prints_on_such_screens_alone() -> None:
    sources = Path(output.__file__).parents[1].rglob("*.py")
    others = re.compile(r"\bConsole\(|\bfrom_markup\(|\brich\.print|from rich import print")
    assert [path.name for path in sources if others.search(path.read_text(encoding="utf-8"))] == []


def test_suites_of_junit_are_named_without_controls(hostile: RunResult) -> None:
    root = ElementTree.fromstring(render_junit(hostile))
    assert not any(STEERS.search(text) for node in root.iter() for text in node.attrib.values())
    assert any("gnp" in suite.get("name", "") for suite in root)


def test_a_table_for_spreadsheets_holds_no_formula_in_cells_or_header(tmp_path: Path) -> None:
    formulas = [
        f"{sign}cmd|' /C calc'!A{number}"
        for number, sign in enumerate(("=", "+", "-", "@", "\t=", "\r=", " =", "\x1b=", "＝"))
    ]
    entries = [
        Entry(
            at=86_400.0 * day, moment=f"2026-01-0{day} 00:00:00", commit=formulas[day], file="f", place="f",
            kind="k", machine="m",
            measurements={name: Measurement(value=1.0 * day, unit="ms", better="less") for name in formulas},
        )
        for day in range(1, 9)
    ]  # fmt: skip
    table, settings = write_otava(entries, tmp_path)
    text = table.read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text)))
    assert not any(cell.lstrip()[:1] in tuple("=+-@＝") for row in rows for cell in row)
    assert not STEERS.search(text)
    columns = re.findall(r" column: (.*)", settings.read_text(encoding="utf-8"))
    assert [json.loads(column) for column in columns] == rows[0][2:]
