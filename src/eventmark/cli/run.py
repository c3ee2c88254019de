"""run, bench, explain, limits: what measures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from eventmark.cli.options import Options
from eventmark.cli.progress import progress_bars
from eventmark.cli.session import console, job_of, screen
from eventmark.config import Settings
from eventmark.errors import CannotRunError
from eventmark.measure.files import write_result
from eventmark.measure.results import OperationResult, RunResult, Verdict
from eventmark.measure.verdicts import exit_code, overall
from eventmark.report import render_operations, render_plans, render_terminal, write_reports
from eventmark.scenarios.group_append import GroupAppend
from eventmark.scenarios.job import Job, fill, prepare_store
from eventmark.scenarios.main_job import MainJob, examine_all_plans, measure
from eventmark.scenarios.metering import Metering, metered
from eventmark.scenarios.row_level_security import RowLevelSecurity
from eventmark.scenarios.scenario import Scenario
from eventmark.seeding import Progress


def run(*, options: Options | None = None) -> int:
    """Provision, seed, measure, examine the plans, judge, and write the report."""
    return run_scenario(MainJob(), (options or Options()).settings())


def run_scenario(scenario: Scenario, settings: Settings, *, keep: bool = False) -> int:
    """Run it on the settings' job, write its result and reports, and return the exit code."""
    check_writable(Path(settings.out))
    with job_of(settings, keep=keep) as job, _served(job, settings) as metering:
        with progress_bars(console) as progress:
            result = scenario.run(job, progress)
        if metering is not None:
            metering.finish(result)
    return finish(settings, result)


@contextmanager
def _served(job: Job, settings: Settings) -> Iterator[Metering | None]:
    """The metrics of a run, where its settings name a port for them."""
    if not settings.metrics_port:
        yield None
        return
    with metered(job.server, job.schema, settings.metrics_port) as metering:
        yield metering


def finish(settings: Settings, result: RunResult) -> int:
    """Write the result and its reports, show it, and return the exit code."""
    out = Path(settings.out)
    write_result(result, out / "result.json")
    written = write_reports(result, out)
    if settings.json:
        sys.stdout.write((out / "result.json").read_text())
    else:
        screen.print(render_terminal(result))
        screen.print(f"{out / 'result.json'}, " + ", ".join(str(path) for path in written.values()))
    return exit_code(result.verdict)


def bench(
    *,
    group: Annotated[
        bool, Parameter(negative=(), help="Group append by 1, 64 and 256 callers beside pgbench instead.")
    ] = False,
    rls: Annotated[
        bool, Parameter(negative=(), help="What row-level security costs each operation instead.")
    ] = False,
    options: Options | None = None,
) -> int:
    """Measure the core operations on a corpus that is kept; seeds it where it is not there yet."""
    settings = (options or Options()).settings()
    if group or rls:
        return run_scenario(GroupAppend() if group else RowLevelSecurity(), settings)
    with job_of(settings, keep=True) as job, progress_bars(console) as progress:
        _fill(job, progress)
        operations, skipped = measure(job, progress)
    screen.print(render_operations(operations, skipped))
    return exit_code(_verdict_of(operations))


def explain(*, options: Options | None = None) -> int:
    """Examine the plan of every statement on a corpus that is kept."""
    settings = (options or Options()).settings()
    with job_of(settings, keep=True) as job, progress_bars(console) as progress:
        _fill(job, progress)
        plans = examine_all_plans(job, progress)
    screen.print(render_plans(plans))
    return exit_code(overall((plan.statement, plan.verdict, "") for plan in plans)[0])


def limits(*, options: Options | None = None) -> int:
    """How far each operation is from what pgbench, psql, the bare driver and a known library do."""
    settings = (options or Options()).settings()
    with job_of(settings, keep=True) as job, progress_bars(console) as progress:
        _fill(job, progress)
        operations, skipped = measure(job, progress)
    table = Table(title="distance from the floor", title_justify="left")
    for name in ("operation", "ours, p50 ms", "tool", "its figure", "ratio"):
        table.add_column(name, justify="left" if name in ("operation", "tool") else "right")
    for name, operation in operations.items():
        for floor in operation.floors:
            table.add_row(
                name, f"{operation.latency_ms.p50:.3f}", floor.tool, f"{floor.value:.3f} ms {floor.statistic}",
                f"{floor.ratio:.2f}",
            )  # fmt: skip
    screen.print(table)
    for name, reason in skipped.items():
        screen.print(f"skipped {name}: {reason}")
    return (
        0 if any(operation.floors for operation in operations.values()) else exit_code(Verdict.INCONCLUSIVE)
    )


def check_writable(out: Path) -> None:
    """Before an hour's work, not after it. Raises ``CannotRunError``."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".eventmark-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotRunError(
            f"{out} cannot be written: {error.strerror}", remedy="name a folder that can be, with --out"
        ) from error


def _fill(job: Job, progress: Progress) -> None:
    prepare_store(job)
    fill(job, progress)


def _verdict_of(operations: dict[str, OperationResult]) -> Verdict:
    return overall((name, one.verdict, one.reason) for name, one in operations.items())[0]
