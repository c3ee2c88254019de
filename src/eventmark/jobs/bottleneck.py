"""The section every scenario's report ends with: what limited it, the evidence, and what to try."""

from __future__ import annotations

from collections.abc import Iterator

from eventmark.judgement.bottleneck import ADVICE, Bottleneck, find_bottleneck
from eventmark.judgement.evidence import Evidence, StatementTime
from eventmark.judgement.symptoms import Limit
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

SECTION_NAME = "bottleneck"
TO_TRY = "What to try: "
STORE_APPLICATION = "eventmark"
"""The application that stores' connections name themselves: not pgbench's, nor the instruments'."""

STATEMENTS_SHOWN = 5


def to_try(limit: Limit) -> str:
    """The sentence about what helps where that is the limit."""
    return TO_TRY + "; ".join(ADVICE[limit]) + "."


def bottleneck_section(evidence: Evidence) -> Section:
    """What limited the stretch that ``evidence`` was taken of.

    Nothing is judged: a limit is no fault. Where it cannot be told, a finding says so.
    """
    bottleneck = find_bottleneck(evidence)
    return Section(
        name=SECTION_NAME,
        title="Bottleneck",
        text=list(_text(bottleneck)),
        findings=[] if bottleneck.known else [_unknown(bottleneck)],
        tables=[_symptoms(bottleneck), *_statements(evidence)],
        charts=[_budget(bottleneck)] if bottleneck.budget else [],
        blocks=[_counters(evidence)],
        closing=True,
    )


def _text(bottleneck: Bottleneck) -> Iterator[str]:
    if bottleneck.limit is Limit.NONE:
        yield "No bottleneck found: nothing was near its limit."
    else:
        yield f"Bottleneck: {bottleneck.limit}. {bottleneck.because[:1].upper()}{bottleneck.because[1:]}."
    if bottleneck.budget:
        yield "Where the time went: " + ", ".join(
            f"{name} {share:.0%}" for name, share in bottleneck.budget.items() if share >= 0.005
        )
    yield to_try(bottleneck.limit)


def _unknown(bottleneck: Bottleneck) -> Finding:
    return Finding(
        name="bottleneck", verdict=Verdict.INCONCLUSIVE, observed=bottleneck.because,
        expected="a limit that stands out",
        remedy=bottleneck.advice[0],
    )  # fmt: skip


def _symptoms(bottleneck: Bottleneck) -> Table:
    rows: list[Row] = [
        [
            symptom.symptom.limit.value, symptom.symptom.of, symptom.reading.value if symptom.reading else None,
            symptom.symptom.beyond, symptom.state,
        ]
        for symptom in bottleneck.symptoms
    ]  # fmt: skip
    return Table(
        title="Possible bottlenecks",
        columns=columns("bottleneck", "share of", "seen|share", "threshold|share", "status"),
        rows=rows,
        note="In the order of cause before effect: the first that is beyond its limit is named. A share from samples "
        "counts with its 95% interval.",
    )  # fmt: skip


def _statements(evidence: Evidence) -> Iterator[Table]:
    shown = [statement for statement in evidence.statements if statement.calls][:STATEMENTS_SHOWN]
    if not shown:
        return
    yield Table(
        title="Statements with the most sessions at work in them",
        columns=columns("statement", "calls", "mean|ms", "pages per row", "sessions at work", "most of it"),
        rows=[_statement_row(statement) for statement in shown],
    )  # fmt: skip


def _statement_row(time: StatementTime) -> Row:
    most = max(time.sessions, key=lambda wait: time.sessions[wait], default=None)
    return [
        time.text, float(time.calls), time.execution_ms / max(time.calls, 1), time.pages_per_row,
        time.sessions_at_work, None if most is None else str(most),
    ]  # fmt: skip


def _budget(bottleneck: Bottleneck) -> Chart:
    return Chart(
        title="Where the time went", mark="bar", x="", y="share of the call time",
        points=[Point(x=name, y=share) for name, share in bottleneck.budget.items()],
    )  # fmt: skip


def _counters(evidence: Evidence) -> Block:
    """Everything else that was counted, one a line."""
    lines = [f"{evidence.seconds:.1f} s, {evidence.looks} looks at sessions"]
    for name, load in (("client", evidence.client), ("server", evidence.server)):
        if load is not None:
            lines.append(f"{name}: {load.cores:.2f} of {evidence.cores} cores")
    if evidence.machine_cores is not None:
        lines.append(f"machine: {evidence.machine_cores:.2f} of {evidence.cores} cores busy")
    lines += [
        f"sessions at work, {wait}: {sessions:.3f}"
        for wait, sessions in sorted(evidence.waits.items(), key=lambda item: -item[1])
    ]
    lines += [f"{name}: {value:,.0f}" for name, value in sorted(evidence.counters.items())]
    lines += [f"not seen: {name}, {reason}" for name, reason in sorted(evidence.missing.items())]
    return Block(title="What was counted meanwhile", text="\n".join(lines), language="text")
