"""Sections of any experiment shown: cells of tables, the terminal's form. Draws nothing: see ``section_charts``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as TerminalTable
from rich.text import Text

from eventmark.report import numbers
from eventmark.results.results import Block, Column, Finding, OrderingResult, Section, Table, Verdict, columns
from eventmark.text import one_line, plain

CELL_WIDTH = 80
DIFF_LINES_MAX = 80  # of one block, on a terminal
FINDINGS_MAX = 12  # of one section, on a terminal
_STYLES = {Verdict.MET: "bold green", Verdict.BROKEN: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}
_PAIR = re.compile(r"[\d.,]+ / [\d.,]+|–")
_UNITS: dict[str, Callable[[float], str]] = {
    "ms": numbers.milliseconds,
    "share": numbers.share,
    "s": numbers.duration,
    "MiB": numbers.mebibytes,
    "times": numbers.times,
}


def chart_id(section: int, chart: int) -> str:
    """Where in the page a section's chart is drawn."""
    return f"section{section}-{chart}"


def cell_text(value: str | float | None, column: Column) -> str:
    """A table's cell as people read it."""
    if value is None:
        return numbers.NONE
    if isinstance(value, str):
        return one_line(value)
    if column.unit in _UNITS:
        return _UNITS[column.unit](value)
    return one_line(f"{numbers.amount(value)} {column.unit}")


def is_number_column(table: Table, column: int) -> bool:
    """Whether a column holds numbers, or pairs of them: they stand at its right."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and all(not isinstance(cell, str) or _PAIR.fullmatch(cell) for cell in cells)


def faults_of(shown: Section | OrderingResult) -> list[Finding]:
    """The findings that are not MET."""
    return [finding for finding in shown.findings if finding.verdict is not Verdict.MET]


def render_section(section: Section, *, brief: bool = False) -> RenderableType:
    """A section on a terminal: its paragraphs, its tables unless it is ``brief``, and what was found."""
    parts: list[RenderableType] = [Text(plain(section.title), style="bold")]
    parts += [Padding(Text(one_line(text)), (0, 0, 0, 2), expand=False) for text in section.text]
    for table in () if brief else section.tables:
        parts += [Text(), render_table(table)]
    parts += _terminal_faults(faults_of(section))
    parts += [_terminal_diff(block) for block in section.blocks if block.language == "diff"]
    return Group(*parts)


def _terminal_faults(faults: Sequence[Finding]) -> Iterator[RenderableType]:
    """Each with what to do about it, a remedy once."""
    told: set[str] = {""}
    for finding in faults[:FINDINGS_MAX]:
        text = f"{finding.name}: {finding.observed}, expected {finding.expected}"
        yield Padding(Text(one_line(text)), (0, 0, 0, 2), expand=False)
        if finding.remedy not in told:
            told.add(finding.remedy)
            yield Padding(Text(one_line(finding.remedy), style="dim"), (0, 0, 0, 4), expand=False)
    if len(faults) > FINDINGS_MAX:
        more = f"and {len(faults) - FINDINGS_MAX} more, see the report"
        yield Padding(Text(more), (0, 0, 0, 2), expand=False)


def _terminal_diff(block: Block) -> RenderableType:
    """A difference, line by line: what was asked for is what changed, so it is not left to the page."""
    lines = block.text.splitlines()
    shown = Text()
    for line in lines[:DIFF_LINES_MAX]:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
        shown.append(plain(line).expandtabs(4) + "\n", style=style)
    if len(lines) > DIFF_LINES_MAX:
        shown.append(f"and {len(lines) - DIFF_LINES_MAX} lines more, see the report\n")
    return Padding(shown, (1, 0, 0, 2))


def findings_table(findings: Sequence[Finding], title: str = "") -> Table:
    """A row for each, with what to do where there is anything to do."""
    told = any(finding.remedy for finding in findings)
    return Table(
        title=title,
        columns=columns("check", "verdict", "seen", "expected", *(["what to do"] if told else [])),
        rows=[
            [
                finding.name,
                finding.verdict.value,
                finding.observed,
                finding.expected,
                *([finding.remedy] if told else []),
            ]
            for finding in findings
        ],
    )


def render_table(table: Table) -> TerminalTable:
    """A table on a terminal."""
    shown = TerminalTable(
        box=box.SIMPLE_HEAD, title=plain(table.title), title_justify="left", pad_edge=False, show_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for index, column in enumerate(table.columns):
        shown.add_column(
            plain(column.name),
            justify="right" if is_number_column(table, index) else "left",
            overflow="fold",
            max_width=CELL_WIDTH,
        )
    for row in table.rows:
        shown.add_row(*map(_terminal_cell, row_texts(table, row)))
    return shown


def _terminal_cell(text: str) -> Text:
    return verdict_text(Verdict(text)) if text in Verdict.__members__ else Text(text)


def verdict_text(verdict: Verdict) -> Text:
    return Text(verdict.value, style=_STYLES[verdict])


def row_texts(table: Table, row: Sequence[str | float | None]) -> Iterator[str]:
    for value, column in zip(row, table.columns, strict=True):
        yield cell_text(value, column)
