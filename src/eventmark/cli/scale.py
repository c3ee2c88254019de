"""scale: how a store stands the growth of its log."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario
from eventmark.experiments.scale.scale import Scale
from eventmark.experiments.scale.volumes import volumes_of
from eventmark.jobs.profiles import find_profile

_SCALE = "Scale"


def scale(
    *,
    to: Annotated[
        str | None, Parameter(group=_SCALE, help="The largest volume, e.g. 10M, 100M [ten times --events].")
    ] = None,
    steps: Annotated[
        str | None,
        Parameter(group=_SCALE, help="The volumes, e.g. 1M,2M,5M,10M [1, 2, 5, 10, 20, ... times --events]."),
    ] = None,
    options: Options | None = None,
) -> int:
    """Let one log grow through volumes, measure everything at each, and tell the law of its growth.

    ``--events`` is the smallest volume; a corpus of that size is kept as well, and each volume is measured in
    turns with it. What was measured is kept in the store: interrupted, the same command goes on.
    """
    settings = (options or Options()).settings(to=to, steps=steps)
    quick = find_profile(settings.profile).name == "quick"
    volumes = volumes_of(settings.event_count, settings.to, settings.steps, quick=quick)
    return run_scenario(Scale(volumes=volumes), settings, keep=True)
