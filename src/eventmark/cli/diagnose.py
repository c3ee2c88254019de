"""doctor, report: the machine and the server looked at, a result shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from eventmark.cli.options import Options
from eventmark.cli.run import check_writable
from eventmark.cli.session import running_server, screen
from eventmark.measure.files import read_result
from eventmark.measure.verdicts import exit_code
from eventmark.report import render_findings, render_terminal, write_reports
from eventmark.seeding import estimated_bytes
from eventmark.server import examine, fitness
from eventmark.workload import CorpusPlan


def doctor(*, options: Options | None = None) -> int:
    """Say whether this machine and server are fit to measure, and how the server is tuned."""
    settings = (options or Options()).settings()
    corpus = CorpusPlan(settings.event_count, tenant_count=settings.tenants, payload_profile=settings.payload)
    with running_server(settings) as (server, place):
        findings = examine(server, place, estimated_bytes(corpus))
    screen.print(f"{server.kind} PostgreSQL {server.version}, {server.address}")
    if server.tuning:
        table = Table(title="tuning", title_justify="left")
        for name in ("setting", "value", "reason"):
            table.add_column(name)
        for setting in server.tuning:
            table.add_row(setting.name, setting.value, setting.reason)
        screen.print(table)
    screen.print(render_findings("machine and server", findings))
    return exit_code(fitness(findings))


def report(
    result: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Folder for the reports [the result's own].")] = None,
) -> int:
    """Show a RESULT (result.json) again, and write its reports anew."""
    found = read_result(result)
    directory = out or result.parent
    check_writable(directory)
    written = write_reports(found, directory)
    screen.print(render_terminal(found))
    screen.print(", ".join(str(path) for path in written.values()))
    return exit_code(found.verdict)
