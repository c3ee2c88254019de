"""Apache Otava, the change detector: a history written for it to analyse.

Its importer for CSV takes a column of times, columns of attributes such as the commit, and columns of metrics;
``otava.yaml`` says which is which, and of each metric whether more or less is better (1 or -1).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from eventmark.errors import UsageError
from eventmark.history.entries import Entry
from eventmark.results.files import write_whole
from eventmark.text import one_line

CSV_FILE, CONFIG_FILE = "eventmark.csv", "otava.yaml"
TEST_NAME = "eventmark"
TIME_COLUMN, COMMIT_COLUMN = "time", "commit"


def write_otava(entries: Sequence[Entry], directory: Path) -> list[Path]:
    """The runs that can be compared with the last one as a table, and Otava's settings for it.

    Only numbers that all of them have: Otava takes no empty cell. Raises ``CannotRunError`` where a file cannot
    be written, ``UsageError`` for an empty history.
    """
    if not entries:
        raise UsageError("the history is empty", remedy="name a folder of results")
    last = entries[-1]
    shared = (last.kind, last.branch, last.machine)
    rows = [entry for entry in entries if (entry.kind, entry.branch, entry.machine) == shared]
    names = [name for name in last.measurements if all(name in row.measurements for row in rows)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([TIME_COLUMN, COMMIT_COLUMN, *map(_cell, names)])
    for row in rows:
        values = [repr(row.measurements[name].value) for name in names]
        table.writerow([_cell(f"{row.moment} +0000"), _cell(row.commit), *values])
    directions = {_cell(name): 1 if last.measurements[name].better == "more" else -1 for name in names}
    written = {CSV_FILE: text.getvalue(), CONFIG_FILE: _settings(directory / CSV_FILE, directions)}
    for name, content in written.items():
        write_whole(directory / name, content.encode())
    return [directory / name for name in written]


def _settings(table: Path, directions: dict[str, int]) -> str:
    """YAML whose texts are JSON's, which YAML reads as they are."""
    lines = [
        "tests:",
        f"  {TEST_NAME}:",
        "    type: csv",
        f"    file: {json.dumps(str(table.absolute()))}",
        f"    time_column: {TIME_COLUMN}",
        f"    attributes: [{COMMIT_COLUMN}]",
        "    metrics:",
    ]
    for name, direction in directions.items():
        lines += [
            f"      {json.dumps(name)}:",
            f"        column: {json.dumps(name)}",
            f"        direction: {direction}",
        ]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Text on one line that steers no terminal and that no spreadsheet takes for a formula."""
    shown = one_line(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else shown
