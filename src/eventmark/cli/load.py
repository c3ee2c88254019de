"""load, capacity, sweep: what happens under load, how much of it holds, and how it grows with clients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.options import Options, checked_seconds
from eventmark.cli.run import run_watched
from eventmark.config import Settings
from eventmark.errors import UsageError
from eventmark.scenarios.load.load import Load
from eventmark.scenarios.load.mix import parse_mix
from eventmark.scenarios.load.plan import LoadPlan
from eventmark.scenarios.profiles import find_profile
from eventmark.server import machine
from eventmark.workload.arrivals import Arrivals

WORKERS_MAX = 4
"""Worker processes unless somebody asks for more."""

LOAD_S = {"quick": 3.0, "standard": 30.0, "full": 300.0}
_LOAD = "Load"


@Parameter(name="*")
@dataclass(kw_only=True)
class LoadOptions:
    """What the verbs of load have in common; None where nothing was given."""

    mix: Annotated[
        str | None,
        Parameter(
            group=_LOAD, help='Operations by weight, e.g. "append_events[1]=9, load_aggregate[1000]=1".'
        ),
    ] = None
    workers: Annotated[
        int | None, Parameter(group=_LOAD, help="Processes that generate the load [one per core, at most 4].")
    ] = None
    pool: Annotated[int | None, Parameter(group=_LOAD, help="Connections of all workers together [20].")] = (
        None
    )
    seconds: Annotated[
        int | None, Parameter(group=_LOAD, help="How long it lasts [as the profile says].")
    ] = None
    deadline_ms: Annotated[
        int | None, Parameter(group=_LOAD, help="An operation that takes longer has failed [10000].")
    ] = None
    contended_percent: Annotated[
        int | None,
        Parameter(group=_LOAD, help="Percent of the appends that go to four streams all workers share [0]."),
    ] = None

    def given(self) -> dict[str, int | str | None]:
        return asdict(self) | {"seconds": checked_seconds(self.seconds)}


def load(
    *,
    rate: Annotated[int | None, Parameter(group=_LOAD, help="Operations per second [500].")] = None,
    arrivals: Annotated[
        str | None, Parameter(group=_LOAD, help="constant, poisson, ramp, spike or step [poisson].")
    ] = None,
    users: Annotated[
        int | None,
        Parameter(
            group=_LOAD, help="A closed loop instead: users who wait for each answer before they go on."
        ),
    ] = None,
    think_ms: Annotated[
        int | None, Parameter(group=_LOAD, help="How long a user thinks between calls, on average [0].")
    ] = None,
    load_options: LoadOptions | None = None,
    options: Options | None = None,
) -> int:
    """Generate load on a corpus that is kept, and judge every operation by its latency from when it was due.

    Operations come at their times whatever becomes of those before them (open loop), so that a stall is
    felt by everything that was due during it.
    """
    own = (load_options or LoadOptions()).given()
    settings = (options or Options()).settings(
        rate=rate, arrivals=arrivals, users=users, think_ms=think_ms, **own
    )
    plan = plan_of(settings, settings.seconds or LOAD_S[find_profile(settings.profile).name])
    return run_watched(lambda watch: Load(plan=plan, watch=watch), settings, keep=True)


def plan_of(settings: Settings, seconds: float) -> LoadPlan:
    """The load of the settings. Raises ``UsageError``."""
    if settings.think_ms and not settings.users:
        raise UsageError("--think-ms needs --users", remedy="arrivals do not think: name a rate alone")
    return LoadPlan(
        mix=parse_mix(settings.mix),
        seconds=seconds,
        arrivals=None if settings.users else Arrivals(settings.arrivals, settings.rate),
        users=settings.users,
        think_s=settings.think_ms / 1000,
        workers=worker_count(settings),
        pool_max=settings.pool,
        deadline_s=settings.deadline_ms / 1000,
        seed=settings.seed,
        contended_share=settings.contended_percent / 100,
    )


def worker_count(settings: Settings) -> int:
    return settings.workers or min(machine.cpu_count(), WORKERS_MAX)
