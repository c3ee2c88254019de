"""Colours of the charts: names that the style sheet gives a value for light, dark and paper."""

from __future__ import annotations

SERIES_COLOURS = 10
INK, SOFT, LINE, BAND = "var(--ink)", "var(--ink-soft)", "var(--line)", "var(--band)"
TARGET = "var(--target)"


def colour(number: int) -> str:
    """The colour of series ``number``; they repeat after ten."""
    return f"var(--series-{number % SERIES_COLOURS})"


def colours(count: int) -> list[str]:
    return [colour(number) for number in range(count)]


def verdict_colour(verdict: str) -> str:
    return f"var(--{verdict.lower()})"
