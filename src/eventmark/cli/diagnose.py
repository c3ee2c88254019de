"""doctor, report: the machine and the server looked at, a result shown again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.options import CorpusOptions
from eventmark.cli.output import check_writable, screen
from eventmark.judgement.verdicts import exit_code, worst
from eventmark.report import findings_table, render_table, render_terminal, write_reports
from eventmark.results.files import read_result
from eventmark.results.results import Finding, Row, Table, Verdict, columns


def doctor(
    *,
    dsn: Annotated[str | None, Parameter(help="The same as --server with a DSN.")] = None,
    options: CorpusOptions | None = None,
) -> int:
    """Say whether this machine and server are fit to measure, how the server is tuned, and who holds consumers up."""
    from eventmark.cli.session import (  # not for --help: they bring every room
        corpus_of,
        running_server,
        tell_what_stays,
    )
    from eventmark.engine import find_stall
    from eventmark.seeding import estimated_bytes
    from eventmark.server import examine
    from eventmark.server.loop import ask

    settings = (options or CorpusOptions()).settings(**({"server": dsn} if dsn else {}))
    corpus = corpus_of(settings)
    with running_server(settings) as (server, directory):
        findings = examine(server, directory, estimated_bytes(corpus))
        stall = ask(server.dsn, find_stall)
    screen.print(f"{server.kind} PostgreSQL {server.version}, {server.address}")
    if server.tuning:
        rows: list[Row] = [[setting.name, setting.value, setting.reason] for setting in server.tuning]
        screen.print(
            render_table(Table(title="tuning", columns=columns("setting", "value", "reason"), rows=rows))
        )
    screen.print(render_table(findings_table(findings, "machine and server")))
    screen.print(f"horizon: held by {stall}" if stall else "horizon: no transaction holds consumers up")
    screen.print(_verdict_line(findings), soft_wrap=True)
    tell_what_stays(settings, server)
    return exit_code(worst(findings))


def _verdict_line(findings: Sequence[Finding]) -> str:
    verdict = worst(findings)
    names = ", ".join(finding.name for finding in findings if finding.verdict is verdict)
    meaning = {
        Verdict.MET: "fit to measure on",
        Verdict.BROKEN: f"measurements here would mislead: {names}",
        Verdict.INCONCLUSIVE: f"measurements here may mislead: {names}",
    }
    return f"verdict: {verdict.value}  {meaning[verdict]}"


def report(
    result: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Folder for the reports [the result's own].")] = None,
) -> int:
    """Show a RESULT (result.json) again, and write its reports anew."""
    result_read = read_result(result)
    directory = out or result.parent
    check_writable(directory)
    written = write_reports(result_read, directory)
    screen.print(render_terminal(result_read))
    screen.print(", ".join(str(path) for path in written.values()))
    return exit_code(result_read.verdict)
