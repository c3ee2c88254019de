"""What all charts share: colours, named by the style sheet for light, dark and paper, and their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

SERIES_COLOURS = 12  # the core operations are eleven
INK, SOFT, LINE, BAND = "var(--ink)", "var(--ink-soft)", "var(--line)", "var(--band)"
TARGET = "var(--target)"


def colour(number: int) -> str:
    """The colour of series ``number``; they repeat after twelve."""
    return f"var(--series-{number % SERIES_COLOURS})"


def colours(count: int) -> list[str]:
    return [colour(number) for number in range(count)]


def verdict_colour(verdict: str) -> str:
    return f"var(--{verdict.lower()})"


def chart_of(rows: Sequence[dict[str, Any]], **properties: Any) -> alt.Chart:
    """A chart of rows that stand in the specification itself: nothing is loaded."""
    # A tuple: the library copies lists, with all in them, for every layer and panel
    return alt.Chart(alt.InlineData(values=tuple(rows)), **properties)


def specification(chart: alt.TopLevelMixin, *, checked: bool = False) -> dict[str, Any]:
    """What the page's library draws; ``checked`` against its schema, which takes as long as all else together."""
    document: dict[str, Any] = chart.to_dict(validate=checked)
    return document


def digits(value: float) -> float:
    """Four significant digits: a chart shows no more, and the page stays small."""
    return float(f"{value:.4g}")
