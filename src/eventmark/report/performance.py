"""``docs/performance.md``: documented performance, made from result files that are kept in the repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eventmark.measure.files import read_result
from eventmark.measure.results import RunResult
from eventmark.report.markdown import cell, operations_table
from eventmark.report.numbers import floor_text, significant, whole

_HEAD = """# Performance

Made from the files in `docs/results` by `python -m eventmark.report.performance docs/results docs/performance.md`.
Absolute figures belong to the machine they were taken on. The limits compare with what other tools did beside
them, in the same run: below 1 is quicker than the tool.
"""


def render_performance(results: Sequence[RunResult]) -> str:
    """One section per result, the smallest corpus first."""
    ordered = sorted(
        results, key=lambda result: (result.corpus.events if result.corpus else 0, result.started_at)
    )
    return "\n".join([_HEAD, *(_section(result) for result in ordered)])


def _section(result: RunResult) -> str:
    host, server = result.environment.host, result.environment.server
    lines = [
        f"## {whole(result.corpus.events if result.corpus else 0)} events, PostgreSQL {cell(server.version)}: "
        f"{result.verdict.value}",
        "",
        f"{cell(host.cpu_model)}, {host.cpu_count} cores, {whole(host.memory_mib)} MiB, {cell(host.python)}, "
        f"store {cell(result.environment.store.name)}, {cell(result.profile)} profile, {result.started_at}, "
        f"{significant(result.seconds)} s in all.",
        "",
    ]
    if result.corpus is not None and result.corpus.events_per_s:
        corpus = result.corpus
        stages = ", ".join(
            f"{stage} {significant(seconds)} s" for stage, seconds in corpus.stage_seconds.items()
        )
        floors = "".join(f"; {floor_text(floor)}" for floor in corpus.floors)
        lines += [
            f"Seeding: {whole(corpus.events_per_s)} events/s ({stages}){floors}. "
            f"Client processes together at most {whole(corpus.client_peak_rss_mib)} MiB.",
            "",
        ]
    lines += [*operations_table(result.operations), ""]
    met = sum(plan.verdict.value == "MET" for plan in result.plans)
    lines += [f"Plans: {met} of {len(result.plans)} met.", ""]
    return "\n".join(lines)


def write_performance(results: Path, page: Path) -> None:
    """The page from every result in a folder."""
    page.write_text(render_performance([read_result(path) for path in sorted(results.glob("*.json"))]))


if __name__ == "__main__":
    import sys

    write_performance(Path(sys.argv[1]), Path(sys.argv[2]))
