"""Growth shown: curves over the volumes, laws and what they foretell, accounts of an excess, relations, memory."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.experiments.scale.analysis import CounterCurve, Curve, hit_ratio
from eventmark.experiments.scale.judge import P95_TIMES_MAX, PAGES_TIMES_MAX, Judged
from eventmark.experiments.scale.laws import Growth
from eventmark.experiments.scale.steps import Relation, Step
from eventmark.judgement.verdicts import overall
from eventmark.results.results import Chart, Column, Point, Section, Table, columns
from eventmark.stats.ratios import Ratio

FORETOLD_EVENTS = 100_000_000
FORETOLD_TIMES = 10
"""Where the largest volume is less than a hundredth of that, so many times the largest is foretold instead."""

PLANS_SHOWN = 20
DRAWN_MAX = 10.0
"""An interval that reaches further bounds nothing, and would make everything else in its chart a line."""

MIB = 2**20
CHANGED_MIN = 0.02
"""Plans whose pages change by less than this from the smallest to the largest volume are not listed."""

_UNTOLD = "undecided"

Cell = str | float | None


def growth_section(curves: Sequence[Curve], judged: Sequence[Judged], smallest: int) -> Section:
    """The verdicts, and p95 over the volumes."""
    findings = [
        finding
        for judged_operation in judged
        for finding in (judged_operation.latency, judged_operation.pages)
        if finding is not None
    ]
    verdict, _ = overall((finding.name, finding.verdict, "") for finding in findings)
    p95 = [curve for curve in curves if curve.quantile == "p95"]
    return Section(
        name="growth", title="Growth", verdict=verdict, findings=findings,
        text=[
            f"One log grows; a second corpus keeps its first {smallest:,} events. At each volume both are "
            "measured by processes that have both open and turn from one to the other after a few calls: what the "
            "machine does meanwhile meets both. A figure is the ratio of the two, times the small corpus' own over "
            "all volumes.",
            f"Wanted: a p95 of at most {P95_TIMES_MAX:g} × that of the small corpus, and pages per event within "
            f"{PAGES_TIMES_MAX - 1:.0%}."
            + _resolution(p95, smallest),
        ],
        tables=[_ratio_table(p95)], charts=[_ratio_chart(p95), _latency_chart(p95)],
    )  # fmt: skip


def _resolution(curves: Sequence[Curve], smallest: int) -> str:
    if smallest not in _volumes(curves):
        return ""
    return f" At {smallest:,} events both sides are the same: the ratio there is the resolution of the measurement."


def _ratio_table(curves: Sequence[Curve]) -> Table:
    volumes = _volumes(curves)
    rows: list[list[Cell]] = []
    for curve in curves:
        by_volume = {point.volume: point for point in curve.points}
        last = curve.points[-1]
        rows.append(
            [
                curve.operation, last.small_ms, last.large_ms,
                *(_with_interval(by_volume[volume].ratio) if volume in by_volume else None for volume in volumes),
            ]
        )  # fmt: skip
    return Table(
        title="p95 against the small corpus",
        columns=[
            Column(name="operation"), Column(name="small p95", unit="ms"), Column(name="large p95", unit="ms"),
            *(Column(name=short(volume)) for volume in volumes),
        ],
        rows=rows, note="Small and large are of the largest volume. Ratios with their 95% interval.",
    )  # fmt: skip


def _with_interval(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} ({ratio.interval})"


def _volumes(curves: Sequence[Curve]) -> list[int]:
    return sorted({point.volume for curve in curves for point in curve.points})


def _ratio_chart(curves: Sequence[Curve]) -> Chart:
    return Chart(
        title="p95, times that of the small corpus", mark="line", x="events", y="times", x_log=True,
        points=[
            Point(
                x=float(point.volume), y=point.ratio.value, series=curve.operation,
                low=point.ratio.low if point.ratio.high < DRAWN_MAX else None,
                high=point.ratio.high if point.ratio.high < DRAWN_MAX else None,
            )
            for curve in curves
            for point in curve.points
        ],
    )  # fmt: skip


def _latency_chart(curves: Sequence[Curve]) -> Chart:
    return Chart(
        title="p95", mark="line", x="events", y="ms", x_log=True, y_log=True,
        points=[
            Point(x=float(point.volume), y=point.value_ms, series=curve.operation)
            for curve in curves
            for point in curve.points
        ],
    )  # fmt: skip


def foretold_events(largest: int) -> int:
    """The volume that laws are extrapolated to."""
    return FORETOLD_EVENTS if largest * 100 >= FORETOLD_EVENTS else largest * FORETOLD_TIMES


def laws_section(
    curves: Sequence[Curve], counters: Sequence[CounterCurve], plans: Sequence[CounterCurve], foretold: int
) -> Section:
    """``foretold``: the volume that laws are extrapolated to."""
    moved = sorted((plan for plan in plans if _change(plan) > CHANGED_MIN), key=_change, reverse=True)
    shown = f", the {PLANS_SHOWN} that change most" if len(moved) > PLANS_SHOWN else ""
    return Section(
        name="laws", title="Laws of growth",
        text=[
            "Constant, logarithmic and linear growth are fitted to each figure, weighted by its error. A law is named "
            "where the others are ruled out; constant means that no growth was shown, and that growth too small to be "
            "seen would not matter. The predicted figure is the mean of the laws, weighted by how well each fits, with "
            "the 95% interval of what would be measured. A smaller share of pages in memory is not part of a law.",
        ],
        tables=[
            Table(
                title="Latencies",
                columns=[
                    Column(name="operation"), Column(name="quantile"), Column(name="law"), Column(name="why"),
                    Column(name=f"at {short(foretold)}", unit="ms"), Column(name="from", unit="ms"),
                    Column(name="to", unit="ms"),
                ],
                rows=[
                    [curve.operation, curve.quantile, *_law_cells(curve.growth, foretold)] for curve in curves
                ],
            ),
            _counter_table("Pages per call", counters, foretold),
            _counter_table(
                f"Pages per row of plans, where they change{shown}", moved[:PLANS_SHOWN], foretold,
                f"{len(plans) - len(moved)} of {len(plans)} plans touch as many pages per row at every volume.",
            ),
        ],
    )  # fmt: skip


def _law_cells(growth: Growth, events: int) -> list[Cell]:
    """Nothing that is measured here is below nought, whatever a law says."""
    foretold = growth.at(events)
    numbers: list[Cell] = [None] * 3
    if foretold is not None:
        numbers = [max(value, 0.0) for value in (foretold.value, foretold.low, foretold.high)]
    return [growth.law.value if growth.law else _UNTOLD, growth.reason, *numbers]


def _counter_table(title: str, curves: Sequence[CounterCurve], foretold: int, note: str = "") -> Table:
    volumes = sorted({volume for curve in curves for volume, _ in curve.values})
    rows: list[list[Cell]] = []
    for curve in curves:
        by_volume = dict(curve.values)
        rows.append(
            [curve.name, *(by_volume.get(volume) for volume in volumes), *_law_cells(curve.growth, foretold)]
        )
    return Table(
        title=title,
        columns=[
            Column(name="of"), *(Column(name=short(volume)) for volume in volumes), Column(name="law"),
            Column(name="why"), Column(name=f"at {short(foretold)}"), Column(name="from"), Column(name="to"),
        ],
        rows=rows, note=note,
    )  # fmt: skip


def _change(curve: CounterCurve) -> float:
    values = [value for _, value in curve.values]
    return (max(values) - min(values)) / max(min(values), 1e-9)


def accounts_section(judged: Sequence[Judged]) -> Section:
    rows: list[list[Cell]] = []
    for judged_operation in judged:
        accounting = judged_operation.accounting
        if accounting is not None:
            rows.append(
                [
                    judged_operation.operation, accounting.small_p95_ms, accounting.large_p95_ms,
                    accounting.small_reads,
                    accounting.large_reads, accounting.read_us, accounting.large_read_ms,
                    _with_interval(accounting.without_reads),
                ]
            )  # fmt: skip
    return Section(
        name="accounts", title="Accounts of single calls",
        text=[
            "Calls at the largest volume, one by one, with what the server read for each: pages that were not in "
            "shared buffers, and the time it waited for them. Without its reads: the p95 of latencies from which "
            "that time is taken, large to small. An excess that vanishes there is one of memory, not of length."
        ],
        tables=[
            Table(
                title="Reads accounted for",
                columns=columns(
                    "operation", "small p95|ms", "large p95|ms", "pages read per call, small", "large", "each|µs",
                    "together|ms", "without its reads",
                ),
                rows=rows,
            )
        ],
    )  # fmt: skip


def volumes_section(steps: Sequence[Step], missing: Sequence[str]) -> Section:
    return Section(
        name="volumes", title="Volumes", text=list(missing),
        tables=[_volume_table(steps), _index_table(steps), _memory_table(steps)],
        charts=[_size_chart(steps)],
    )  # fmt: skip


def _volume_table(steps: Sequence[Step]) -> Table:
    return Table(
        title="The log at each volume",
        columns=columns(
            "events", "loaded|events/s", "tables|MiB", "TOAST|MiB", "indexes|MiB", "bytes per event",
            "found in shared buffers|share", "measured in|s",
        ),
        rows=[_volume_row(step) for step in steps],
        note="Loaded into the indexes that were there, but for the smallest volume, whose indexes were built "
        "afterwards; no rate where nothing was left to load.",
    )  # fmt: skip


def _volume_row(step: Step) -> list[Cell]:
    sizes = {kind: _size(step.relations_large, kind) for kind in ("table", "toast", "index")}
    seconds = sum(spent for stage, spent in step.growth.stage_seconds.items() if stage != "vacuum")
    return [
        short(step.volume), round(step.growth.events / seconds) if seconds and step.growth.events else None,
        *(size / MIB for size in sizes.values()), sum(sizes.values()) / step.volume, hit_ratio(step), step.seconds,
    ]  # fmt: skip


def _size(relations: Sequence[Relation], kind: str) -> int:
    return sum(relation.size_bytes for relation in relations if relation.kind == kind)


def _index_table(steps: Sequence[Step]) -> Table:
    names = list(
        dict.fromkeys(relation.name for relation in steps[-1].relations_large if relation.kind == "index")
    )
    rows: list[list[Cell]] = []
    for name in names:
        row: list[Cell] = [name]
        for step in steps:
            relation = next(
                (relation for relation in step.relations_large if relation.name == name),
                None,
            )
            row += [
                relation.levels if relation else None,
                relation.size_bytes / MIB if relation else None,
            ]
        last = next(relation for relation in steps[-1].relations_large if relation.name == name)
        rows.append([*row, last.leaf_density, last.fragmentation])
    head = columns("index")
    for step in steps:
        head += [Column(name=f"{short(step.volume)} levels"), Column(name="size", unit="MiB")]
    return Table(
        title="Indexes",
        columns=[*head, Column(name="leaves filled", unit="share"), Column(name="out of order", unit="share")],
        rows=rows, note="Levels above the leaves. Filled and out of order: leaves of the largest volume's indexes.",
    )  # fmt: skip


def _memory_table(steps: Sequence[Step]) -> Table:
    rows: list[list[Cell]] = []
    for step in steps:
        forks = [pair.large.peak_rss_mib for rounds in step.rounds.values() for pair in rounds]
        row: list[Cell] = [short(step.volume), max(forks, default=0.0)]
        for events in (1_000, 10_000, 100_000):
            relation = next(
                (large_read for large_read in step.large_reads if large_read.events == events), None
            )
            row += [
                relation.peak_mib if relation else None,
                relation.seconds if relation else None,
            ]
        rows.append(row)
    return Table(
        title="Memory of the client",
        columns=columns(
            "events", "largest fork|MiB", "1k events more|MiB", "in|s", "10k events more|MiB", "in|s",
            "100k events more|MiB", "in|s",
        ),
        rows=rows, note="More: the rise of the peak memory of a fresh process by one answer of that number of events.",
    )  # fmt: skip


def _size_chart(steps: Sequence[Step]) -> Chart:
    return Chart(
        title="Size", mark="line", x="events", y="MiB", x_log=True, y_log=True,
        points=[
            Point(x=float(step.volume), y=max(_size(step.relations_large, kind) / MIB, 1e-3), series=name)
            for kind, name in (("table", "tables"), ("toast", "TOAST"), ("index", "indexes"))
            for step in steps
            if _size(step.relations_large, kind)
        ],
    )  # fmt: skip


def short(events: int) -> str:
    """1M, 250k, 10,000,001."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if events % (size // 10) == 0 and events >= size:
            return f"{events / size:g}{unit}"
    return f"{events:,}"
