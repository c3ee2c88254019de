"""compare, trend: results held against each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.output import check_writable
from eventmark.cli.publish import announce
from eventmark.cli.session import command_line, console, screen
from eventmark.config import Settings, load_settings, parse_share
from eventmark.errors import CannotRunError, UsageError
from eventmark.git import commit_places, repository_of
from eventmark.history import (
    Entry,
    FailOn,
    KeptRuns,
    Trends,
    compare_results,
    comparison_exit_code,
    encode_comparison,
    encode_trends,
    entry_of,
    fail_on_of,
    find_trends,
    judge_trends,
    parse_renames,
    read_branch,
    read_jmh_files,
    read_runs,
    read_table,
    result_of,
    trend_result,
    trends_exit_code,
    write_otava,
)
from eventmark.history.trend_section import trend_section
from eventmark.history.trends import RECENT_RUNS
from eventmark.report import render_terminal, write_reports
from eventmark.report.markdown import section_lines
from eventmark.report.sections import render_section
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import RunResult

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_Out = Annotated[Path | None, Parameter(help="Folder for the report as a page and in other formats [none].")]
_Summary = Annotated[str | None, Parameter(help="File a Markdown summary is added to, for a CI's page.")]


def compare(
    base: Path,
    candidate: Path,
    /,
    *,
    slowdown: Annotated[str | None, Parameter(help="The smallest slowdown that matters [10%].")] = None,
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
    """Compare CANDIDATE with BASE, both result.json. Each operation is slower, faster, the same, or undecided.

    Refuses what is not comparable. Times of different machines are left alone; counters are compared all the same.
    """
    settings = load_settings({"slowdown": slowdown, "fail_on": fail_on, "summary": summary})
    fail_on_it = fail_on_of(settings.fail_on)
    candidate_result = read_result(candidate)
    comparison = compare_results(
        read_result(base), candidate_result, base_file=str(base), candidate_file=str(candidate),
        slowdown=parse_share(settings.slowdown), across_schemas=across_schemas,
    )  # fmt: skip
    result = result_of(candidate_result, comparison, command=command_line(), fail_on=fail_on_it)
    _show(result, encode_comparison(comparison), "comparison.json", out, replace(settings, json=json))
    return comparison_exit_code(result.verdict, fail_on_it)


def trend(
    directory: Path | None = None,
    /,
    *,
    branch: Annotated[
        str | None,
        Parameter(
            help="Results in a repository's history: main:docs/results. Of a table with branches: main."
        ),
    ] = None,
    imports: Annotated[
        list[Path] | None,
        Parameter(
            name="--import",
            consume_multiple=True,
            negative=(),
            help="Files of JMH's (.json) or tables (.csv), or a folder of them.",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        Parameter(negative=(), help="OLD=NEW: a number's name of today; also [renames] in eventmark.toml."),
    ] = None,
    better: Annotated[str, Parameter(help="Of numbers in a CSV file: less or more.")] = "less",
    recent: Annotated[
        int, Parameter(help="A step for the worse counts if it is among this number of the latest runs.")
    ] = RECENT_RUNS,
    slowdown: Annotated[str | None, Parameter(help="Smallest slowdown that counts [10%].")] = None,
    few_ok: Annotated[
        bool, Parameter(negative=(), help="Exit with 0 while there are too few runs to compare.")
    ] = False,
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

    Each number of one scenario, store, profile, branch and unit is a course of its own; times of one machine only.
    """
    settings = load_settings({"fail_on": fail_on, "summary": summary, "slowdown": slowdown})
    fail_on_it = fail_on_of(settings.fail_on)
    if recent < 1 or better not in ("less", "more"):
        raise UsageError("--recent is 1 or more, --better is less or more", remedy="correct it")
    chosen = branch if branch and ":" not in branch else None  # a column's branch, not a repository's
    history = _history(directory, branch if chosen is None else None)
    entries = [*map(entry_of, history.runs), *_imported(imports or [], better, chosen)]
    trends = find_trends(
        entries, recent=recent, slowdown=parse_share(settings.slowdown), commits=known_commits(entries),
        renames=parse_renames(rename or [], entries), notes=history.notes, damaged=history.damaged,
    )  # fmt: skip
    if otava is not None:
        check_writable(otava)
        for path in write_otava(entries, otava):
            console.print(str(path))
    settings = replace(settings, json=json)
    code = trends_exit_code(trends, fail_on_it, few_ok=few_ok)
    if not history.runs:
        _show_imported(trends, fail_on_it, out, settings)
        return code
    result = trend_result(history.runs[-1].result, trends, command=command_line(), fail_on=fail_on_it)
    _show(result, encode_trends(trends), "trends.json", out, settings)
    return code


def known_commits(entries: Sequence[Entry]) -> dict[str, int]:
    """The commits of the repository that one stands in, by their order; none where no entry names one, or outside."""
    if not any(_COMMIT.fullmatch(entry.commit) for entry in entries):
        return {}
    try:
        return commit_places(repository_of(Path.cwd()))
    except (UsageError, CannotRunError):
        return {}


def _history(directory: Path | None, branch: str | None) -> KeptRuns:
    if directory is not None and branch is not None:
        raise UsageError("a folder and a branch", remedy="name one of them")
    if branch is not None:
        return read_branch(repository_of(Path.cwd()), branch)
    return read_runs(directory) if directory is not None else KeptRuns([], {}, [])


def _imported(paths: list[Path], better: str, branch: str | None) -> list[Entry]:
    """The tables' rows, of one branch where one is named, and the files of JMH's."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    tables = [file for file in files if file.suffix.lower() == ".csv"]
    others = [file for file in files if file not in tables and (file in paths or file.suffix == ".json")]
    rows = [entry for file in tables for entry in read_table(file, better)]
    if branch is not None:
        branches = sorted({entry.branch for entry in rows} - {""})
        if branch not in branches:
            raise UsageError(
                f"no row is of branch {branch!r}",
                remedy=f"branches are {', '.join(branches)}"
                if branches
                else "name a repository's: main:results",
            )
        rows = [entry for entry in rows if entry.branch == branch]
    return [*rows, *read_jmh_files(others)]


def _show_imported(trends: Trends, fail_on: FailOn, out: Path | None, settings: Settings) -> None:
    """Without a result of ours there is no environment to make a page of: the section, and the document."""
    section = trend_section(trends, fail_on)
    if settings.json:
        sys.stdout.write(encode_trends(trends).decode())
    else:
        screen.print(render_section(section))
    if out is not None:
        check_writable(out)
        write_whole(out / "trends.json", encode_trends(trends))
        write_whole(out / "trends.md", "\n".join(section_lines(section)).encode("utf-8", "replace"))
    if not settings.json:
        verdict, reasons = judge_trends(trends, fail_on)
        screen.print(f"verdict: {verdict.value}", *reasons, sep="\n  ")


def _show(result: RunResult, document: bytes, name: str, out: Path | None, settings: Settings) -> None:
    """The result shown, and the document next to its reports where a folder is named."""
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
