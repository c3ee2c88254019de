"""Columns of text that hold nothing of their own: always the same, or what others of the row hold already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import permutations

ROWS_MIN = 100
"""Fewer rows alike may be chance."""

_SEPARATORS = (":", "-", "/", "|", ".", "_", "")

Rows = Sequence[Mapping[str, str | None]]


def repeated_columns(rows: Rows, kept: Collection[str] = ()) -> dict[str, str]:
    """By column, what it repeats in every row, in words. Columns that are ``kept``, as of keys, are repeated by others.

    Of two that are alike, the later one repeats the earlier.
    """
    if len(rows) < ROWS_MIN:
        return {}
    repeats: dict[str, str] = {}
    names = list(rows[0])
    for index, name in enumerate(names):
        if name in kept or any(row[name] is None for row in rows):
            continue
        sources = [other for other in names if other != name and other not in repeats]
        earlier = [source for source in sources if source in names[:index] or source in kept]
        if reason := _constant(rows, name) or _equal(rows, name, earlier) or _joined(rows, name, sources):
            repeats[name] = reason
    return repeats


def _constant(rows: Rows, name: str) -> str:
    value = rows[0][name]
    return f"the constant {value!r}" if all(row[name] == value for row in rows) else ""


def _equal(rows: Rows, name: str, others: Sequence[str]) -> str:
    return next((other for other in others if all(row[name] == row[other] for row in rows)), "")


def _joined(rows: Rows, name: str, others: Sequence[str]) -> str:
    for first, other in permutations(others, 2):
        for separator in _SEPARATORS:
            if all(row[name] == f"{row[first]}{separator}{row[other]}" for row in rows):
                return f"{first} || {separator!r} || {other}"
    return ""
