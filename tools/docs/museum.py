"""``docs/museum.md``: the incident museum, made from result files that are kept in the repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from eventmark.errors import UsageError
from eventmark.report import numbers
from eventmark.report.markdown import MARKS, cell, code, section_lines, table
from eventmark.report.numbers import NONE
from eventmark.report.text import counted
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import RunResult, Section

PREFIX = "museum-"

_HEAD = """# Incident museum

Made from the files `docs/results/museum-*.json` by `make docs`.

What users of event stores reported, run again in small: the way that failed and a way that does not. It is a
demonstration, and Eventmark's own test. Each exhibit is MET when Eventmark's own tools flag the faulty way and pass the
sound one. `eventmark museum` runs it, `--exhibit NAME` one of it. Rates belong to the machine they were taken
on; no verdict rests on them.
"""


def render_museum(results: Sequence[RunResult]) -> str:
    """The page: every exhibit on every server, then each with its evidence, from the newest server's result."""
    if not results:
        return _HEAD + "\nThere are no results yet.\n"
    ordered = sorted(results, key=lambda result: -result.environment.server.version_num)
    newest = ordered[0]
    # What each finding says is in its heading and its table
    shown = [line for one in newest.sections for line in section_lines(replace(one, findings=[]))]
    return "\n".join([_HEAD, *_overview(ordered), *map(_taken, ordered), "", *shown])


def write_museum(results: Path, page: Path) -> None:
    """The page from the museum's results in a folder. Raises ``UsageError`` for what is no result."""
    listed = [read_result(path) for path in sorted(results.glob(f"{PREFIX}*.json"))]
    write_whole(page, render_museum(listed).encode())


def _overview(results: Sequence[RunResult]) -> list[str]:
    names = list(dict.fromkeys(section.name for result in results for section in result.sections))
    found = [{section.name: section for section in result.sections} for result in results]
    rows = []
    for name in names:
        sections = [one.get(name) for one in found]
        title = next(section.title for section in sections if section)
        rows.append([code(name), cell(title), *map(_mark, sections)])
    servers = [f"PostgreSQL {cell(result.environment.server.version)}" for result in results]
    return [*table(["exhibit", "what happened", *servers], rows, "ll" + "l" * len(servers)), ""]


def _mark(section: Section | None) -> str:
    return NONE if section is None or section.verdict is None else MARKS[section.verdict]


def _taken(result: RunResult) -> str:
    host = result.environment.host
    return (
        f"{code(result.command)} on PostgreSQL {cell(result.environment.server.version)}, "
        f"{cell(result.profile)} profile, {cell(result.started_at)}, {numbers.duration(result.seconds)}, "
        f"{cell(host.cpu_model)}, {counted(host.cpu_count, 'core')}.  "
    )


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python -m tools.docs.museum FOLDER_OF_RESULTS PAGE")
    try:
        write_museum(Path(sys.argv[1]), Path(sys.argv[2]))
    except UsageError as error:
        sys.exit(str(error))
