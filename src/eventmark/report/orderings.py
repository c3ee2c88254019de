"""What each ordering lost and what it costs, as a section: shown as any other by every kind of report."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eventmark.judgement.verdicts import judge_orderings, judged
from eventmark.report.numbers import NONE, duration, significant, whole
from eventmark.report.sections import faults_of
from eventmark.report.text import counted, cut
from eventmark.results.results import (
    Block,
    Chart,
    Finding,
    Latency,
    OrderingResult,
    Point,
    RunResult,
    Section,
    Table,
    columns,
)

FINDING_MAX = 400
_LATENCIES = ("append", "visible", "handled")
_LOST_NOTE = "Lost, twice and out of order are summed over the consumers."
_PRICE_NOTE = (
    "Rates are of writers at full speed. Latencies are p50 / p95 of single appends at a steady rate during slow "
    "transactions: until acknowledged, from there until a consumer has the event, and from the call until it is "
    "handled."
)


def shown_sections(result: RunResult) -> list[Section]:
    """The sections that a report shows: what was hunted first, then the result's own."""
    return [*([orderings_section(result.orderings)] if result.orderings else ()), *result.sections]


def orderings_section(orderings: Sequence[OrderingResult]) -> Section:
    """A row for each; what was found against those that count; folded away, how each was hunted."""
    subjects = judged(orderings)
    return Section(
        name="orderings",
        title="Orderings",
        verdict=judge_orderings(orderings)[0],
        text=[
            f"{ordering.ordering} is the control: it has to lose events, "
            f"and was caught with {whole(ordering.lost)} lost."
            for ordering in orderings
            if ordering not in subjects and faults_of(ordering)
        ],
        findings=[_named(subject, fault) for subject in subjects for fault in faults_of(subject)],
        tables=price_tables(orderings),
        charts=[_latency_chart(orderings), _rate_chart(orderings)],
        blocks=[
            Block(
                title=f"{ordering.ordering}: {ordering.verdict.value}, {ordering.description}",
                text=_account(ordering),
            )
            for ordering in orderings
        ],
    )


def price_tables(orderings: Sequence[OrderingResult]) -> list[Table]:
    """What each ordering lost, and what it costs."""
    return [
        Table(
            title="What was lost", note=_LOST_NOTE,
            columns=columns("ordering", "verdict", "committed", "lost", "twice", "out of order", "conflicts"),
            rows=[
                [
                    ordering.ordering, ordering.verdict.value, ordering.committed, ordering.lost, ordering.duplicated,
                    ordering.out_of_order, ordering.conflicts,
                ]
                for ordering in orderings
            ],
        ),
        Table(
            title="What it costs", note=_PRICE_NOTE,
            columns=columns("ordering", "appends/s", "events/s", *(f"{what} ms, p50 / p95" for what in _LATENCIES)),
            rows=[
                [
                    ordering.ordering, round(ordering.appends_per_s), round(ordering.events_per_s),
                    *map(_two, _latencies(ordering).values()),
                ]
                for ordering in orderings
            ],
        ),
    ]  # fmt: skip


def _latencies(ordering: OrderingResult) -> dict[str, Latency | None]:
    return dict(zip(_LATENCIES, (ordering.append_ms, ordering.visible_ms, ordering.handled_ms), strict=True))


def _named(subject: OrderingResult, fault: Finding) -> Finding:
    """The finding with whose it is, and the command that shows whether the remedy helped."""
    again = f"{'Then hunt' if fault.remedy else 'Hunt'} again: {subject.replay}" if subject.replay else ""
    return msgspec.structs.replace(
        fault,
        name=f"{subject.ordering}, {fault.name}",
        observed=cut(fault.observed, FINDING_MAX),
        remedy=f"{fault.remedy} {again}".strip(),
    )


def _account(ordering: OrderingResult) -> str:
    """Every invariant with what was seen, and what was done."""
    sentences = [
        f"{finding.name} {finding.verdict.value}: {finding.expected}: {cut(finding.observed, FINDING_MAX)}"
        for finding in ordering.findings
    ]
    done = (
        f"{whole(ordering.delivered)} events delivered to {counted(ordering.consumers, 'consumer')}; "
        f"{counted(ordering.rolled_back, 'append')} rolled back or refused, "
        f"{whole(ordering.unknown)} of unknown outcome; "
        f"{duration(ordering.seconds)} at full speed, writers' CPU {ordering.client_cpu_share:.0%} of a core."
    )
    return "\n".join([*sentences, done, *([f"Again: {ordering.replay}"] if ordering.replay else ())])


def _latency_chart(orderings: Sequence[OrderingResult]) -> Chart:
    return Chart(
        title="Latency of each ordering: p95, and from p50 to p99",
        mark="point",
        x="ordering",
        y="milliseconds, logarithmic",
        y_log=True,
        points=[
            Point(x=ordering.ordering, series=what, y=latency.p95, low=max(latency.p50, 0.001), high=latency.p99)
            for ordering in orderings
            for what, latency in _latencies(ordering).items()
            if latency is not None and latency.p95 > 0
        ],
    )  # fmt: skip


def _rate_chart(orderings: Sequence[OrderingResult]) -> Chart:
    return Chart(
        title="Events per second, writers at full speed", mark="bar", x="ordering", y="events/s",
        points=[Point(x=ordering.ordering, y=ordering.events_per_s) for ordering in orderings],
    )  # fmt: skip


def _two(latency: Latency | None) -> str:
    return NONE if latency is None else f"{significant(latency.p50)} / {significant(latency.p95)}"
