"""What each ordering lost and what it costs: one table for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventmark.judgement.verdicts import judged
from eventmark.report.numbers import NONE, significant, whole
from eventmark.report.text import counted, cut
from eventmark.results.results import Finding, Latency, OrderingResult, Verdict
from eventmark.text import one_line

HEAD = (
    "ordering", "committed", "lost", "twice", "out of order", "conflicts", "appends/s", "events/s",
    "append ms", "visible ms", "handled ms",
)  # fmt: skip
FINDING_MAX = 400
FINDINGS_MAX = 4  # of one ordering, on a terminal
NOTE = (
    "Lost, twice and out of order are summed over the consumers; rates are of writers at full speed; latencies "
    "are p50 / p95 of single appends at a steady rate during slow transactions: until acknowledged, from there until "
    "a consumer has the event, and from the call until it is handled."
)


def price_row(one: OrderingResult) -> list[str]:
    """The cells under ``HEAD``."""
    return [
        one_line(one.ordering), whole(one.committed), whole(one.lost), whole(one.duplicated), whole(one.out_of_order),
        whole(one.conflicts), whole(one.appends_per_s), whole(one.events_per_s), _two(one.append_ms),
        _two(one.visible_ms), _two(one.handled_ms),
    ]  # fmt: skip


def render_orderings(orderings: Sequence[OrderingResult]) -> RenderableType:
    """The price table, then what was found against each that is not MET."""
    table = Table(
        box=box.SIMPLE_HEAD, title="orderings", title_justify="left", pad_edge=False, show_edge=False,
        padding=(0, 1, 0, 0), caption="latencies: p50 / p95", caption_justify="left",
    )  # fmt: skip
    for name in HEAD:
        table.add_column(name, justify="left" if name == "ordering" else "right", overflow="fold")
    for one in orderings:
        table.add_row(*map(Text, price_row(one)))
    subjects = judged(orderings)
    return Group(table, *(line for one in orderings for line in _lines(one, is_control=one not in subjects)))


def _lines(one: OrderingResult, *, is_control: bool) -> Iterator[RenderableType]:
    """What an ordering broke, what to do, and the command that hunts it again. Of a control, that it was caught."""
    faults = faults_of(one)
    if faults and is_control:
        yield _indented(
            f"{one.ordering} is the control: it has to lose events, and was caught with {whole(one.lost)} lost",
            2,
        )
        return
    told: list[str] = []
    for finding in faults[:FINDINGS_MAX]:
        observed = cut(finding.observed, FINDING_MAX)
        yield _indented(f"{one.ordering}: {finding.name}, {finding.expected}: {observed}", 2)
        if finding.remedy and finding.remedy not in told:
            told.append(finding.remedy)
            yield _indented(f"What to do: {finding.remedy}", 4)
    if more := len(faults[FINDINGS_MAX:]):
        yield _indented(f"{one.ordering}: {counted(more, 'more finding')} in the report", 2)
    if faults and one.replay:
        yield _indented(f"again: {one.replay}", 4, style="dim")


def _indented(text: str, by: int, *, style: str = "") -> RenderableType:
    return Padding(Text(one_line(text), style=style), (0, 0, 0, by), expand=False)


def faults_of(one: OrderingResult) -> list[Finding]:
    """The invariants that do not hold."""
    return [finding for finding in one.findings if finding.verdict is not Verdict.MET]


def _two(latency: Latency | None) -> str:
    return NONE if latency is None else f"{significant(latency.p50)} / {significant(latency.p95)}"
