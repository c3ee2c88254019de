"""``report.md``: the same facts as tables, fit for a comment on a change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from eventmark.judgement.verdicts import is_judged
from eventmark.report import numbers
from eventmark.report.numbers import NONE, against, interval, milliseconds, whole
from eventmark.report.orderings import shown_sections
from eventmark.report.sections import findings_table, is_number_column, row_texts
from eventmark.report.summary import (
    NOT_JUDGED,
    faults,
    parts_shown,
    scope_sentence,
    tally,
    tuning_sentence,
    verdict_sentence,
    worst_plans_first,
)
from eventmark.report.text import counted, cut
from eventmark.results.results import (
    CorpusResult,
    Criterion,
    Environment,
    Finding,
    OperationResult,
    PlanResult,
    RunResult,
    Section,
    Table,
    Verdict,
)
from eventmark.text import one_line, plain

REASONS_MAX = 20
PLANS_MAX = 12  # in full; a comment may hold 65,536 characters, the page holds the rest
CELL_MAX = 300
QUERY_MAX = 2000
COMMENT_MAX = 60_000  # bytes; a comment may hold 65,536 characters

MARKS = {Verdict.MET: "✅ MET", Verdict.BROKEN: "❌ BROKEN", Verdict.INCONCLUSIVE: "❔ INCONCLUSIVE"}


def render_markdown(result: RunResult) -> str:
    """The report as tables. No text from the result can bring markup of its own, or call anybody by name."""
    if result.criteria:
        return _certificate(result)
    parts = [
        *_head(result),
        *(
            line
            for shown_section in shown_sections(result)
            if not shown_section.closing
            for line in section_lines(shown_section)
        ),
        *_main_job(result),
        *(line for section in result.sections if section.closing for line in section_lines(section)),
        *_skipped(result.skipped),
        *_environment(result.environment),
    ]
    return "\n".join(parts)


def _certificate(result: RunResult) -> str:
    """The criteria, then as many of the parts, folded, as a comment on a change has room for."""
    parts = [*_head(result, reasons=False), *criteria_table(result.criteria), ""]
    end = [*_skipped(result.skipped), *_environment(result.environment)]
    room = COMMENT_MAX - sum(len(line.encode()) + 1 for line in [*parts, *end])
    folded = [
        ("Operations", _main_job(result)),
        *((section.title, section_lines(section, level=3)) for section in shown_sections(result)),
    ]
    for title, lines in folded:
        block = ["<details><summary>" + cell(title) + "</summary>", "", *lines, "", "</details>", ""]
        size = sum(len(line.encode()) + 1 for line in block)
        if lines and size <= room:
            parts += block
            room -= size
    return "\n".join([*parts, *end])


def criteria_table(criteria: Sequence[Criterion]) -> list[str]:
    """A row for each question."""
    rows = []
    for criterion in criteria:
        decided = [cell(text) for text in (criterion.figure, criterion.reason) if text]
        mark = MARKS[criterion.verdict] if criterion.verdict is not None else "not asked"
        rows.append(
            [cell(criterion.question), mark, "<br>".join(decided) or NONE, cell(criterion.remedy) or NONE]
        )
    return table(["question", "verdict", "decided by", "what to do"], rows, "llll")


def _main_job(result: RunResult) -> list[str]:
    shown = parts_shown(result)
    operations = operations_table(result.operations) if result.operations else ["No operation was measured."]
    return [
        *(["## Operations", "", *operations, "", *_measured(result.operations)] if "operations" in shown else []),
        *(_corpus(result.corpus) if "corpus" in shown else []),
        *(_plans(result.plans) if "plans" in shown else []),
    ]  # fmt: skip


def section_lines(section: Section, *, level: int = 2) -> list[str]:
    """A section's paragraphs, tables, findings and blocks; its charts are for the page."""
    mark = f" {MARKS[section.verdict]}" if section.verdict is not None else ""
    lines = [f"{'#' * level} {cell(section.title)}{mark}", ""]
    for text in section.text:
        lines += [cell(text), ""]
    lines += [line for shown in section.tables for line in table_lines(shown)]
    lines += _findings(section.findings)
    for block in section.blocks:
        folded = ["<details><summary>" + cell(block.title) + "</summary>", ""]
        lines += [*folded, *fenced(block.text, block.language), "", "</details>", ""]
    return lines


def table_lines(shown: Table) -> list[str]:
    """A section's table."""
    sides = "".join("r" if is_number_column(shown, index) else "l" for index in range(len(shown.columns)))
    rows = [[_marked(text) for text in row_texts(shown, row)] for row in shown.rows]
    return [
        *([f"**{cell(shown.title)}**", ""] if shown.title else ()),
        *table([cell(column.name) for column in shown.columns], rows, sides), "",
        *([cell(shown.note), ""] if shown.note else ()),
    ]  # fmt: skip


def _findings(findings: Sequence[Finding]) -> list[str]:
    return table_lines(findings_table(findings)) if findings else []


def _marked(text: str) -> str:
    return MARKS[Verdict(text)] if text in Verdict.__members__ else cell(text)


def operations_table(operations: Mapping[str, OperationResult]) -> list[str]:
    rows = []
    for name, operation in operations.items():
        quantiles = map(operation.quantile_ms, ("p50", "p95", "p99", "p999", "max"))
        rows.append([
            code(name), *map(milliseconds, quantiles), interval(operation.interval_ms.get(operation.target_quantile)),
            f"{operation.target_quantile} < {numbers.limit(operation.target_ms)}" if operation.target_ms else NONE,
            MARKS[operation.verdict] if is_judged(operation) else NOT_JUDGED,
            "<br>".join(cell(against(floor)) for floor in operation.floors) or NONE,
        ])  # fmt: skip
    head = [
        "operation",
        "p50",
        "p95",
        "p99",
        "p99.9",
        "max",
        "95% interval",
        "target",
        "verdict",
        "baselines",
    ]
    return table(head, rows, "lrrrrrrrll")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """A table of cells that are fit for one; ``sides`` holds l or r for each column."""
    rule = "|".join("--:" if side == "r" else "---" for side in sides)
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def cell(text: str) -> str:
    """Text that can neither end a table's cell nor bring markup, formulas, links or mentions of its own."""
    escaped = re.sub(r"([\\`*_\[\]|$~])", r"\\\1", cut(one_line(text), CELL_MAX))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A space of no width keeps @name from calling somebody, and an address from becoming a link
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")


def code(text: str) -> str:
    """``text`` as code within a cell: in there only grave accents and bars would be read."""
    return "`" + cut(one_line(text), CELL_MAX).replace("`", "'").replace("|", "¦") + "`"


def fenced(text: str, language: str = "") -> list[str]:
    """A block of code whose fence is longer than any within."""
    shown = plain(cut(text, QUERY_MAX))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return [fence + language, shown, fence]


def _head(result: RunResult, *, reasons: bool = True) -> list[str]:
    environment = result.environment
    listed = [f"- {cell(reason)}" for reason in result.reasons[:REASONS_MAX]] if reasons else []
    if reasons and len(result.reasons) > REASONS_MAX:
        listed.append(f"- and {len(result.reasons) - REASONS_MAX} more")
    return [
        f"# {MARKS[result.verdict]}: {cell(environment.store.name)} on PostgreSQL {cell(environment.server.version)}"
        + (f", {whole(result.corpus.events)} events" if result.corpus else ""),
        "",
        cell(verdict_sentence(result)),
        *(line for text in (scope_sentence(result), tuning_sentence(result)) if text for line in ("", cell(text))),
        "",
        *listed,
        *([""] if listed else []),
        f"{cell(result.started_at)}, {cell(result.profile)} profile, seed {result.seed}, "
        f"{numbers.duration(result.seconds)}, {code(result.command)}",
        "",
    ]  # fmt: skip


def _measured(operations: Mapping[str, OperationResult]) -> list[str]:
    """What stands behind each verdict, folded away."""
    if not operations:
        return []
    rows = []
    for name, operation in operations.items():
        cold = operation.cache.cold if operation.cache else None
        steady = sum(fork.steady for fork in operation.forks)
        limited = f", bottleneck: {cell(operation.client.reason)}" if operation.client.bottleneck else ""
        rows.append([
            cell(name), cell(operation.reason), whole(operation.samples),
            whole(operation.failed) if operation.failed else "0",
            f"{steady} of {len(operation.forks)} steady", whole(operation.throughput_per_s),
            f"{operation.client.cpu_share:.0%}{limited}",
            milliseconds(cold.p50) if cold else NONE,
        ])  # fmt: skip
    head = ["operation", "reason", "samples", "failed", "forks", "calls/s", "client CPU", "cold p50"]
    body = table(head, rows, "llrrlrlr")
    return ["<details><summary>How each was measured</summary>", "", *body, "", "</details>", ""]


def _corpus(corpus: CorpusResult | None) -> list[str]:
    if corpus is None:
        return ["## Corpus", "", "No corpus was seeded.", ""]
    rate = f"seeded at {whole(corpus.events_per_s)} events/s" if corpus.events_per_s else "there already"
    stages = ", ".join(
        f"{cell(stage)} {numbers.duration(seconds)}" for stage, seconds in corpus.stage_seconds.items()
    )
    pages = corpus.scatter_pages_per_load
    return [
        "## Corpus",
        "",
        f"{whole(corpus.events)} events of {counted(corpus.tenants, 'tenant')}, {whole(corpus.aggregates)} aggregates, "
        f"{whole(corpus.snapshots)} snapshots, {rate}{f' ({stages})' if stages else ''}, "
        f"client at most {numbers.mebibytes(corpus.client_peak_rss_mib)}, checksum {code(corpus.checksum)}"
        + (f", {numbers.significant(pages)} heap pages to a stream of 1000 events" if pages is not None else "")
        + "".join(f"; {cell(against(floor))}" for floor in corpus.floors)
        + ".",
        "",
        *(_findings(corpus.audit) or ["Not audited.", ""]),
    ]  # fmt: skip


def _plans(plans: Sequence[PlanResult]) -> list[str]:
    tallied = tally("plan", plans)
    counts = (
        f"{tallied.total} examined, {tallied.met} met, {tallied.broken} broken, "
        f"{tallied.inconclusive} inconclusive."
    )
    lines = ["## Plans", "", counts, ""]
    unmet = [plan for plan in worst_plans_first(plans) if plan.verdict is not Verdict.MET]
    for plan in unmet[:PLANS_MAX]:
        lines += [f"### {MARKS[plan.verdict]} {cell(plan.statement)}: {cell(plan.condition)}", ""]
        index = code(plan.expected_index) if plan.expected_index else "none"
        lines += [*_findings(faults(plan)), f"Expected index: {index}.", ""]
        lines += ["<details><summary>Query</summary>", "", *fenced(plan.query, "sql"), "", "</details>", ""]
    if len(unmet) > PLANS_MAX:
        lines += [f"And {len(unmet) - PLANS_MAX} more, see the page.", ""]
    return lines


def _skipped(skipped: Mapping[str, str]) -> list[str]:
    if not skipped:
        return []
    return ["## Skipped", "", *[f"- {cell(name)}: {cell(reason)}" for name, reason in skipped.items()], ""]


def _environment(environment: Environment) -> list[str]:
    host, server, store = environment.host, environment.server, environment.store
    return [
        "## Environment",
        "",
        f"{cell(host.cpu_model)}, {counted(host.cpu_count, 'core')}, {numbers.mebibytes(host.memory_mib)}, "
        f"{cell(host.system)}, {cell(host.python)}, Eventmark {cell(host.eventmark)}"
        + (f", revision {code(host.revision)}" if host.revision else "")
        + f"; {cell(server.kind)} PostgreSQL {cell(server.version)}, flush {milliseconds(server.fsync_ms)}; "
        f"store {cell(store.name)}, ordered by {cell(store.ordering)}.",
        *(
            f"Worker {cell(name)}: {cell(worker.cpu_model)}, {counted(worker.cpu_count, 'core')}, "
            f"{numbers.mebibytes(worker.memory_mib)}."
            for name, worker in environment.workers.items()
        ),
        "",
        *(_findings(environment.fitness) or ["Fitness was not examined.", ""]),
    ]  # fmt: skip
