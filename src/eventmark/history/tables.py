"""A history as a CSV table, such as Apache Otava reads: a row a run, a column of times, columns of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from eventmark.errors import UsageError
from eventmark.history.entries import Entry, Measurement
from eventmark.history.times import read_times
from eventmark.history.units import is_rate

ROWS_MAX = 100_000
TIME_COLUMNS = ("time", "timestamp", "date", "datetime")
COMMIT_COLUMNS = ("commit", "sha", "revision", "hash")
BRANCH_COLUMNS = ("branch", "ref")
UNIT_COLUMNS = ("unit",)
MACHINE_COLUMNS = ("machine", "host", "hostname", "runner", "os", "cpu")
KIND_COLUMNS = ("scenario", "store", "profile", "suite", "benchmark", "test", "operation", "metric", "name")
_SPECIAL = TIME_COLUMNS + COMMIT_COLUMNS + BRANCH_COLUMNS + UNIT_COLUMNS + MACHINE_COLUMNS + KIND_COLUMNS
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table by its columns. ``line`` is the file's own."""

    line: int
    cells: Mapping[str, str]

    def first(self, columns: Sequence[str]) -> str:
        return next((self.cells[name] for name in columns if name in self.cells), "")


def read_table(path: Path, better: str = "less") -> list[Entry]:
    """A row for each run, the oldest first.

    Columns that tell runs apart (a branch, a machine, a benchmark) make courses of their own. Every column with more
    numbers than texts is a number; all others are passed over. ``better`` is of all numbers, for a table does not
    tell. Raises ``UsageError`` for a table that is damaged.
    """
    rows = _rows(path)
    times = [row.first(TIME_COLUMNS) for row in rows]
    moments = read_times(times, lambda number: f"{path}, line {rows[number].line}")
    names = [name for name in rows[0].cells if name and name not in _SPECIAL and _is_of_numbers(name, rows)]
    if not names:
        remedy = "write one row for each run and one column for each number"
        raise UsageError(f"{path} has no column of numbers", remedy=remedy)
    kinds = [name for name in KIND_COLUMNS if _tells_apart(name, rows)]
    entries = [
        _entry(row, path, names, kinds, better, moment) for row, moment in zip(rows, moments, strict=True)
    ]
    return sorted(entries, key=lambda entry: entry.at or 0.0)


def _rows(path: Path) -> list[_Row]:
    """Every line that is not empty, with as many cells as the first, whose cells are the columns' names."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=first.count))
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV: {error}", remedy="name a CSV file") from error
    if len(lines) < 2:
        raise UsageError(
            f"{path} has no rows", remedy="its first line must name the columns, and each row is a run"
        )
    if len(lines) > ROWS_MAX:
        raise UsageError(f"{path} has more than {ROWS_MAX} rows", remedy="keep the newest")
    columns = [name.lower() if name.lower() in _SPECIAL else name for name in lines[0][1]]
    _check_columns(path, columns)
    for line, cells in lines[1:]:
        if len(cells) > len(columns):
            raise UsageError(
                f"{path}, line {line}: {len(cells)} cells, and the first line names {len(columns)} columns",
                remedy="write numbers with a point, and texts that hold the delimiter in quotes",
            )
    return [
        _Row(line, dict(zip(columns, cells + [""] * len(columns), strict=False))) for line, cells in lines[1:]
    ]


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if not any(name in columns for name in TIME_COLUMNS):
        raise UsageError(
            f"{path} has no column called {TIME_COLUMNS[0]}", remedy="its first line names the columns"
        )
    for name in columns:
        if name and columns.count(name) > 1:  # one without a name is an index that a program wrote
            raise UsageError(
                f"{path} has two columns called {name!r}", remedy="give each column a name of its own"
            )


def _is_of_numbers(name: str, rows: Sequence[_Row]) -> bool:
    """Whether at least as many cells are numbers, NaN and infinity included, as are other texts."""
    filled = [cell for row in rows if (cell := row.cells[name])]
    numbers = sum(_parsed(cell) is not None for cell in filled)
    return numbers > 0 and numbers >= len(filled) - numbers


def _tells_apart(name: str, rows: Sequence[_Row]) -> bool:
    """Whether its texts come again: a text of each run's own is a run's name, not a benchmark's."""
    texts = [row.cells[name] for row in rows if row.cells.get(name)]
    return 0 < 2 * len(set(texts)) <= len(texts)


def _entry(
    row: _Row, path: Path, names: Sequence[str], kinds: Sequence[str], better: str, moment: datetime
) -> Entry:
    measurements: dict[str, Measurement] = {}
    unjudged: dict[str, str] = {}
    unit = row.first(UNIT_COLUMNS)
    for name in names:
        cell = row.cells[name]
        value = _parsed(cell)
        if value is not None and math.isfinite(value):
            measurements[name] = Measurement(
                value=value, unit=unit, better="more" if is_rate(unit) else better
            )
        elif cell:
            unjudged[name] = f"{cell!r:.40} is not a number"
    told = [f"{name} {row.cells[name]}" for name in kinds if row.cells[name]]
    return Entry(
        at=moment.timestamp(), moment=moment.strftime("%Y-%m-%d %H:%M:%S"), commit=row.first(COMMIT_COLUMNS),
        file=str(path), place=f"{path}, line {row.line}", kind=", ".join(["CSV", *told]),
        branch=row.first(BRANCH_COLUMNS),
        machine=", ".join(row.cells[name] for name in MACHINE_COLUMNS if row.cells.get(name)) or "CSV",
        measurements=measurements, unjudged=unjudged,
        blanks=frozenset(name for name in names if not row.cells[name]),
    )  # fmt: skip


def _parsed(text: str) -> float | None:
    """A number, which may be none (NaN) or infinite; None for what is not written as one."""
    try:
        return None if "_" in text else float(text)  # Python's own way to group digits
    except ValueError:
        return None
