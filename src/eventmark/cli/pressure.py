"""stress, soak, isolate: what happens under pressure, for long, and beside others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.load import LoadOptions, plan_of
from eventmark.cli.options import ScenarioOptions
from eventmark.cli.run import run_scenario, run_watched
from eventmark.measure.files import read_result
from eventmark.scenarios.pressure.soak import EVENTS_PER_S, Soak, half_of_capacity
from eventmark.scenarios.pressure.stress import CASES, Stress, chosen_cases
from eventmark.scenarios.profiles import find_profile
from eventmark.stores import find_store

SOAK_S = {"quick": 8.0, "standard": 600.0, "full": 3600.0}
_STRESS, _SOAK = "Stress", "Soak"


def stress(
    *,
    cases: Annotated[
        str | None, Parameter(group=_STRESS, help=f"Which cases, of {', '.join(CASES)} [all].")
    ] = None,
    options: ScenarioOptions | None = None,
) -> int:
    """Pools too small and exhausted, refused connections, hot aggregates, deadlocks, long transactions, checkpoints.

    After each case every append is held against what is stored, and the system is to be as it was before.
    """
    settings = (options or ScenarioOptions()).settings(cases=cases)
    return run_scenario(Stress(cases=chosen_cases(settings.cases)), settings, keep=True)


def soak(
    *,
    rate: Annotated[
        int | None, Parameter(group=_SOAK, help="Events appended per second, with reads between them [1000].")
    ] = None,
    capacity: Annotated[
        str | None, Parameter(group=_SOAK, help="A result of eventmark capacity: soak at half of it instead.")
    ] = None,
    load_options: LoadOptions | None = None,
    options: ScenarioOptions | None = None,
) -> int:
    """Append at a steady rate for long: does it hold, does memory rise, does latency, and what becomes of the tables?

    A rise of memory counts as one when it is sure to be more than negligible; a short run cannot tell.
    """
    own = (load_options or LoadOptions()).given()
    settings = (options or ScenarioOptions()).settings(capacity=capacity, **own)
    events_per_s, origin = float(rate or EVENTS_PER_S), ""
    if settings.capacity:
        result = read_result(Path(settings.capacity))
        events_per_s = half_of_capacity(result, find_store(settings.store).name)
        origin = "half of what the store's capacity is"
    plan = plan_of(settings, settings.seconds or SOAK_S[find_profile(settings.profile).name])
    return run_watched(
        lambda watch: Soak(load=plan, events_per_s=events_per_s, origin=origin, watch=watch),
        settings,
        keep=True,
    )
