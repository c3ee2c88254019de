"""certify: one question, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.certify.certification import Certification, Stopped
from eventmark.certify.extents import CommonGround
from eventmark.cli.live import live_view
from eventmark.cli.load import worker_count
from eventmark.cli.options import ExistingOptions
from eventmark.cli.output import check_writable
from eventmark.cli.publish import check_published
from eventmark.cli.run import finish, served
from eventmark.cli.session import console, job_of
from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.kernel import Interrupted

MINUTES, MINUTES_MAX = 30, 7 * 24 * 60
_CERTIFY = "Certify"


def certify(
    *,
    minutes: Annotated[
        int | None, Parameter(group=_CERTIFY, help="How long it may take in all [30].")
    ] = None,
    resume: Annotated[
        bool,
        Parameter(group=_CERTIFY, negative=(), help="Continue after the parts whose results are in --out."),
    ] = False,
    workers: Annotated[
        str | None,
        Parameter(
            group=_CERTIFY,
            help="Processes that generate loads, or a Dask cluster's: dask://host:8786 [one per core, at most 4].",
        ),
    ] = None,
    options: ExistingOptions | None = None,
) -> int:
    """Will this event store hold, at production scale, under load, without losing an event?

    Everything that the answer needs, on one corpus and one server: lost events, operations alone and under load,
    plans, capacity, clients, tenants, growth, stress, a soak, advice. The minutes go to what decides most. The answer
    is a table of criteria; each part that is finished is kept in --out. With --existing, what reads alone is measured
    on the tables that are there, and the answer names what was not asked.
    """
    settings = (options or ExistingOptions()).settings({"baselines": False}, workers=workers)
    if settings.existing and settings.workers:
        raise UsageError(
            "--workers generate loads, which --existing does not put on tables in use", remedy="leave it out"
        )
    minutes = MINUTES if minutes is None else minutes
    if not 1 <= minutes <= MINUTES_MAX:
        raise UsageError(
            f"--minutes must be from 1 to {MINUTES_MAX}, got {minutes}", remedy="leave it out for 30"
        )
    if settings.profiler:
        raise UsageError("--profiler works for one part alone", remedy="profile that part by its own verb")
    out = Path(settings.out)
    check_writable(out)
    check_published(settings)
    with job_of(settings) as job, served(job, settings) as metering:
        certification = Certification(
            ground=CommonGround(job=job, out=out, workers=worker_count(settings), pool=settings.pool),
            minutes=minutes, resume=resume, view=lambda: live_view(console),
            say=lambda line: console.print(line, soft_wrap=True),
        )  # fmt: skip
        try:
            result = certification.run()
        except Interrupted as interruption:
            finish(settings, interruption.result)
            raise CannotRunError(
                "interrupted",
                remedy="with --resume, the same command goes on with the next part"
                + (
                    ""
                    if settings.keep or settings.existing
                    else "; with --keep as well, the corpus stays for it"
                ),
            ) from None
        except Stopped as stopped:
            finish(settings, stopped.result)
            raise stopped.error from None
        if metering is not None:
            metering.finish(result)
        return finish(settings, result)
