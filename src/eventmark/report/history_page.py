"""``dashboard.html``: one page over a history of results, without a server: trends, last verdicts, every run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from altair.utils.schemapi import debug_mode

from eventmark.history import KeptRun, Trends, entry_of, find_trends, judge_trends
from eventmark.history.trends import Trend, worsening
from eventmark.judgement.verdicts import overall
from eventmark.report.html import page_environment, page_parts
from eventmark.report.palette import specification
from eventmark.report.section_charts import drawn_chart
from eventmark.report.text import counted
from eventmark.results.results import Chart, Column, Point, Row, RunResult, Table, Verdict, columns

WORSE, CHANGED = "worse", "changed"


@debug_mode(False)  # each chart is checked as a whole, not each of its parts as well
def render_history_page(runs: Sequence[KeptRun], page: Path, trends: Trends | None = None) -> str:
    """The page. ``page`` is where it will stand: reports next to the results are linked from there.

    ``trends`` are the history's, found anew where they are not given.
    """
    trends = trends or find_trends([entry_of(run) for run in runs])
    charts = [chart for chart in history_charts(runs, trends) if chart.points]
    verdict, reasons = judge_trends(trends)
    return (
        page_environment()
        .get_template("history.html.j2")
        .render(
            runs=list(reversed(runs)),
            last=runs[-1].result,
            verdict_of_all=overall([("", runs[-1].result.verdict, ""), ("", verdict, "")])[0],
            headline=_headline(runs[-1].result, trends, reasons),
            changes=[*reasons, *trends.notes],
            titles=[chart.title for chart in charts],
            charts={
                f"history{number}": specification(drawn_chart(chart)) for number, chart in enumerate(charts)
            },
            tables=[*_last_verdicts(runs), *_figures_tables(runs)],
            links={run.path: link for run in runs if (link := _report_link(run, page))},
            counted=counted,
            **page_parts(),
        )
    )


def _headline(last: RunResult, trends: Trends, reasons: Sequence[str]) -> str:
    """What the newest run came to, and what became worse since when: a page may be MET and slower than it was."""
    targets = {
        Verdict.MET: "the last run met its targets",
        Verdict.BROKEN: "the last run missed targets",
        Verdict.INCONCLUSIVE: "the last run is undecided",
    }[last.verdict]
    worse = sum(bool(worsening(trend, trends.recent, trends.slowdown)) for trend in trends.trends)
    if worse:
        return f"{targets}; {counted(worse, 'number')} got worse over the runs"
    return f"{targets}; {'no change can be told yet' if reasons else 'nothing got worse over the runs'}"


def history_charts(runs: Sequence[KeptRun], trends: Trends | None = None) -> Iterator[Chart]:
    """The trend of each operation's p95 and of each figure that came more than once, and the growth over volumes.

    Steps of the trends are marked.
    """
    steps = _steps(trends)
    for name in _names(run.result.operations for run in runs):
        points = []
        for run in runs:
            operation = run.result.operations.get(name)
            if operation is not None and operation.latency_ms is not None:
                interval = operation.interval_ms.get("p95")
                low, high = (interval.low, interval.high) if interval else (None, None)
                points.append(
                    Point(x=run.moment, y=operation.latency_ms.p95, series=run.kind, low=low, high=high)
                )
        yield _trend(f"{name}, p95", "milliseconds", points, steps.get(f"{name} p95", []))
    for name in _names(run.result.figures for run in runs):
        figures = [(run, run.result.figures[name]) for run in runs if name in run.result.figures]
        points = [
            Point(x=run.moment, y=figure.value, series=run.kind, low=figure.low, high=figure.high)
            for run, figure in figures
        ]
        yield _trend(name.replace("_", " "), figures[0][1].unit, points, steps.get(name, []))
    yield _growth(runs)


def _steps(trends: Trends | None) -> dict[str, list[Point]]:
    """The runs from which on a number's level was another, by the number's name."""
    points: dict[str, list[Point]] = {}
    for trend in trends.trends if trends else ():
        points.setdefault(trend.name, []).extend(
            Point(
                x=trend.runs[step.at].moment[5:16],
                y=trend.values[step.at],
                series=_step_name(trend, step.ratio),
            )
            for step in trend.changes.steps
        )
    return points


def _step_name(trend: Trend, ratio: float) -> str:
    return WORSE if trend.is_worse(ratio) else CHANGED


def _trend(title: str, unit: str, points: Sequence[Point], steps: Sequence[Point]) -> Chart:
    """Lines of what came more than once, with the steps marked; what came once is in the tables."""
    counts = Counter(point.series for point in points)
    several = [point for point in points if counts[point.series] > 1]
    moments = {point.x for point in several}
    marked = [step for step in steps if step.x in moments]
    dots = list(dict.fromkeys(step.series for step in marked))
    return Chart(title=title, mark="line", x="run", y=unit, points=[*several, *marked], dots=dots)


def _growth(runs: Sequence[KeptRun]) -> Chart:
    """p95 of each operation by the events in the table, of the newest run of each volume on the last store."""
    filled = [run for run in runs if run.result.corpus and run.result.operations]
    newest = {
        run.result.corpus.events: run.result
        for run in filled
        if run.result.corpus and _store_of(run) == _store_of(filled[-1])
    }
    points = [
        Point(x=float(events), y=operation.latency_ms.p95, series=name)
        for events, result in sorted(newest.items())
        for name, operation in result.operations.items()
        if operation.latency_ms is not None
    ]
    return Chart(
        title="Growth: p95 by events in the table", mark="line", x="events", y="milliseconds", x_log=True,
        y_log=True, points=points if len(newest) > 1 else [],
    )  # fmt: skip


def _store_of(run: KeptRun) -> tuple[str, int]:
    environment = run.result.environment
    return environment.store.name, environment.server.version_num // 10_000


def _last_verdicts(runs: Sequence[KeptRun]) -> Iterator[Table]:
    """For each kind of run, each operation's newest figure next to the one before it."""
    for kind in reversed(dict.fromkeys(run.kind for run in runs)):
        alike = [run for run in runs if run.kind == kind]
        rows = [_last_row(name, alike) for name in _names(run.result.operations for run in alike)]
        if rows:
            head = columns(
                "operation", "verdict", "p95|ms", "target|ms", "times the run before|times", "runs", "last",
            )  # fmt: skip
            yield Table(title=kind, columns=head, rows=rows)


def _last_row(name: str, runs: Sequence[KeptRun]) -> Row:
    points = [(run, run.result.operations[name]) for run in runs if name in run.result.operations]
    run, last = points[-1]
    now, before = last.quantile_ms("p95"), points[-2][1].quantile_ms("p95") if len(points) > 1 else None
    change = now / before if now is not None and before else None
    return [name, last.verdict.value, now, last.target_ms, change, float(len(points)), run.day]


def _figures_tables(runs: Sequence[KeptRun]) -> Iterator[Table]:
    """The newest of each figure, with its interval."""
    rows: list[Row] = []
    for name in _names(run.result.figures for run in runs):
        run = next(run for run in reversed(runs) if name in run.result.figures)
        figure = run.result.figures[name]
        rows.append(
            [name.replace("_", " "), figure.value, figure.unit, figure.low, figure.high, run.kind, run.day]
        )
    if rows:
        names = ("figure", "value", "unit", "from", "to", "on", "last")
        columns = [Column(name=name) for name in names]
        yield Table(
            title="Capacity, growth and other figures", columns=columns, rows=rows,
            note="From and to: the 95% interval, where there is one.",
        )  # fmt: skip


def _names(tables: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _report_link(run: KeptRun, page: Path) -> str:
    """Where the run's own report stands, as seen from the page; empty where there is none."""
    report = run.path.with_name("report.html")
    if run.path.name != "result.json" or not report.is_file():
        return ""
    return Path(os.path.relpath(report, page.parent)).as_posix()
