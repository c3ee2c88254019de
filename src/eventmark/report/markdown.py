"""``report.md``: the same facts as tables, fit for a comment on a change."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.measure.results import Finding, OperationResult, PlanResult, RunResult, Verdict
from eventmark.report.numbers import floor_text, interval, milliseconds, significant, whole

_MARKS = {Verdict.MET: "✅ MET", Verdict.BROKEN: "❌ BROKEN", Verdict.INCONCLUSIVE: "❔ INCONCLUSIVE"}
REASONS_MAX = 20


def render_markdown(result: RunResult) -> str:
    environment = result.environment
    lines = [
        f"# {_MARKS[result.verdict]}: {cell(environment.store.name)} on PostgreSQL {cell(environment.server.version)}",
        "",
        f"{result.started_at}, {cell(result.profile)} profile, seed {result.seed}, {significant(result.seconds)} s, "
        f"{cell(environment.host.cpu_model)}, {environment.host.cpu_count} cores",
        "",
        *[f"- {cell(reason)}" for reason in result.reasons[:REASONS_MAX]],
        *([f"- and {len(result.reasons) - REASONS_MAX} more"] if len(result.reasons) > REASONS_MAX else []),
        "",
        "## Operations",
        "",
        *operations_table(result.operations),
        "",
    ]
    if result.corpus is not None:
        corpus = result.corpus
        lines += [
            "## Corpus",
            "",
            f"{whole(corpus.events)} events of {corpus.tenants} tenants, {whole(corpus.aggregates)} aggregates, "
            f"checksum `{cell(corpus.checksum)}`"
            + (
                f", seeded at {whole(corpus.events_per_s)} events/s"
                if corpus.events_per_s
                else ", there already"
            )
            + "".join(f"; {floor_text(floor)}" for floor in corpus.floors),
            "",
            *findings_table(corpus.audit),
            "",
        ]
    lines += ["## Plans", "", *_plans(result.plans), ""]
    if result.skipped:
        lines += [
            "## Skipped",
            "",
            *[f"- {cell(name)}: {cell(reason)}" for name, reason in result.skipped.items()],
            "",
        ]
    lines += ["## Fit to measure", "", *findings_table(environment.fitness), ""]
    return "\n".join(lines)


def operations_table(operations: dict[str, OperationResult]) -> list[str]:
    lines = [
        "| operation | p50 | p95 | p99 | p99.9 | max | 95% interval | target | verdict | limits |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    for name, one in operations.items():
        latency = one.latency_ms
        quantiles = [
            milliseconds(v) for v in (latency.p50, latency.p95, latency.p99, latency.p999, latency.max)
        ]
        target = f"{one.target_quantile} < {milliseconds(one.target_ms)}" if one.target_ms else "–"
        row = [
            f"`{name}`", *quantiles, interval(one.interval_ms.get(one.target_quantile)), target, _MARKS[one.verdict],
            "<br>".join(floor_text(floor) for floor in one.floors) or "–",
        ]  # fmt: skip
        lines.append("| " + " | ".join(row) + " |")
    return lines


def findings_table(findings: Sequence[Finding]) -> list[str]:
    lines = ["| what | verdict | seen | expected | remedy |", "|---|---|---|---|---|"]
    for one in findings:
        row = [cell(one.name), _MARKS[one.verdict], cell(one.observed), cell(one.expected), cell(one.remedy)]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def cell(text: str) -> str:
    """Text that can neither end a table's cell nor bring markup of its own."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    for character in "\\|`*_<>[]":
        clean = clean.replace(
            character, "\\" + character if character not in "<>" else f"&#{ord(character)};"
        )
    return clean


def _plans(plans: Sequence[PlanResult]) -> list[str]:
    broken = [plan for plan in plans if plan.verdict is not Verdict.MET]
    lines = [f"{len(plans)} examined, {len(plans) - len(broken)} met."]
    for plan in broken:
        lines += [
            "",
            f"### {_MARKS[plan.verdict]} {cell(plan.statement)}: {cell(plan.condition)}",
            "",
        ]
        lines += findings_table([one for one in plan.findings if one.verdict is not Verdict.MET])
    return lines
