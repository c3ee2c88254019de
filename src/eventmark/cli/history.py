"""compare, trend: results held against each other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.output import check_writable
from eventmark.cli.publish import announce
from eventmark.cli.session import command_line, console, screen
from eventmark.config import Settings, load_settings, parse_share
from eventmark.errors import UsageError
from eventmark.git import repository_of
from eventmark.history import (
    Entry,
    FailOn,
    Run,
    Trends,
    compare_results,
    encode_comparison,
    encode_trends,
    entry_of,
    fail_on_of,
    find_trends,
    judge_trends,
    read_branch,
    read_jmh,
    read_otava,
    read_runs,
    result_of,
    trend_result,
    write_otava,
)
from eventmark.history.trend_section import trend_section
from eventmark.history.trends import RECENT_RUNS
from eventmark.judgement.verdicts import exit_code
from eventmark.report import render_terminal, write_reports
from eventmark.report.markdown import section_lines
from eventmark.report.sections import render_section
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import RunResult

_Out = Annotated[Path | None, Parameter(help="Folder for the report as a page and in other formats [none].")]
_Summary = Annotated[str | None, Parameter(help="File a Markdown summary is added to, for a CI's page.")]


def compare(
    base: Path,
    candidate: Path,
    /,
    *,
    slowdown: Annotated[str | None, Parameter(help="What matters and more [10%].")] = None,
    fail_on: Annotated[
        str | None, Parameter(help="What makes it BROKEN: any, slower, counters or never [any].")
    ] = None,
    across_schemas: Annotated[
        bool, Parameter(negative=(), help="The schema, or the store, is what is compared.")
    ] = False,
    out: _Out = None,
    summary: _Summary = None,
    json: Annotated[bool, Parameter(negative=(), help="Print the comparison as JSON.")] = False,
) -> int:
    """Hold CANDIDATE against BASE, both result.json, and say for each operation: slower, faster, same, cannot tell.

    Refuses what is not comparable. Times of different machines are left alone; counters are compared all the same.
    """
    settings = load_settings({"slowdown": slowdown, "fail_on": fail_on, "summary": summary})
    fail_on_it = fail_on_of(settings.fail_on)
    found = read_result(candidate)
    comparison = compare_results(
        read_result(base), found, base_file=str(base), candidate_file=str(candidate),
        slowdown=parse_share(settings.slowdown), across_schemas=across_schemas,
    )  # fmt: skip
    result = result_of(found, comparison, command=command_line(), fail_on=fail_on_it)
    return _shown(result, encode_comparison(comparison), "comparison.json", out, replace(settings, json=json))


def trend(
    directory: Path | None = None,
    /,
    *,
    branch: Annotated[
        str | None, Parameter(help="Results in a repository's history instead: main:docs/results.")
    ] = None,
    imports: Annotated[
        list[Path] | None,
        Parameter(name="--import", help="A file of JMH's (.json) or Otava's (.csv); again for more."),
    ] = None,
    better: Annotated[str, Parameter(help="Of numbers in a CSV file: less or more.")] = "less",
    recent: Annotated[
        int, Parameter(help="A step for the worse counts while among so many last runs.")
    ] = RECENT_RUNS,
    fail_on: Annotated[
        str | None, Parameter(help="What makes it BROKEN: any, slower, counters or never [any].")
    ] = None,
    otava: Annotated[
        Path | None, Parameter(help="Folder to write the history to as Apache Otava reads it.")
    ] = None,
    out: _Out = None,
    summary: _Summary = None,
    json: Annotated[bool, Parameter(negative=(), help="Print the trends as JSON.")] = False,
) -> int:
    """Steps and slow drift over the results in DIRECTORY, each with the commit it came with.

    Everything of the newest result's kind is a course of its own; times only from one machine.
    """
    settings = load_settings({"fail_on": fail_on, "summary": summary})
    fail_on_it = fail_on_of(settings.fail_on)
    if recent < 1 or better not in ("less", "more"):
        raise UsageError("--recent is 1 or more, --better is less or more", remedy="correct it")
    runs = _runs(directory, branch)
    entries = [*map(entry_of, runs), *_imported(imports or [], better)]
    found = find_trends(entries, recent=recent)
    if otava is not None:
        check_writable(otava)
        for path in write_otava(entries, otava):
            console.print(str(path))
    settings = replace(settings, json=json)
    if not runs:
        return _imported_shown(found, fail_on_it, out, settings)
    result = trend_result(runs[-1].result, found, command=command_line(), fail_on=fail_on_it)
    return _shown(result, encode_trends(found), "trends.json", out, settings)


def _runs(directory: Path | None, branch: str | None) -> list[Run]:
    if directory is not None and branch is not None:
        raise UsageError("a folder and a branch", remedy="name one of them")
    if branch is not None:
        return read_branch(repository_of(Path.cwd()), branch)
    return read_runs(directory) if directory is not None else []


def _imported(paths: list[Path], better: str) -> list[Entry]:
    entries: list[Entry] = []
    for path in paths:
        entries += read_otava(path, better) if path.suffix == ".csv" else [read_jmh(path)]
    return entries


def _imported_shown(found: Trends, fail_on: FailOn, out: Path | None, settings: Settings) -> int:
    """Without a result of ours there is no environment to make a page of: the section, and the document."""
    section = trend_section(found, fail_on)
    if settings.json:
        sys.stdout.write(encode_trends(found).decode())
    else:
        screen.print(render_section(section))
    if out is not None:
        check_writable(out)
        write_whole(out / "trends.json", encode_trends(found))
        write_whole(out / "trends.md", "\n".join(section_lines(section)).encode("utf-8", "replace"))
    verdict, reasons = judge_trends(found, fail_on)
    if not settings.json:
        screen.print(f"verdict: {verdict.value}", *reasons, sep="\n  ", markup=False)
    return exit_code(verdict)


def _shown(result: RunResult, document: bytes, name: str, out: Path | None, settings: Settings) -> int:
    """The result shown, the document beside its reports where a folder is named, and the exit code."""
    if settings.json:
        sys.stdout.write(document.decode())
    else:
        screen.print(render_terminal(result))
    if out is not None:
        check_writable(out)
        write_whole(out / name, document)
        written = [out / name, *write_reports(result, out).values()]
        if not settings.json:
            screen.print(", ".join(str(path) for path in written))
    announce(settings, result)
    return exit_code(result.verdict)
