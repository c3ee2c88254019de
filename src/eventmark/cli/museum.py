"""museum: incidents that others had, flagged and passed."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario
from eventmark.experiments.museum.museum import Museum, chosen_exhibits


def museum(
    *,
    exhibit: Annotated[
        str | None, Parameter(group="Museum", help="One exhibit by its name, such as sixth-execution [all].")
    ] = None,
    options: Options | None = None,
) -> int:
    """Run incidents that users of event stores reported: does Eventmark flag the faulty way and pass the sound one?"""
    settings = (options or Options()).settings(exhibit=exhibit)
    return run_scenario(Museum(exhibits=chosen_exhibits(settings.exhibit)), settings)
