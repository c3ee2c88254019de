"""stress, soak, isolate: what happens under pressure, for long, and beside others."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario
from eventmark.scenarios.pressure.stress import CASES, Stress, chosen_cases

_STRESS = "Stress"


def stress(
    *,
    cases: Annotated[
        str | None, Parameter(group=_STRESS, help=f"Which cases, of {', '.join(CASES)} [all].")
    ] = None,
    options: Options | None = None,
) -> int:
    """Pools too small and exhausted, refused connections, hot aggregates, deadlocks, long transactions, checkpoints.

    After each case every append is held against what is stored, and the system is to be as it was before.
    """
    settings = (options or Options()).settings(cases=cases)
    return run_scenario(Stress(cases=chosen_cases(settings.cases)), settings, keep=True)
