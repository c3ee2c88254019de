"""The result on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventmark.judgement.verdicts import is_judged
from eventmark.report import numbers
from eventmark.report.numbers import NONE, milliseconds, whole
from eventmark.report.orderings import shown_sections
from eventmark.report.sections import render_section, verdict_text
from eventmark.report.summary import (
    NOT_JUDGED,
    faults,
    parts_shown,
    remarks,
    scope_sentence,
    tuning_sentence,
    verdict_sentence,
    worst_plans_first,
)
from eventmark.report.text import counted, cut
from eventmark.results.results import (
    CorpusResult,
    Criterion,
    Finding,
    OperationResult,
    PlanResult,
    RunResult,
    Verdict,
)
from eventmark.text import one_line, plain

REASONS_MAX = 10
PLANS_MAX = 10
QUERY_LINES_MAX = 6
CRITERION_MAX = 400
PROSE_WIDTH = 60
NAME_WIDTH = 12  # at least; a longer name is folded where there is no room


def render_terminal(result: RunResult, *, verbose: bool = False) -> RenderableType:
    """What decides: of a certification its criteria, of a run verdict, operations, reasons, what limited it.

    Where sections are what was asked for, they come first. ``verbose``: everything.
    """
    if result.criteria and not verbose:
        return Group(_verdict(result), Text(), render_criteria(result.criteria))
    parts: list[RenderableType] = []
    shown = parts_shown(result)
    if result.corpus is not None:
        parts += [_corpus(result.corpus), Text()]
    asked = [section for section in shown_sections(result) if not section.closing]
    parts += [part for section in asked for part in (render_section(section), Text())]
    if "operations" in shown:
        table = _operations(result.operations) if verbose else _operations_in_short(result.operations)
        parts += [table, Text()]
    if "plans" in shown:
        parts += [_plans(result.plans, verbose=verbose), Text()]
    if result.skipped:
        parts += [*map(_skipped, result.skipped.items()), Text()]
    for section in result.sections:
        if section.closing:
            parts += [render_section(section, brief=not verbose), Text()]
    head = [_verdict(result), *_reasons(result)]
    criteria = [render_criteria(result.criteria), Text()] if result.criteria else []
    return Group(*criteria, *parts, *head) if asked else Group(*head, Text(), *parts[:-1])


def _verdict(result: RunResult) -> RenderableType:
    lines: list[RenderableType] = [
        Text("verdict: ") + verdict_text(result.verdict) + Text(f"  {plain(verdict_sentence(result))}")
    ]
    lines += [_line(text) for text in (scope_sentence(result), tuning_sentence(result)) if text]
    return Group(*lines)


def _reasons(result: RunResult) -> Iterator[RenderableType]:
    yield from (_line(reason) for reason in result.reasons[:REASONS_MAX])
    if len(result.reasons) > REASONS_MAX:
        yield _line(f"and {len(result.reasons) - REASONS_MAX} more, see the report")


def render_criteria(criteria: Sequence[Criterion]) -> RenderableType:
    """A row for each question: its verdict, the figure that decides, the reason, what to do."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), show_lines=False
    )
    table.add_column("question", overflow="fold", max_width=PROSE_WIDTH)
    table.add_column("verdict", no_wrap=True)
    table.add_column("decided by", overflow="fold", max_width=2 * PROSE_WIDTH)
    for criterion in criteria:
        verdict = (
            Text("not asked", style="dim") if criterion.verdict is None else verdict_text(criterion.verdict)
        )
        text = Text(one_line(criterion.figure))
        if criterion.reason and criterion.reason != criterion.figure:
            text.append(("\n" if criterion.figure else "") + one_line(cut(criterion.reason, CRITERION_MAX)))
        if criterion.remedy:
            text.append(f"\n→ {one_line(cut(criterion.remedy, CRITERION_MAX))}", style="bold")
        table.add_row(Text(one_line(criterion.question)), verdict, text)
    return table


def _operations_in_short(operations: Mapping[str, OperationResult]) -> RenderableType:
    """A line per operation: the judged quantile, its target, and the first baseline next to it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    longest = max((len(one_line(name)) for name in operations), default=0)
    table.add_column("operation", overflow="fold", min_width=min(NAME_WIDTH, longest))
    for name in ("measured", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("median against a baseline", overflow="fold")
    for name, operation in operations.items():
        quantile = operation.target_quantile or "p95"
        table.add_row(
            Text(one_line(name)), f"{quantile} {milliseconds(operation.quantile_ms(quantile))}",
            numbers.limit(operation.target_ms), _judged_text(operation),
            Text(one_line(numbers.against(operation.floors[0])) if operation.floors else NONE),
        )  # fmt: skip
    return table


def _operations(operations: Mapping[str, OperationResult]) -> RenderableType:
    """Two lines per operation."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="operations",
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    longest = max((len(one_line(name)) for name in operations), default=0)
    table.add_column("operation", overflow="fold", min_width=min(NAME_WIDTH, longest))
    for name in ("p50", "p95", "p99", "target\n95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict\nsamples", no_wrap=True)
    table.add_column("baselines", overflow="fold")
    for name, operation in operations.items():
        table.add_row(
            Text(one_line(name)),
            *(milliseconds(operation.quantile_ms(name)) for name in ("p50", "p95", "p99")),
            _target(operation) + "\n" + _interval(operation),
            _judged_text(operation) + Text(f"\n{whole(operation.samples)} samples", style="dim"),
            Text("\n".join(one_line(numbers.against(floor)) for floor in operation.floors) or NONE),
        )
    return table


def _skipped(skipped: tuple[str, str]) -> RenderableType:
    """What could not be done, and why."""
    name, reason = skipped
    return Padding(
        Text(f"skipped {one_line(name)}: {one_line(reason)}", style="dim"), (0, 0, 0, 2), expand=False
    )


def _plans(plans: Sequence[PlanResult], *, verbose: bool) -> RenderableType:
    """How many there are, and what could be better of them; ``verbose``: what was found of those that are not MET."""
    lines: list[RenderableType] = [Text(f"plans: {len(plans)} examined, ") + _verdicts(plans)]
    if verbose:
        lines += _unmet_plans(plans)
    for plan, finding in remarks(plans):
        lines.append(_line(f"{plan.statement}: {finding.name} {finding.observed}; {finding.remedy}"))
    return Group(*lines)


def _unmet_plans(plans: Sequence[PlanResult]) -> Iterator[RenderableType]:
    """Each with its findings and its query."""
    unmet = [plan for plan in worst_plans_first(plans) if plan.verdict is not Verdict.MET]
    for plan in unmet[:PLANS_MAX]:
        title = Text(f" {one_line(plan.statement)}, {one_line(plan.condition)}")
        yield Padding(verdict_text(plan.verdict) + title, (0, 0, 0, 2))
        for fault in faults(plan):
            remedy = f"; {fault.remedy}" if fault.remedy else ""
            yield _line(f"{fault.name}: {fault.observed}, expected {fault.expected}{remedy}", 4)
        yield from (Padding(Text(line, style="dim"), (0, 0, 0, 6)) for line in _query(plan))
    if len(unmet) > PLANS_MAX:
        yield _line(f"and {len(unmet) - PLANS_MAX} more, see the report")


def _judged_text(operation: OperationResult) -> Text:
    return verdict_text(operation.verdict) if is_judged(operation) else Text(NOT_JUDGED, style="dim")


def _corpus(corpus: CorpusResult) -> Text:
    rate = f" at {whole(corpus.events_per_s)} events/s" if corpus.events_per_s else ", there already"
    floors = "".join(f", {one_line(numbers.against(floor))}" for floor in corpus.floors)
    text = (
        f"corpus: {whole(corpus.events)} events of {counted(corpus.tenants, 'tenant')}{rate}{floors}, audit "
    )
    return Text(text) + _verdicts(corpus.audit)


def _target(operation: OperationResult) -> str:
    return (
        f"{operation.target_quantile} < {numbers.limit(operation.target_ms)}"
        if operation.target_ms
        else "no target"
    )


def _interval(operation: OperationResult) -> str:
    """``0.873–1.09 ms``, of the judged quantile."""
    interval = operation.interval_ms.get(operation.target_quantile)
    if interval is None:
        return NONE
    if interval.high is None:
        return f"over {milliseconds(interval.low)}"
    low, high = milliseconds(interval.low), milliseconds(interval.high)
    unit = high[-2:]
    return f"{low[:-3]}–{high}" if low.endswith(unit) else f"{low}–{high}"


def _query(plan: PlanResult) -> list[str]:
    lines = [line for line in plain(cut(plan.query, 2000)).expandtabs(4).splitlines() if line.strip()]
    more = [f"… {len(lines) - QUERY_LINES_MAX} lines more"] if len(lines) > QUERY_LINES_MAX else []
    return lines[:QUERY_LINES_MAX] + more


def _line(text: str, indent: int = 2) -> RenderableType:
    return Padding(Text(one_line(text)), (0, 0, 0, indent), expand=False)


def _verdicts(items: Iterable[PlanResult | Finding]) -> Text:
    """``12 MET, 1 BROKEN``."""
    counts = [item.verdict for item in items]
    parts = [
        Text(f"{counts.count(verdict)} ") + verdict_text(verdict) for verdict in Verdict if verdict in counts
    ]
    return Text(", ").join(parts) if parts else Text("none")
