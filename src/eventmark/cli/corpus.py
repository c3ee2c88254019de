"""seed, audit: a corpus made, and what is in it proved."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.load import worker_count
from eventmark.cli.options import CorpusOptions
from eventmark.cli.progress import progress_bars
from eventmark.cli.session import console, job_of, screen
from eventmark.jobs.job import prepare_store
from eventmark.judgement.verdicts import exit_code
from eventmark.report import findings_table, render_table
from eventmark.seeding import audit as audit_corpus
from eventmark.seeding import seed as seed_corpus
from eventmark.seeding.seed import WORKERS
from eventmark.server.loop import on_loop


def seed(
    *,
    workers: Annotated[
        str | None,
        Parameter(group="Corpus", help="Processes that load it, or a Dask cluster's: dask://host:8786 [2]."),
    ] = None,
    options: CorpusOptions | None = None,
) -> int:
    """Fill a store with a corpus and keep it. Goes on where an interrupted seeding stopped."""
    settings = (options or CorpusOptions()).settings(workers=workers)
    count = worker_count(settings, WORKERS)
    with job_of(settings, keep=True) as job:
        with progress_bars(console) as progress:
            prepare_store(job)
            report = on_loop(
                seed_corpus(
                    job.server.dsn,
                    job.definition,
                    job.corpus,
                    schema=job.schema,
                    workers=count,
                    cluster=job.cluster,
                    replace=job.replace,
                    progress=progress,
                )
            )
        if report.reused:
            screen.print(f"the corpus of {job.corpus.events:,} events is there already")
        else:
            stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.stage_seconds.items())
            screen.print(
                f"{report.events:,} events in {report.seconds:.1f} s, {report.events_per_s:,.0f} events/s ({stages})"
            )
    return 0


def audit(*, options: CorpusOptions | None = None) -> int:
    """Prove from the table itself what is in a corpus that was seeded."""
    settings = (options or CorpusOptions()).settings()
    with job_of(settings, keep=True, there=True) as job:
        with progress_bars(console) as progress:
            report = on_loop(
                audit_corpus(job.server.dsn, job.definition, schema=job.schema, progress=progress)
            )
        screen.print(render_table(findings_table(report.findings, "audit")))
    return exit_code(report.verdict)
