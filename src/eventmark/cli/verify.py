"""verify: the hunt for lost events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.load import check_workers
from eventmark.cli.options import ClusterFlag, Options, checked_seconds
from eventmark.cli.run import run_scenario
from eventmark.experiments.hunt.verification import Verification, chosen_orderings
from eventmark.stores import find_store

SECONDS = 1800
_HUNT = "Hunt"


def verify(
    *,
    ordering: Annotated[
        str | None,
        Parameter(
            group=_HUNT,
            help="Of the engine: horizon, gap_aware, table_lock, tenant_lock, naive or all [all].",
        ),
    ] = None,
    seconds: Annotated[
        int | None, Parameter(group=_HUNT, help="Longest time at full speed for each ordering [1800].")
    ] = None,
    workers: ClusterFlag = None,
    options: Options | None = None,
) -> int:
    """Hunt for lost events: concurrent writers and consumers, every invariant checked; what each ordering costs.

    ``--events`` are committed under each ordering of the engine's, or by the ``--store`` that is named.
    ``naive`` is a control that has to be caught.
    """
    settings = (options or Options()).settings(
        ordering=ordering, seconds=checked_seconds(seconds), workers=workers
    )
    check_workers(settings, "verify")
    orderings = chosen_orderings(settings.ordering, find_store(settings.store))
    return run_scenario(
        Verification(orderings=orderings, seconds=settings.seconds or SECONDS, out=Path(settings.out)),
        settings,
    )
