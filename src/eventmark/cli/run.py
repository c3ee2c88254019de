"""run, bench, explain, baselines: what measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.live import live_view
from eventmark.cli.options import ExistingOptions, Options
from eventmark.cli.output import check_writable
from eventmark.cli.publish import announce, check_published, held_against_baseline
from eventmark.cli.session import console, job_of, screen
from eventmark.config import Settings
from eventmark.errors import UsageError
from eventmark.experiments.cliffs.cliffs import Cliffs
from eventmark.experiments.group_append.group_append import GroupAppend
from eventmark.experiments.isolation.row_level_security import RowLevelSecurity
from eventmark.experiments.run.golden import GoldenPlans
from eventmark.experiments.run.main_job import Baselines, CoreOperations, MainJob, Plans
from eventmark.experiments.run.observed import ObservedStatements
from eventmark.experiments.run.repetition import RepeatedPlans
from eventmark.instruments.profiler import check_profiler, profiling
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment, Interrupted
from eventmark.jobs.metering import Metering, metered
from eventmark.jobs.profiled import as_profiled
from eventmark.judgement.verdicts import exit_code
from eventmark.loadgen.generator import Watcher
from eventmark.report import render_terminal, write_reports
from eventmark.results.files import without_secrets, write_result
from eventmark.results.results import RunResult


def run(*, options: ExistingOptions | None = None) -> int:
    """Provision, seed, measure, examine the plans, judge, and write the report."""
    return run_scenario(MainJob(), (options or ExistingOptions()).settings())


def run_scenario(scenario: Experiment, settings: Settings, *, keep: bool = False) -> int:
    """Run it on the settings' job, write its result and reports, and return the exit code."""
    return run_watched(lambda _: scenario, settings, keep=keep)


def run_watched(make: Callable[[Watcher], Experiment], settings: Settings, *, keep: bool = False) -> int:
    """``run_scenario`` of a scenario that is made with somebody to tell its pulses to."""
    check_writable(Path(settings.out))
    check_published(settings)
    check_profiler(settings.profiler)
    with job_of(settings, keep=keep) as job:
        with served(job, settings) as metering:
            try:
                with live_view(console) as (progress, watch):
                    scenario = make(watch)
                    result, profiles = _profiled(lambda: scenario.run(job, progress), settings)
            except Interrupted as interruption:
                finish(settings, interruption.result)
                raise
            if profiles:
                console.print(f"profiles: {', '.join(str(file) for file in profiles)}", soft_wrap=True)
            if metering is not None:
                metering.finish(result)
        return finish(settings, result)


def _profiled(run: Callable[[], RunResult], settings: Settings) -> tuple[RunResult, list[Path]]:
    """The result, and the flame graphs of who made it, where a profiler was asked for."""
    with profiling(settings.profiler, Path(settings.out)) as profiles:
        if profiles is None:
            return run(), []
        result = profiles.run(run)
    return as_profiled(result, profiles.kind, profiles.files), profiles.files


@contextmanager
def served(job: Job, settings: Settings) -> Iterator[Metering | None]:
    """The metrics of a run, where its settings name a port for them."""
    if not settings.metrics_port:
        yield None
        return
    with metered(job.server, job.schema, settings.metrics_port) as metering:
        yield metering


def finish(settings: Settings, result: RunResult) -> int:
    """Show the result, write it and its reports, and return the exit code."""
    out = Path(settings.out)
    result = without_secrets(held_against_baseline(settings, result))
    if not settings.json:
        screen.print(
            render_terminal(result, verbose=settings.verbose)
        )  # first: whatever becomes of the files, it was not in vain
    write_result(result, out / "result.json")
    written = write_reports(result, out)
    if settings.json:
        screen.out((out / "result.json").read_text(encoding="utf-8"), highlight=False)
    else:
        files = [out / "result.json", *written.values()]
        screen.print(", ".join(map(str, files)))
    announce(settings, result)
    return exit_code(result.verdict)


def bench(
    *,
    group: Annotated[
        bool,
        Parameter(negative=(), help="Compare group append by 1, 64 and 256 callers with pgbench instead."),
    ] = False,
    rls: Annotated[
        bool, Parameter(negative=(), help="What row-level security costs each operation instead.")
    ] = False,
    options: ExistingOptions | None = None,
) -> int:
    """Measure the core operations on a corpus that is kept; seeds it where it is not there yet."""
    settings = (options or ExistingOptions()).settings()
    if group or rls:
        return run_scenario(GroupAppend() if group else RowLevelSecurity(), settings)
    return run_scenario(CoreOperations(), settings, keep=True)


def explain(
    *,
    cliffs: Annotated[
        bool,
        Parameter(
            negative=(), help="Run every statement under every condition instead, and list the cliffs."
        ),
    ] = False,
    golden: Annotated[
        bool, Parameter(negative=(), help="Compare the plans' shapes with the approved ones instead.")
    ] = False,
    approve: Annotated[bool, Parameter(negative=(), help="Approve the current plans instead.")] = False,
    observed: Annotated[
        bool,
        Parameter(
            negative=(), help="Examine the statements that a server in use has seen instead; with --existing."
        ),
    ] = False,
    repeat: Annotated[
        int | None,
        Parameter(
            help="Repeat this number of times on a busy machine, and check that verdicts stay the same."
        ),
    ] = None,
    options: ExistingOptions | None = None,
) -> int:
    """Examine the plan of every statement on a corpus that is kept; seeds it where it is not there yet."""
    settings = (options or ExistingOptions()).settings()
    scenario = _examination(cliffs=cliffs, golden=golden, approve=approve, observed=observed, repeat=repeat)
    if observed and not settings.existing:
        raise UsageError("--observed examines a server in use", remedy="add --existing and its --server")
    return run_scenario(scenario, settings, keep=True)


def _examination(
    *, cliffs: bool, golden: bool, approve: bool, observed: bool, repeat: int | None
) -> Experiment:
    """The plain examination, or what is asked for instead. Raises ``UsageError`` for more than one of them."""
    given = {
        "--cliffs": cliffs, "--golden": golden, "--approve": approve, "--observed": observed,
        "--repeat": repeat is not None,
    }  # fmt: skip
    asked = [name for name, value in given.items() if value]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} exclude each other", remedy="give one of them")
    if repeat is not None:
        if repeat < 2:
            raise UsageError(
                f"--repeat must be 2 or more, got {repeat}", remedy="write for example --repeat 20"
            )
        return RepeatedPlans(runs=repeat)
    if cliffs:
        return Cliffs()
    if observed:
        return ObservedStatements()
    return GoldenPlans(approve=approve) if golden or approve else Plans()


def baselines(*, options: Options | None = None) -> int:
    """How far each operation is from what pgbench, psql, the bare driver and a known library do."""
    return run_scenario(Baselines(), (options or Options()).settings(), keep=True)


def limits(*, options: Options | None = None) -> int:
    """The old name of eventmark baselines."""
    console.print(
        "eventmark limits is called eventmark baselines now; the old name goes with the next version"
    )
    return baselines(options=options)
