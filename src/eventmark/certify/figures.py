"""The figure that decides each criterion, in words; and what else is read from the tables of parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eventmark.experiments.scale.scale import LARGEST_VOLUME
from eventmark.judgement.symptoms import Limit
from eventmark.judgement.verdicts import judged
from eventmark.results.results import Figure, OperationResult, Row, RunResult, Table, Verdict

STREAMING = "stream_events"
_GROWTH, _INFLATION, _DROP = "_p95_growth", "inflation[", "drop index "


def lost_figure(verify: RunResult) -> str:
    orderings = judged(verify.orderings)
    if not orderings:
        return ""
    lost, committed = (
        sum(ordering.lost for ordering in orderings),
        sum(ordering.committed for ordering in orderings),
    )
    return f"{lost:,} lost of {committed:,} events (over {sum(ordering.consumers for ordering in orderings)} consumers)"


def load_figure(load: RunResult) -> str:
    rate = load.figures.get("appended_events_per_s")
    worst = _furthest(load.operations)
    return "; ".join([
        *([f"{rate.value:,.0f} events/s appended"] if rate else []),
        *([against_target(*worst)] if worst else []),
    ])  # fmt: skip


def capacity_figure(capacity: RunResult) -> str:
    figure = capacity.figures.get("capacity_appended_events_per_s")
    return f"every target holds up to {figure.value:,.0f} events/s" if figure else ""


def streaming_figure(result: RunResult) -> str:
    streams = {name: operation for name, operation in result.operations.items() if name.startswith(STREAMING)}
    worst = _furthest(streams)
    return against_target(*worst) if worst else ""


def plans_figure(result: RunResult) -> str:
    if not result.plans:
        return ""
    met = sum(plan.verdict is Verdict.MET for plan in result.plans)
    return f"{met} of {len(result.plans)} plans do no more work than they should"


def cliffs_figure(cliffs: RunResult) -> str:
    figure = cliffs.figures.get("plan_cliffs")
    return "" if figure is None else f"{figure.value:.0f} plan cliff{'' if figure.value == 1 else 's'}"


def costliest_index(advice: RunResult) -> str:
    """The index whose absence is worth the most, and what it costs an append."""
    ranked = [
        row for section in advice.sections if section.name == "advice" for row in section.tables[0].rows
    ]
    for _, what, *_, saved in ranked:
        if str(what).startswith(_DROP):
            return f"costliest index: {str(what).removeprefix(_DROP)} (without it: {saved})"
    return ""


def memory_figure(soak: RunResult) -> str:
    figure = soak.figures.get("server_memory_slope")
    return (
        ""
        if figure is None
        else f"the server's processes {figure.value:+.3g} MiB an hour{_interval(figure, '+.3g')}"
    )


def growth_figure(scale: RunResult) -> str:
    grown = {
        name.removesuffix(_GROWTH): figure for name, figure in scale.figures.items() if name.endswith(_GROWTH)
    }
    if not grown:
        return ""
    name = max(grown, key=lambda name: grown[name].value)
    times = f"{grown[name].value:.2f} × that of the smallest volume{_interval(grown[name], '.2f')}"
    return f"p95 of {name} at {grown_to(scale):,} events: {times}"


def sweep_figure(sweep: RunResult) -> str:
    return next(
        (
            f"{name}: {peak:,.0f}/s by {clients:.0f} clients, limited there by {limit}"
            for name, peak, clients, limit in peaks(sweep)
        ),
        "",
    )


def isolation_figure(isolation: RunResult) -> str:
    inflated = {
        name: figure
        for name, figure in isolation.figures.items()
        if name.startswith(_INFLATION) and name.endswith(", p95]")
    }
    if not inflated:
        return ""
    name = max(inflated, key=lambda name: inflated[name].value)
    beside, operation, _ = name.removeprefix(_INFLATION).rsplit(", ", 2)
    return f"{operation}: p95 {inflated[name].value:.2f} × as long under {beside} as alone"


def stress_figure(stress: RunResult) -> str:
    cases = [section for section in stress.sections if section.verdict is not None]
    return f"{sum(case.verdict is Verdict.MET for case in cases)} of {len(cases)} cases" if cases else ""


def grown_to(scale: RunResult) -> int:
    """The largest volume that was measured."""
    figure = scale.figures.get(LARGEST_VOLUME)
    return 0 if figure is None else int(figure.value)


def peaks(sweep: RunResult) -> Iterator[tuple[str, float, float, Limit]]:
    """Of each operation swept: its name, its highest throughput, by how many clients, and what limited it there."""
    columns = [
        _column(sweep, "sweep", "The law of each operation", name)
        for name in ("operation", "measured peak", "with clients", "limited there by")
    ]
    for name, peak, clients, limit in zip(*columns, strict=True):
        yield str(name), float(peak or 0.0), float(clients or 0.0), Limit(str(limit))


def against_target(name: str, operation: OperationResult) -> str:
    value = operation.quantile_ms(operation.target_quantile) or 0.0
    shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{name}: {operation.target_quantile} {shown} ms, target {operation.target_ms or 0:g} ms"


def _column(result: RunResult, section: str, title: str, name: str) -> Row:
    table: Table | None = next(
        (
            table
            for shown in result.sections
            if shown.name == section
            for table in shown.tables
            if table.title == title
        ),
        None,
    )
    if table is None:
        return []
    index = [column.name for column in table.columns].index(name)
    return [row[index] for row in table.rows]


def _furthest(operations: Mapping[str, OperationResult]) -> tuple[str, OperationResult] | None:
    """The operation that came nearest to its target, or went furthest beyond it."""
    shares = {
        name: value / operation.target_ms
        for name, operation in operations.items()
        if operation.target_ms and (value := operation.quantile_ms(operation.target_quantile)) is not None
    }
    name = max(shares, key=lambda name: shares[name], default=None)
    return None if name is None else (name, operations[name])


def _interval(figure: Figure, spec: str) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" ({figure.low:{spec}} to {figure.high:{spec}})"
