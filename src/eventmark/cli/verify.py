"""verify: the hunt for lost events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.options import Options
from eventmark.cli.progress import progress_bars
from eventmark.cli.run import check_writable, finish
from eventmark.cli.session import console, job_of
from eventmark.errors import UsageError
from eventmark.scenarios.verification import chosen_orderings, run_verification

_HUNT = "Hunt"


def verify(
    *,
    ordering: Annotated[
        str | None,
        Parameter(group=_HUNT, help="horizon, gap_aware, table_lock, tenant_lock, naive or all [all]."),
    ] = None,
    seconds: Annotated[
        int | None, Parameter(group=_HUNT, help="Longest time at full speed for each ordering [1800].")
    ] = None,
    options: Options | None = None,
) -> int:
    """Hunt for lost events: concurrent writers and consumers, every invariant checked; what each ordering costs.

    ``--events`` are committed under each ordering. ``naive`` is a control that has to be caught.
    """
    settings = (options or Options()).settings(ordering=ordering, seconds=seconds)
    if settings.seconds < 1:
        raise UsageError(
            f"--seconds must be 1 or more, got {settings.seconds}", remedy="leave it out for 1800"
        )
    orderings = chosen_orderings(settings.ordering)
    out = Path(settings.out)
    check_writable(out)
    with job_of(settings) as job, progress_bars(console) as progress:
        result = run_verification(job, orderings, seconds=settings.seconds, out=out, progress=progress)
    return finish(settings, result)
