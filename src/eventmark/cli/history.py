"""compare: two results held against each other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.publish import announce
from eventmark.cli.run import check_writable
from eventmark.cli.session import command_line, screen
from eventmark.config import Settings, load_settings, parse_share
from eventmark.history import compare_results, encode_comparison, fail_on_of, result_of
from eventmark.measure.files import read_result, write_whole
from eventmark.measure.results import RunResult
from eventmark.measure.verdicts import exit_code
from eventmark.report import render_terminal, write_reports

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
