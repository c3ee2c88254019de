"""Apache Otava, the change detector: a history written for it to analyse, and its tables read.

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
from eventmark.history.entries import Entry, Measurement
from eventmark.results.files import write_whole
from eventmark.text import one_line

CSV_FILE, CONFIG_FILE = "eventmark.csv", "otava.yaml"
TEST_NAME = "eventmark"
TIME_COLUMN, COMMIT_COLUMN = "time", "commit"
ROWS_MAX = 100_000


def write_otava(entries: Sequence[Entry], directory: Path) -> list[Path]:
    """The runs that can be compared with the last one as a table, and Otava's settings for it.

    Only numbers that all of them have: Otava takes no empty cell. Raises ``CannotRunError`` where a file cannot
    be written, ``UsageError`` for an empty history.
    """
    if not entries:
        raise UsageError("the history is empty", remedy="name a folder of results")
    last = entries[-1]
    rows = [one for one in entries if (one.kind, one.machine) == (last.kind, last.machine)]
    names = [name for name in last.measurements if all(name in one.measurements for one in rows)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([TIME_COLUMN, COMMIT_COLUMN, *map(_cell, names)])
    for one in rows:
        values = [repr(one.measurements[name].value) for name in names]
        table.writerow([_cell(f"{one.moment} +0000"), _cell(one.commit), *values])
    directions = {_cell(name): 1 if last.measurements[name].better == "more" else -1 for name in names}
    written = {CSV_FILE: text.getvalue(), CONFIG_FILE: _settings(directory / CSV_FILE, directions)}
    for name, content in written.items():
        write_whole(directory / name, content.encode())
    return [directory / name for name in written]


def read_otava(path: Path, better: str = "less") -> list[Entry]:
    """A table as Otava reads it: every column of numbers is one, all others are the commit or nothing.

    ``better`` is of all numbers, for a table does not tell. Raises ``UsageError``.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row, _ in zip(csv.DictReader(file), range(ROWS_MAX), strict=False)]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV: {error}", remedy="name a CSV file") from error
    if not rows or TIME_COLUMN not in rows[0]:
        raise UsageError(
            f"{path} has no column called {TIME_COLUMN}", remedy="its first line names the columns"
        )
    return sorted((_entry(row, path, better) for row in rows), key=lambda entry: entry.moment)


def _entry(row: dict[str, str | None], path: Path, better: str) -> Entry:
    measurements = {}
    for name, text in row.items():
        if name in (None, TIME_COLUMN, COMMIT_COLUMN):
            continue
        try:
            measurements[name] = Measurement(value=float(text or ""), unit="", better=better)
        except ValueError:
            continue
    return Entry(
        moment=row.get(TIME_COLUMN) or "", commit=row.get(COMMIT_COLUMN) or "", file=str(path), kind="Otava",
        machine="Otava", measurements=measurements,
    )  # fmt: skip


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
