"""How much work an answer took, and how much more than another: by counters alone.

Two counters say it: pages touched (shared, and temporary ones), and rows handled on the way (read, thrown away,
sorted). Each is held against the rows of the answer. No answer costs less than what any would: a descent of an
index, a page for each row that lies by itself, and for each of the few that a bounded look around passes. Below
that floor there is nothing to be won, so that an answer of few rows, or of none, is judged by its absolute work.
"""

from __future__ import annotations

from collections.abc import Mapping

from eventmark.plans.judge import PAGES_PER_SEARCH, ROWS_READ_FREE, ROWS_READ_PER_ROW_MAX
from eventmark.plans.work import SORT_ROWS_MAX

CLIFF_FACTOR = 10.0
"""So many times the work of the best plan is a cliff. Less is a plan that could be better."""

PAGES_PER_ROW_READ = 1.0
PAGES_PER_ROW_WRITTEN = 10.0
"""Of the floor: a row read lies on a page by itself; a row written touches the heap and a page of each index."""

Work = Mapping[str, float]


def rows_of(work: Work) -> float:
    """The answer's rows, those written where it writes; 1 where there are none."""
    return max(1.0, work["rows_written"] if work["writes"] else work["rows"])


def pages_of(work: Work) -> float:
    return work["buffers"] + work["temp_buffers"]


def handled_of(work: Work) -> float:
    """Rows that were read, thrown away or sorted; a handful sorted is none."""
    sorted_rows = work["sort_rows"] if work["sort_rows"] > SORT_ROWS_MAX else 0.0
    return work["rows_read"] + work["rows_removed"] + sorted_rows


def weigh(work: Work) -> float:
    """Work per row, for a comparison of answers to one question."""
    return (pages_of(work) + handled_of(work) / ROWS_READ_FREE) / rows_of(work)


def times_the_work(work: Work, best: Work | None = None) -> float:
    """How many times the work per row that ``best`` took, or, None, that any answer takes; the worse counter's."""
    return max(_pages_times(work, best), _handled_times(work, best))


def is_suspicious(work: Work) -> bool:
    """Whether it could be a cliff at all: so much more than the floor."""
    return times_the_work(work) >= CLIFF_FACTOR


def _pages_times(work: Work, best: Work | None) -> float:
    rows = rows_of(work)
    per_row = PAGES_PER_ROW_WRITTEN if work["writes"] else PAGES_PER_ROW_READ
    if best is not None:
        per_row = max(per_row, pages_of(best) / rows_of(best))
    looked_at = max(0.0, handled_of(work) - rows)
    around = looked_at if looked_at <= ROWS_READ_FREE else 0.0  # more than that is not a bounded look
    return pages_of(work) / (PAGES_PER_SEARCH + per_row * rows + around)


def _handled_times(work: Work, best: Work | None) -> float:
    rows = rows_of(work)
    per_row = ROWS_READ_PER_ROW_MAX
    if best is not None:
        per_row = max(per_row, handled_of(best) / rows_of(best))
    return handled_of(work) / (ROWS_READ_FREE + per_row * rows)
