"""Streaming shown: rates, catching up against its floor, delivery, and the cost of waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eventmark.experiments.streaming.catch_up import CatchUp
from eventmark.experiments.streaming.copying import TOOL
from eventmark.experiments.streaming.delivery import Delivery
from eventmark.experiments.streaming.idle import Idle
from eventmark.experiments.streaming.rates import Case
from eventmark.judgement.verdicts import worst
from eventmark.results.results import (
    Chart,
    Column,
    Finding,
    Latency,
    Point,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)

AGAINST_COPY_MIN = 0.8
"""A consumer decodes and stores its token; more than a fifth below what the server delivers is its own waiting."""

_RATE = "events/s"


def rates_section(cases: Sequence[Case], *, processors: bool, missing: str = "") -> Section:
    """``missing``: why there are no segments."""
    batch = "handled in the transaction that stores its token" if processors else "its token kept in memory"
    text = [
        f"Each consumer reads the log's first {cases[0].log_events:,} events in batches of 1000, each {batch}. "
        "Segments of one processor each read the whole log and handle the streams that are theirs.",
        "The time from one stored token to the next is reading, handling and storing of a batch, of which reading and "
        "handling overlap.",
    ]
    if missing:
        text.append(f"Segments were not measured: {missing}.")
    return Section(
        name="consumption", title="Consumption", text=text, tables=[_rates_table(cases)], charts=[_rates_chart(cases)]
    )  # fmt: skip


def _rates_table(cases: Sequence[Case]) -> Table:
    return Table(
        title="Consumers at once",
        columns=[
            Column(name="consumers"), Column(name="passes of the log", unit=_RATE), Column(name="handled", unit=_RATE),
            Column(name="seconds", unit="s"), Column(name="busiest client", unit="share"),
        ],
        rows=[
            [
                case.name, round(case.log_events_per_s), round(case.handled_per_s), case.group.seconds,
                max(worker.cpu_share for worker in case.group.workers),
            ]
            for case in cases
        ],
        note="Passes of the log: how quickly each consumer reads it. Handled: all consumers together.",
    )  # fmt: skip


def _rates_chart(cases: Sequence[Case]) -> Chart:
    return Chart(
        title="Events handled per second, all consumers together", mark="line", x="consumers or segments", y=_RATE,
        points=[
            Point(x=float(case.consumers), y=case.handled_per_s, series=_kind(case))
            for case in cases
        ],
    )  # fmt: skip


def _kind(case: Case) -> str:
    """What a case is one of, however many there are."""
    words = "consumers" if "consumer" in case.name else "segments"
    return f"{words}, handler waits {case.handler_us:g} µs per event" if case.handler_us else words


def catch_up_finding(up: CatchUp) -> Finding:
    """The consumer's rate against COPY's: beyond the least only where the whole interval is."""
    expected = f"{AGAINST_COPY_MIN:g} × the rate of COPY, or more"
    ratio = up.against_copy
    if ratio is None:
        return Finding(
            name="catching up against COPY", verdict=Verdict.INCONCLUSIVE, expected=expected,
            observed=next(iter(up.missing.values()), "COPY was not measured"),
        )  # fmt: skip
    verdict = Verdict.INCONCLUSIVE
    if ratio.low >= AGAINST_COPY_MIN:
        verdict = Verdict.MET
    elif ratio.high < AGAINST_COPY_MIN:
        verdict = Verdict.BROKEN
    return Finding(
        name="catching up against COPY", verdict=verdict, expected=expected,
        observed=f"{ratio}, "
        f"{len(up.consumed_per_s)} rounds",
        remedy="" if verdict is Verdict.MET else "look at the bottleneck below; more rounds narrow the interval",
        timed=True,
    )  # fmt: skip


def catch_up_section(up: CatchUp) -> Section:
    rows: list[Row] = [
        [f"{number}", round(ours), *_around(up, number - 1)]
        for number, ours in enumerate(up.consumed_per_s, 1)
    ]
    text = [
        f"One consumer reads all {up.events:,} events from the tail, in turns with COPY of the same rows: "
        f"{TOOL}, its statement the store's own stream_events.sql.",
        *_beside_text(up),
        *(f"Not measured, {name}: {reason}." for name, reason in up.missing.items()),
    ]
    finding = catch_up_finding(up)
    return Section(
        name="catch-up", title="Catching up", verdict=finding.verdict, text=text, findings=[finding],
        tables=[
            Table(
                title="Rounds",
                columns=[
                    Column(name="round"), Column(name="consumer", unit=_RATE),
                    Column(name="COPY around it", unit=_RATE), Column(name="ratio", unit="times"),
                ],
                rows=rows,
            )
        ],
        charts=[_progress_chart(up)],
    )  # fmt: skip


def _around(up: CatchUp, index: int) -> list[float | None]:
    if up.against_copy is None:
        return [None, None]
    mean = (up.copied_per_s[index] + up.copied_per_s[index + 1]) / 2
    return [round(mean), up.consumed_per_s[index] / mean]


def _beside_text(up: CatchUp) -> list[str]:
    rate, load = up.beside_per_s, up.load
    if rate is None or load is None:
        return []
    return [
        f"While writers append {load.offered_per_s:,.0f} batches of 10 events per second: {rate:,.0f} events/s, "
        f"{rate / up.events_per_s:.2g} × the rate alone."
    ]


CHART_POINTS = 100


def _progress_chart(up: CatchUp) -> Chart:
    """Events handled over time, each round a line."""
    groups = [(f"round {number}", group) for number, group in enumerate(up.groups, 1)]
    if up.beside is not None:
        groups.append(("during writes", up.beside))
    points = []
    for name, group in groups:
        (worker,) = group.workers
        consumed = worker.consumed[0]
        step = max(1, len(consumed.saved_ns) // CHART_POINTS)
        handled = 0
        for index, (at_ns, events) in enumerate(zip(consumed.saved_ns, consumed.events, strict=True)):
            handled += events
            if index % step == step - 1:
                points.append(Point(x=(at_ns - worker.start_ns) / 1e9, y=float(handled), series=name))
    return Chart(title="Events handled", mark="line", x="seconds from the start", y="events", points=points)


def delivery_section(deliveries: Sequence[Delivery], idle: Sequence[Idle], missing: str = "") -> Section:
    """``missing``: why some ways of waiting were left out."""
    text = [
        "Single appends at random moments, at a steady rate, by one process; a consumer in another waits for them. "
        "Visible: from the acknowledgement of the append until the consumer is given the event, at once where "
        "that was before. Handled: from the append's call until the token after it is stored.",
        "Idle: one consumer waits while nothing is appended. The first row is the server without a consumer, sampled "
        "in the same way.",
    ]
    if missing:
        text.append(missing)
    if doubt_ms := max((delivery.doubt_ms for delivery in deliveries), default=0.0):
        text.append(
            f"Writer and consumer were on machines whose clocks are known to {doubt_ms:.3f} ms; "
            "each time may be wrong by that."
        )
    findings = [finding for delivery in deliveries for finding in (*_lost(delivery), *_in_doubt(delivery))]
    return Section(
        name="delivery", title="From append to handled", text=text,
        tables=[_delivery_table(deliveries), _idle_table(idle)],
        findings=findings, verdict=worst(findings) if findings else None, charts=[_delivery_chart(deliveries)],
    )  # fmt: skip


def _delivery_table(deliveries: Sequence[Delivery]) -> Table:
    return Table(
        title="Time until visible and handled",
        columns=[
            Column(name="waiting"), Column(name="appends"),
            *(Column(name=f"visible {name}", unit="ms") for name in ("p50", "p95", "p99")),
            *(Column(name=f"handled {name}", unit="ms") for name in ("p50", "p95", "p99")),
            Column(name="append p50", unit="ms"),
        ],
        rows=[
            [
                delivery.way.name, float(delivery.appends), *_three(delivery.visible_ms), *_three(delivery.handled_ms),
                delivery.append_ms.p50,
            ]
            for delivery in deliveries
        ],
    )  # fmt: skip


def _three(latency: Latency) -> Row:
    return [latency.p50, latency.p95, latency.p99]


def _delivery_chart(deliveries: Sequence[Delivery]) -> Chart:
    return Chart(
        title="Visible after the append was acknowledged", mark="bar", x="", y="ms", y_log=False,
        points=[
            Point(x=delivery.way.name, y=getattr(delivery.visible_ms, name), series=name)
            for delivery in deliveries
            for name in ("p50", "p95")
        ],
    )  # fmt: skip


def _idle_table(idle: Sequence[Idle]) -> Table:
    return Table(
        title="Cost of waiting while nothing is appended",
        columns=columns("waiting", "queries per second", "client CPU|share", "server CPU|share"),
        rows=[
            [
                waiting.way.name if waiting.way else "no consumer", waiting.queries_per_s, waiting.client_cpu,
                waiting.server_cpu,
            ]
            for waiting in idle
        ],
        note="Shares of one core.",
    )  # fmt: skip


def _lost(delivery: Delivery) -> Iterator[Finding]:
    if delivery.lost:
        yield Finding(
            name=f"delivery, {delivery.way.name}", verdict=Verdict.BROKEN,
            observed=f"{delivery.lost} of {delivery.appends} never came",
            expected="every event is given to the consumer", remedy="eventmark verify hunts lost events",
        )  # fmt: skip


def _in_doubt(delivery: Delivery) -> Iterator[Finding]:
    if not delivery.sure:
        yield Finding(
            name=f"clocks, {delivery.way.name}", verdict=Verdict.INCONCLUSIVE,
            observed=f"the machines' clocks are known to {delivery.doubt_ms:.3f} ms",
            expected=f"better than the time until visible, {delivery.visible_ms.p50:.3f} ms (median)",
            remedy="bring the workers nearer to the machine that asks, or use one machine's",
        )  # fmt: skip
