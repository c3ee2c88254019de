"""load, capacity, sweep: what happens under load, how much of it holds, and how it grows with clients."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated

from cyclopts import Parameter

from eventmark.choices import unknown
from eventmark.cli.options import Options, checked_seconds
from eventmark.cli.run import run_watched
from eventmark.config import Settings
from eventmark.errors import UsageError
from eventmark.experiments.load.capacity import CapacityPlan, CapacitySearch
from eventmark.experiments.load.load import Load
from eventmark.experiments.load.sweep import SERVED, Sweep
from eventmark.jobs.profiles import find_profile
from eventmark.loadgen.mix import Mix, parse_mix
from eventmark.loadgen.plan import LoadPlan, checked_through
from eventmark.results.targets import is_own, parse_targets
from eventmark.server import machine
from eventmark.workers.cluster import SCHEME
from eventmark.workload.arrivals import Arrivals, parse_stages

WORKERS_MAX = 4
"""Worker processes unless somebody asks for more."""

LOAD_S = {"quick": 3.0, "standard": 30.0, "full": 300.0}
CAPACITY_FIRST_PER_S = 200
SWEEP_QUICK = ("append_events[1]", "read_snapshot")
_LOAD = "Load"


@dataclass(frozen=True, slots=True)
class _Lengths:
    """By profile: seconds of a short probe and of a long one at least and at most, how many probes, warm-up."""

    probe_s: float
    confirm_s: float
    confirm_max_s: float
    probes_max: int
    level_s: float
    warm_rounds: int


_LENGTHS = {
    "quick": _Lengths(0.5, 1.5, 3.0, 4, 0.25, 1),
    "standard": _Lengths(5.0, 90.0, 120.0, 16, 3.0, 6),
    "full": _Lengths(15.0, 120.0, 600.0, 20, 10.0, 6),
}


@Parameter(name="*")
@dataclass(kw_only=True)
class LoadOptions:
    """What the verbs of load have in common; None where nothing was given."""

    mix: Annotated[
        str | None,
        Parameter(
            group=_LOAD,
            help='Operations by weight, e.g. "append_events[1]=9, sql/orders.sql=1": a file is a SELECT of your own.',
        ),
    ] = None
    workers: Annotated[
        str | None,
        Parameter(
            group=_LOAD,
            help="Processes that generate the load, or a Dask cluster's: dask://host:8786 [one per core, at most 4].",
        ),
    ] = None
    pool: Annotated[int | None, Parameter(group=_LOAD, help="Connections of all workers together [20].")] = (
        None
    )
    seconds: Annotated[int | None, Parameter(group=_LOAD, help="How long it lasts [by the profile].")] = None
    deadline_ms: Annotated[
        int | None, Parameter(group=_LOAD, help="An operation that takes longer has failed [10000].")
    ] = None
    contended_percent: Annotated[
        int | None,
        Parameter(group=_LOAD, help="Percent of the appends that go to four streams all workers share [0]."),
    ] = None
    through: Annotated[
        str | None,
        Parameter(
            group=_LOAD,
            help="wire: statements sent by libpq, encoded beforehand; client: calls of the store's own client [wire].",
        ),
    ] = None

    def given(self) -> dict[str, int | str | None]:
        return asdict(self) | {"seconds": checked_seconds(self.seconds)}


def load(
    *,
    rate: Annotated[int | None, Parameter(group=_LOAD, help="Operations per second [500].")] = None,
    arrivals: Annotated[
        str | None, Parameter(group=_LOAD, help="constant, poisson, ramp, spike or step [poisson].")
    ] = None,
    stages: Annotated[
        str | None,
        Parameter(
            group=_LOAD,
            help="The rate over time instead, each stage moving evenly to its own: 30s:100,2m:1000,30s:0.",
        ),
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
    _check_stages(stages, rate=rate, arrivals=arrivals, users=users, seconds=own["seconds"])
    settings = (options or Options()).settings(
        rate=rate, arrivals=arrivals, stages=stages, users=users, think_ms=think_ms, **own
    )
    plan = plan_of(settings, settings.seconds or LOAD_S[find_profile(settings.profile).name])
    return run_watched(lambda watch: Load(plan=plan, watch=watch), settings, keep=True)


def _check_stages(stages: str | None, **others: int | str | None) -> None:
    """Raises ``UsageError`` where the rate over time is told twice."""
    given = [name for name, value in others.items() if value is not None]
    if stages and given:
        raise UsageError(
            f"--stages has its own rate and length: --{given[0]} cannot be given as well",
            remedy="leave one of them out",
        )


def plan_of(settings: Settings, seconds: float) -> LoadPlan:
    """The load of the settings. Raises ``UsageError``."""
    if settings.think_ms and not settings.users:
        raise UsageError(
            "--think-ms needs --users", remedy="leave it out with a rate: nobody waits between arrivals"
        )
    arrivals = None if settings.users else Arrivals(settings.arrivals, settings.rate)
    if settings.stages:
        arrivals = Arrivals.staged(parse_stages(settings.stages))
        seconds = arrivals.stage_ends_s[-1]
    return LoadPlan(
        mix=mix_of(settings),
        seconds=seconds,
        arrivals=arrivals,
        users=settings.users,
        think_s=settings.think_ms / 1000,
        workers=worker_count(settings),
        pool_max=settings.pool,
        deadline_s=settings.deadline_ms / 1000,
        seed=settings.seed,
        contended_share=settings.contended_percent / 100,
        through=settings.through,
    )


def mix_of(settings: Settings, default: str = "") -> Mix:
    """The mix of the settings. Raises ``UsageError``, also for a target of a statement that is not in it."""
    mix = parse_mix(settings.mix or default)
    for name in parse_targets(settings.target):
        if mix.own and is_own(name) and name not in mix.own:
            raise unknown("statement", name, mix.own, source="--target")
    return mix


def worker_count(settings: Settings, default: int = 0) -> int:
    """Worker processes of this machine, by default one for each core; a cluster has as many workers as it has.

    Raises ``UsageError``.
    """
    default = default or min(machine.cpu_count(), WORKERS_MAX)
    if not settings.workers or settings.workers.startswith(SCHEME):
        return default
    if not settings.workers.removeprefix("-").isdecimal():
        raise UsageError(
            f"--workers is a number or {SCHEME}host:port, got {settings.workers!r}", remedy="correct it"
        )
    return int(settings.workers) or default


def check_workers(settings: Settings, verb: str) -> None:
    """For a verb that chooses how many processes it has itself. Raises ``UsageError`` where they are no cluster's."""
    if settings.workers and not settings.workers.startswith(SCHEME):
        raise UsageError(
            f"{verb} chooses how many processes it has, and --workers whose, got {settings.workers!r}",
            remedy=f"write {SCHEME}host:port, or leave it out for processes of this machine",
        )


def capacity(
    *,
    rate: Annotated[
        int | None, Parameter(group=_LOAD, help="Operations per second to be tried first [200].")
    ] = None,
    load_options: LoadOptions | None = None,
    options: Options | None = None,
) -> int:
    """Search the highest sustained rate at which every operation of the mix meets its target, and confirm it.

    ``--seconds`` is how long the rate is confirmed.
    """
    own = (load_options or LoadOptions()).given()
    settings = (options or Options()).settings(rate=rate or CAPACITY_FIRST_PER_S, **own)
    lengths = _LENGTHS[find_profile(settings.profile).name]
    confirm_s = settings.seconds or lengths.confirm_s
    plan = CapacityPlan(
        load=replace(plan_of(settings, lengths.probe_s), warm_rounds=lengths.warm_rounds),
        probe_s=lengths.probe_s,
        confirm_s=confirm_s,
        confirm_max_s=max(lengths.confirm_max_s, confirm_s),
        probes_max=lengths.probes_max,
    )
    return run_watched(lambda watch: CapacitySearch(plan=plan, watch=watch), settings, keep=True)


def sweep(
    *,
    load_options: LoadOptions | None = None,
    options: Options | None = None,
) -> int:
    """Measure each operation by 1 to 64 clients, and fit the Universal Scalability Law.

    Every operation that asks the server, or those of ``--mix``; ``--seconds`` is of each number of clients.
    """
    own = (load_options or LoadOptions()).given()
    settings = (options or Options()).settings(**own)
    profile = find_profile(settings.profile).name
    lengths = _LENGTHS[profile]
    mix = mix_of(settings) if settings.mix else None
    scenario = Sweep(
        operations=tuple(mix.shares) if mix else SWEEP_QUICK if profile == "quick" else SERVED,
        own=mix.own if mix else {},
        seconds=settings.seconds or lengths.level_s,
        workers=worker_count(settings),
        warm_rounds=lengths.warm_rounds,
        seed=settings.seed,
        through=checked_through(settings.through),
    )
    return run_watched(lambda watch: replace(scenario, watch=watch), settings, keep=True)
