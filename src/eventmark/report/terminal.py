"""The result on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eventmark.measure.results import Finding, OperationResult, PlanResult, RunResult, Verdict
from eventmark.report.numbers import milliseconds, whole

REASONS_MAX = 10
_STYLES = {Verdict.MET: "bold green", Verdict.BROKEN: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


def render_terminal(result: RunResult) -> RenderableType:
    """Everything that decides, on a page."""
    parts: list[RenderableType] = []
    if result.corpus is not None:
        corpus = result.corpus
        rate = f" at {whole(corpus.events_per_s)} events/s" if corpus.events_per_s else ", there already"
        floors = "".join(f", {floor.ratio:.2f} × {floor.tool}" for floor in corpus.floors)
        parts.append(
            Text(f"corpus: {whole(corpus.events)} events of {corpus.tenants} tenants{rate}{floors}, audit ")
            + _verdicts(corpus.audit)
        )
    parts.append(render_operations(result.operations, result.skipped))
    parts.append(render_plans(result.plans))
    parts.append(Text("verdict: ") + verdict_text(result.verdict))
    parts += [Text(f"  {plain(reason)}") for reason in result.reasons[:REASONS_MAX]]
    if len(result.reasons) > REASONS_MAX:
        parts.append(Text(f"  and {len(result.reasons) - REASONS_MAX} more, see the report"))
    return Group(*parts)


def render_operations(
    operations: Mapping[str, OperationResult], skipped: Mapping[str, str]
) -> RenderableType:
    """One line per operation."""
    table = Table(title="operations", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("operation", no_wrap=True)
    for name in ("p50", "p95", "p99", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("as a multiple of")
    for name, one in operations.items():
        latency = one.latency_ms
        table.add_row(
            name, milliseconds(latency.p50), milliseconds(latency.p95), milliseconds(latency.p99),
            f"{one.target_quantile} < {one.target_ms:g} ms" if one.target_ms else "–", verdict_text(one.verdict),
            "\n".join(f"{floor.ratio:.2f} {floor.tool}" for floor in one.floors),
        )  # fmt: skip
    lines: list[RenderableType] = [table]
    lines += [
        Text(f"skipped {plain(name)}: {plain(reason)}", style="dim") for name, reason in skipped.items()
    ]
    return Group(*lines)


def render_plans(plans: Sequence[PlanResult]) -> RenderableType:
    """How many there are, and those that are not MET."""
    lines: list[RenderableType] = [Text(f"plans: {len(plans)} examined, ") + _verdicts(plans)]
    for plan in plans:
        if plan.verdict is Verdict.MET:
            continue
        lines.append(Text("  ") + verdict_text(plan.verdict) + f" {plan.statement}, {plan.condition}")
        for finding in plan.findings:
            if finding.verdict is not Verdict.MET:
                lines.append(
                    Text(
                        f"    {finding.name}: {plain(finding.observed)}, expected {finding.expected}. {finding.remedy}"
                    )
                )
    return Group(*lines)


def render_findings(title: str, findings: Sequence[Finding]) -> RenderableType:
    """One line per finding."""
    table = Table(title=title, title_justify="left")
    for name in ("what", "verdict", "seen", "expected", "remedy"):
        table.add_column(name)
    for finding in findings:
        table.add_row(
            escape(finding.name), verdict_text(finding.verdict), escape(plain(finding.observed)),
            escape(finding.expected), escape(finding.remedy),
        )  # fmt: skip
    return table


def verdict_text(verdict: Verdict) -> Text:
    return Text(verdict.value, style=_STYLES[verdict])


def plain(text: str) -> str:
    """Without control characters: what a server or a file said must not steer the terminal."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\ufffd" for character in text
    )


def _verdicts(items: Iterable[PlanResult | Finding]) -> Text:
    """``12 MET, 1 BROKEN``."""
    counted = [item.verdict for item in items]
    parts = [Text(f"{counted.count(one)} ") + verdict_text(one) for one in Verdict if one in counted]
    return Text(", ").join(parts) if parts else Text("none")
