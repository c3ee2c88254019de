"""Cliffs: cells that do many times the work of the best plan for the same question, why, and what avoids them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from eventmark.plans.cliffs.alternatives import Alternative
from eventmark.plans.cliffs.cells import CUSTOM, GENERIC, STALE, Cell
from eventmark.plans.cliffs.weight import CLIFF_FACTOR, pages_of, rows_of, times_the_work, weigh

_Key = TypeVar("_Key")

OTHER_QUESTION, OTHER_CONDITION, OTHER_PLAN = "elsewhere", "another condition", "another plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A cell and how many times the work of the best it did."""

    cell: Cell
    times: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """Cells of one statement that fall over in one way: the worst of them, and what does better.

    ``better`` is what tells most about the reason: a cell of the same question, as like it as can be, else
    another plan that was tried, else the statement asked elsewhere.
    """

    worst: Cell
    times: float
    better: Cell | Alternative
    kind: str
    cells: tuple[Cell, ...]


def judge_cells(cells: Sequence[Cell]) -> list[Judged]:
    """Every cell that was seen, held against the best answer to its question, or to its statement elsewhere."""
    seen = [cell for cell in cells if cell.work]
    best_of_question = _best(seen, lambda cell: cell.question.key)
    best_of_statement = _best(seen, lambda cell: cell.question.statement)
    judged = []
    for cell in seen:
        references = (best_of_question[cell.question.key], best_of_statement[cell.question.statement])
        times = max(times_the_work(cell.work, best) for best in references)
        judged.append(Judged(cell=cell, times=times))
    return judged


def find_cliffs(cells: Sequence[Cell]) -> list[Cliff]:
    """The cliffs, the worst first; cells of one statement with one shape and one cause are one."""
    by_question: dict[tuple[str, ...], list[Cell]] = {}
    by_statement: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.work:
            by_question.setdefault(cell.question.key, []).append(cell)
            by_statement.setdefault(cell.question.statement, []).append(cell)
    groups: dict[tuple[str, ...], list[tuple[Judged, Cell | Alternative, str]]] = {}
    for judged_cell in judge_cells(cells):
        if judged_cell.times < CLIFF_FACTOR:
            continue
        better, kind = _better(
            judged_cell.cell,
            by_question[judged_cell.cell.question.key],
            by_statement[judged_cell.cell.question.statement],
        )
        cause: tuple[str, ...] = ()
        if kind == OTHER_CONDITION and isinstance(better, Cell):
            cause = _differences(judged_cell.cell, better)
        elif isinstance(better, Alternative):
            cause = (better.name,)
        groups.setdefault(
            (judged_cell.cell.question.statement, judged_cell.cell.shape, kind, *cause), []
        ).append((judged_cell, better, kind))
    cliffs = []
    for members in groups.values():
        judged, better, kind = max(members, key=lambda member: member[0].times)
        cliffs.append(
            Cliff(
                worst=judged.cell, times=judged.times, better=better, kind=kind,
                cells=tuple(member[0].cell for member in members),
            )
        )  # fmt: skip
    return sorted(cliffs, key=lambda cliff: cliff.times, reverse=True)


def why(cliff: Cliff) -> str:
    """What happened, and why the planner chose it, by its own estimates."""
    cell, better = cliff.worst, cliff.better
    clauses = [
        f"{_work_told(cell.work)}, {cliff.times:,.0f} times the work it takes"
        f" {_where(cliff)} ({_work_told(better.work)})"
    ]
    if cell.work["estimate_factor"] > 2:
        clauses.append(
            f"a scan gave {cell.work['estimate_factor']:,.0f} times the rows that the planner expected of it"
        )
    if cliff.kind == OTHER_QUESTION:
        clauses.append("with these indexes there is no plan for it that does better")
    elif better.cost is not None and cliff.kind == OTHER_PLAN:
        clauses.append(
            f"the planner estimated {cell.cost:,.1f} for the plan it chose and {better.cost:,.1f} for the better one"
        )
    elif isinstance(better, Cell) and cell.generic and not better.generic:
        clauses.append(
            f"a generic plan has to do for every value, and its cost was estimated at {cell.cost:,.1f};"
            f" for these values the custom plan would have been estimated at {better.cost:,.1f}"
        )
    elif isinstance(better, Cell):
        clauses.append(f"its cost was estimated at {cell.cost:,.1f}, the better plan's at {better.cost:,.1f}")
    return "; ".join(clauses)


def remedy(cliff: Cliff) -> str:
    """What avoids it."""
    cell, better = cliff.worst, cliff.better
    if isinstance(better, Alternative):
        if better.index:
            return (
                f"the planner takes {better.index} for its order: write the order so that only the better index has it"
                " (begin it with the column that is compared), or make an index of the compared columns, then the order"
            )
        return (
            "the planner overestimates the cost of the better plan: random_page_cost 1.1 on solid state disks,"
            " effective_cache_size as the machine has it, fresh statistics"
        )
    if cliff.kind == OTHER_QUESTION:
        return (
            "an index whose first columns are the ones compared with =, then the one that orders; for a generic plan,"
            " conditions that an index can serve whatever the values are"
        )
    differ = set(_differences(cell, better))
    if GENERIC in differ:
        return (
            "plan_cache_mode = force_custom_plan for the sessions that run it, or a statement of its own for each"
            " kind of value"
        )
    if f"{STALE} statistics" in differ:
        return "ANALYZE sooner: a lower autovacuum_analyze_scale_factor for the table"
    if f"{STALE} visibility map" in differ:
        return "VACUUM sooner: a lower autovacuum_vacuum_insert_scale_factor for the table"
    if CUSTOM in differ:
        return "plan_cache_mode = force_generic_plan for the sessions that run it"
    return (
        "it reads through rows that others append: an index whose first columns are the ones compared with = skips"
        " them; and check whether old transactions keep dead rows from being removed"
    )


def where_it_happens(cells: Iterable[Cell]) -> str:
    """What the cells of a cliff have in common and what they do not: ``generic plan; decile 1 to 3; ...``."""
    listed = list(cells)
    axes = [
        [cell.kind_told for cell in listed],
        [cell.state.label for cell in listed],
        *([cell.question.coordinates[axis] for cell in listed] for axis in range(4)),
    ]
    told = []
    for values in axes:
        different = list(dict.fromkeys(filter(None, values)))
        if different:
            told.append(
                " or ".join(different)
                if len(different) <= 2
                else f"{different[0]} and {len(different) - 1} others"
            )
    return "; ".join(told)


def _best(cells: Iterable[Cell], of: Callable[[Cell], _Key]) -> dict[_Key, Mapping[str, float]]:
    """The least work per row of any plan, those that were tried included, by ``of(cell)``."""
    best: dict[_Key, Mapping[str, float]] = {}
    for cell in cells:
        for work in (cell.work, *(alternative.work for alternative in cell.alternatives)):
            key = of(cell)
            if key not in best or weigh(work) < weigh(best[key]):
                best[key] = work
    return best


def _better(
    cell: Cell, same_question: Sequence[Cell], same_statement: Sequence[Cell]
) -> tuple[Cell | Alternative, str]:
    """What shows the reason best: of what takes a tenth of the work, what differs least from the cell."""
    good = [
        other_cell
        for other_cell in same_question
        if times_the_work(cell.work, other_cell.work) >= CLIFF_FACTOR
    ]
    if good:
        return min(
            good, key=lambda other_cell: (*_distance(cell, other_cell), weigh(other_cell.work))
        ), OTHER_CONDITION
    tried = [
        alternative
        for alternative in cell.alternatives
        if times_the_work(cell.work, alternative.work) >= CLIFF_FACTOR
    ]
    if tried:
        return min(tried, key=lambda other_cell: weigh(other_cell.work)), OTHER_PLAN
    others = [other for other_cell in same_question for other in other_cell.alternatives]
    others = [other for other in others if times_the_work(cell.work, other.work) >= CLIFF_FACTOR]
    if others:
        return min(others, key=lambda other: weigh(other.work)), OTHER_PLAN
    return min(same_statement, key=lambda other_cell: weigh(other_cell.work)), OTHER_QUESTION


def _distance(cell: Cell, other: Cell) -> tuple[bool, int]:
    """How unlike: what is good at rest is bad by load, whatever else is good under load."""
    differ = _differences(cell, other)
    return differ != ("under load",), len(differ)


def _differences(cell: Cell, other: Cell) -> tuple[str, ...]:
    """In what the first differs from the other, as it is with the first."""
    names = (
        GENERIC if cell.generic else CUSTOM,
        f"{cell.state.statistics} statistics",
        f"{cell.state.visibility} visibility map",
        "under load" if cell.state.loaded else "at rest",
    )
    pairs = zip(names, cell.differing, other.differing, strict=True)
    return tuple(name for name, own, others in pairs if own != others)


def _where(cliff: Cliff) -> str:
    if isinstance(cliff.better, Alternative):
        return cliff.better.name
    if cliff.kind == OTHER_QUESTION:
        return f"when asked for {cliff.better.question.label}"
    return f"as {cliff.better.condition}"


def _work_told(work: Mapping[str, float]) -> str:
    rows = rows_of(work) if work["rows"] or work["rows_written"] else 0
    text = f"{pages_of(work):,.0f} pages for {rows:,.0f} row{'s' * (rows != 1)}"
    return text + (f", {work['rows_removed']:,.0f} rows thrown away" if work["rows_removed"] else "")
