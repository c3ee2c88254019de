"""Figures of the committed results, for the sentences that quote them."""

from __future__ import annotations

import re
from functools import cache

from eventmark.results.files import read_result
from eventmark.results.results import RunResult
from tools.docs.words import ROOT

NUMBER = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")


@cache
def result(name: str) -> RunResult:
    return read_result(ROOT / "docs" / "results" / f"{name}-postgresql-18.json")


def cells(name: str, title: str, first: str | float | tuple[str, ...], *columns: int) -> list[float]:
    """Of the table whose title begins so, cells of the row that begins with ``first``; of a text, the numbers in it."""
    tables = [
        table
        for section in result(name).sections
        for table in section.tables
        if table.title.casefold().startswith(title.casefold())
    ]
    beginning = list(first) if isinstance(first, tuple) else [first]
    row = next(row for table in tables for row in table.rows if row[: len(beginning)] == beginning)
    return [number for column in columns for number in numbers(str(row[column]))]


def figure(name: str, key: str) -> list[float]:
    found = result(name).figures[key]
    assert found.low is not None and found.high is not None
    return [found.value, found.low, found.high]


def operation(name: str, key: str) -> list[float]:
    """p95 with its interval, and the target."""
    one = result(name).operations[key]
    interval = one.interval_ms["p95"]
    assert one.latency_ms and interval.high is not None and one.target_ms is not None
    return [one.latency_ms.p95, interval.low, interval.high, one.target_ms]


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]
