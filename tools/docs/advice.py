"""``docs/advice.md``: what the adviser found on the bundled stores, from results kept in the repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eventmark.report import numbers
from eventmark.report.markdown import cell, code, section_lines
from eventmark.report.text import counted
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import RunResult

SECTION = "advice"

_HEAD = """# Advice

Made from the files in `docs/results` by `make docs`: what `eventmark advise` found on the bundled stores.
Every piece of it was tried in a copy. Ratios are of runs in turns on one machine; what is counted (bytes of WAL, pages,
sizes) is the server's own count, the same on any machine. How it is done is told in [METHOD.md](METHOD.md).
"""


def render_advice(results: Sequence[RunResult]) -> str:
    """The page: a part for each result with advice, by store and server."""
    found = [result for result in results if any(section.name == SECTION for section in result.sections)]
    if not found:
        return _HEAD + "\nThere are no results yet.\n"
    ordered = sorted(found, key=_place)
    return "\n".join([_HEAD, *(line for result in ordered for line in _part(result))])


def write_advice(results: Path, page: Path) -> None:
    """The page from every result in a folder. Raises ``UsageError`` for what is no result."""
    listed = [read_result(path) for path in sorted(results.glob("*.json"))]
    write_whole(page, render_advice(listed).encode())


def _place(result: RunResult) -> tuple[str, int, str]:
    environment = result.environment
    return environment.store.name, -environment.server.version_num, result.started_at


def _part(result: RunResult) -> list[str]:
    host, server, store = result.environment.host, result.environment.server, result.environment.store
    lines = [
        f"## {cell(store.name)} on PostgreSQL {cell(server.version)}: {result.verdict.value}",
        "",
        f"{code(result.command)}, {cell(result.profile)} profile, seed {result.seed}, {cell(result.started_at)}, "
        f"{numbers.duration(result.seconds)} in all; {cell(host.cpu_model)}, {counted(host.cpu_count, 'core')}, "
        f"{cell(server.kind)} server, flush {numbers.milliseconds(server.fsync_ms)}.",
        "",
    ]
    for section in result.sections:
        if section.name.startswith(SECTION):
            lines += section_lines(section, level=3)
    return lines


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python -m tools.docs.advice FOLDER_OF_RESULTS PAGE")
    write_advice(Path(sys.argv[1]), Path(sys.argv[2]))
