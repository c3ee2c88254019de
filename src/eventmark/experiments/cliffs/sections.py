"""Cells and cliffs as a section: findings, tables, a heat map for each statement, and the plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eventmark.experiments.cliffs.states import states
from eventmark.judgement.verdicts import overall
from eventmark.plans.cliffs.cells import CUSTOM, GENERIC, PLAN_KINDS, SIXTH, Cell, State
from eventmark.plans.cliffs.finder import Cliff, Judged, remedy, where_it_happens, why
from eventmark.plans.cliffs.weight import CLIFF_FACTOR, pages_of
from eventmark.results.results import (
    Block,
    Chart,
    Finding,
    Point,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)

CLIFFS_SHOWN_MAX = 20
HEAT_FROM_TIMES = 2.0  # a statement that nowhere does twice the best has nothing to show by question
QUESTIONS_SHOWN_MAX = 40  # rows of a heat map: those with the most work

_KINDS = {CUSTOM: CUSTOM, GENERIC: GENERIC, SIXTH: "sixth"}


def cliffs_section(
    cells: Sequence[Cell], judged: Sequence[Judged], cliffs: Sequence[Cliff], *, copied: bool = True
) -> Section:
    """Everything that was found, the verdict by its findings. ``copied``: on a copy, in every state of the tables."""
    findings = [*map(_cliff_finding, cliffs), *_statement_findings(cells, judged, cliffs)]
    return Section(
        name="plan-cliffs",
        title="Plan cliffs",
        verdict=overall((finding.name, finding.verdict, "") for finding in findings)[0],
        text=_texts(cells, cliffs, copied=copied),
        findings=findings,
        tables=[_statements_table(cells, judged, cliffs), *([_cliffs_table(cliffs)] if cliffs else [])],
        charts=_heat_maps(judged),
        blocks=[block for cliff in cliffs[:CLIFFS_SHOWN_MAX] for block in _blocks(cliff)],
    )


def _texts(cells: Sequence[Cell], cliffs: Sequence[Cliff], *, copied: bool) -> list[str]:
    questions = len({cell.question.key for cell in cells})
    states = (
        "with fresh and with stale statistics, with a fresh and with a stale visibility map, at rest "
        f"and while other sessions append: {len(cells):,} cells on a copy of the store"
        if copied
        else f"on the store's own tables as they are: {len(cells):,} cells"
    )
    return [
        f"{questions} questions, each as custom plan, as generic plan and as the sixth execution of a prepared "
        f"statement, {states}. A cell that does "
        f"{CLIFF_FACTOR:g} times the work per row of the best plan for its question, or of its statement asked "
        "elsewhere, is a cliff. Work is pages touched and rows handled; no clock is involved.",
        f"{len(cliffs)} cliffs were found." if len(cliffs) != 1 else "1 cliff was found.",
    ]


def _cliff_finding(cliff: Cliff) -> Finding:
    return Finding(
        name=f"{cliff.worst.question.statement}, {cliff.worst.question.label}, {cliff.worst.condition}",
        verdict=Verdict.BROKEN,
        observed=why(cliff),
        expected=f"less than {CLIFF_FACTOR:g} times the work of the best plan",
        remedy=remedy(cliff),
    )


def _statement_findings(
    cells: Sequence[Cell], judged: Sequence[Judged], cliffs: Sequence[Cliff]
) -> Iterable[Finding]:
    broken = {cliff.worst.question.statement for cliff in cliffs}
    for statement in _statements(cells):
        own = [cell for cell in cells if cell.question.statement == statement]
        refused = [cell for cell in own if cell.reason]
        if refused:
            yield Finding(
                name=statement, verdict=Verdict.INCONCLUSIVE,
                observed=f"{len(refused)} of {len(own)} cells could not be run: {refused[0].reason}"
                f" ({refused[0].question.label}, {refused[0].condition})",
                expected="every cell runs", remedy="run it by hand with these arguments",
            )  # fmt: skip
        elif statement not in broken:
            yield Finding(
                name=statement, verdict=Verdict.MET,
                observed=f"at most {_worst(judged, statement):.1f} times the best in {len(own)} cells",
                expected=f"less than {CLIFF_FACTOR:g} times",
            )  # fmt: skip


def _statements_table(cells: Sequence[Cell], judged: Sequence[Judged], cliffs: Sequence[Cliff]) -> Table:
    rows: list[Row] = []
    for statement in _statements(cells):
        own = [cell for cell in cells if cell.question.statement == statement]
        sixths = [cell for cell in own if cell.kind == SIXTH and cell.work]
        rows.append([
            statement, float(len({cell.question.key for cell in own})), float(len(own)),
            float(len({cell.shape for cell in own if cell.work})),
            sum(cell.generic for cell in sixths) / len(sixths) if sixths else None,
            _worst(judged, statement), float(sum(cliff.worst.question.statement == statement for cliff in cliffs)),
        ])  # fmt: skip
    return Table(
        title="statements",
        columns=columns(
            "statement", "questions", "cells", "plan shapes", "generic from the sixth execution|share",
            "most work, of the best|times", "cliffs",
        ),
        rows=rows,
        note="The server goes over to the generic plan at the sixth execution where it expects no higher cost.",
    )  # fmt: skip


def _cliffs_table(cliffs: Sequence[Cliff]) -> Table:
    rows: list[Row] = [
        [
            cliff.worst.question.statement, where_it_happens(cliff.cells), float(len(cliff.cells)), cliff.times,
            cliff.worst.work["rows"] or cliff.worst.work["rows_written"], pages_of(cliff.worst.work),
            cliff.worst.summary, pages_of(cliff.better.work), cliff.better.summary,
        ]
        for cliff in cliffs[:CLIFFS_SHOWN_MAX]
    ]  # fmt: skip
    more = len(cliffs) - CLIFFS_SHOWN_MAX
    return Table(
        title="cliffs",
        columns=columns(
            "statement", "where", "cells", "work|times", "rows", "pages", "plan", "pages of the better",
            "the better plan",
        ),
        rows=rows,
        note=f"And {more} more." if more > 0 else "Rows and pages are those of the worst cell.",
    )  # fmt: skip


def _heat_maps(judged: Sequence[Judged]) -> list[Chart]:
    """Statements down, then for each that does more than it has to somewhere its questions; conditions across."""
    most: dict[tuple[str, str], float] = {}
    for judged_cell in judged:
        cell_of = judged_cell.cell.question.statement, _short(judged_cell.cell.kind, judged_cell.cell.state)
        most[cell_of] = max(most.get(cell_of, 0.0), judged_cell.times)
    charts = [_heat_map("the most work of each statement, times the best", "statement", most, "")]
    for statement in dict.fromkeys(judged_cell.cell.question.statement for judged_cell in judged):
        own = [judged_cell for judged_cell in judged if judged_cell.cell.question.statement == statement]
        if _worst(judged, statement) >= HEAT_FROM_TIMES:
            charts.append(_questions_map(statement, own))
    return charts


def _questions_map(statement: str, judged: Sequence[Judged]) -> Chart:
    worst: dict[str, float] = {}
    for judged_cell in judged:
        label = judged_cell.cell.question.short
        worst[label] = max(worst.get(label, 0.0), judged_cell.times)
    shown = set(sorted(worst, key=lambda label: -worst[label])[:QUESTIONS_SHOWN_MAX])
    times = {
        (
            judged_cell.cell.question.short,
            _short(judged_cell.cell.kind, judged_cell.cell.state),
        ): judged_cell.times
        for judged_cell in judged
        if judged_cell.cell.question.short in shown
    }
    left_out = len(worst) - len(shown)
    note = f"{left_out} questions with less work are left out." if left_out else ""
    return _heat_map(f"{statement}: times the work of the best plan", "question", times, note)


def _heat_map(title: str, down: str, times: Mapping[tuple[str, str], float], note: str) -> Chart:
    """``times`` is by what stands down and what across."""
    return Chart(
        title=title, mark="heat", y_log=True, x="plan: statistics, visibility map, load", y=down, note=note,
        points=[
            Point(x=across, y=label, value=max(times[label, across], 1.0))
            for label in dict.fromkeys(label for label, _ in times)
            for across in (_short(kind, state) for kind in PLAN_KINDS for state in states())
            if (label, across) in times
        ],
    )  # fmt: skip


def _blocks(cliff: Cliff) -> list[Block]:
    name = f"{cliff.worst.question.statement}, {cliff.worst.question.label}"
    better = cliff.better
    told = f"{better.question.label}, {better.condition}" if isinstance(better, Cell) else better.name
    return [
        Block(title=f"{name}: the plan, {cliff.worst.condition}", text=cliff.worst.figures, language="text"),
        Block(title=f"{name}: the better plan, {told}", text=better.figures, language="text"),
    ]


def _short(kind: str, state: State) -> str:
    return f"{_KINDS[kind]}: {state.statistics}, {state.visibility}" + (", load" if state.loaded else "")


def _statements(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.question.statement for cell in cells))


def _worst(judged: Sequence[Judged], statement: str) -> float:
    return round(
        max(
            (judged_cell.times for judged_cell in judged if judged_cell.cell.question.statement == statement),
            default=0.0,
        ),
        2,
    )
