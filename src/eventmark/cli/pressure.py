"""stress, soak, isolate: what happens under pressure, for long, and next to other tenants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.choices import chosen
from eventmark.cli.load import LoadOptions, mix_of, plan_of
from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario, run_watched
from eventmark.config import Settings
from eventmark.errors import UsageError
from eventmark.experiments.isolation.aggressors import KINDS
from eventmark.experiments.isolation.isolation import VICTIM_MIX, Isolation
from eventmark.experiments.isolation.one_service import OneService
from eventmark.experiments.soak.soak import EVENTS_PER_S, Soak, half_of_capacity
from eventmark.experiments.stress.stress import CASES, Stress
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.profiles import find_profile
from eventmark.loadgen.plan import WIRE, checked_through
from eventmark.results.files import read_result
from eventmark.stores import find_store

SOAK_S = {"quick": 8.0, "standard": 600.0, "full": 3600.0}
LEGS = {"quick": (1.0, 3, 1), "standard": (5.0, 6, 6), "full": (15.0, 10, 6)}
"""By profile: seconds of a leg, pairs of legs, rounds of warm-up."""

VICTIM_PER_S = 100
_STRESS, _SOAK, _ISOLATE = "Stress", "Soak", "Isolation"


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
    return run_scenario(Stress(cases=chosen(settings.cases, CASES, "case")), settings, keep=True)


def soak(
    *,
    rate: Annotated[
        int | None, Parameter(group=_SOAK, help="Events appended per second, with reads between them [1000].")
    ] = None,
    capacity: Annotated[
        str | None, Parameter(group=_SOAK, help="A result of eventmark capacity: soak at half of it instead.")
    ] = None,
    load_options: LoadOptions | None = None,
    options: Options | None = None,
) -> int:
    """Append at a steady rate for long: does it hold, does memory rise, does latency, and what becomes of the tables?

    A rise of memory counts as one when it is sure to be more than negligible; a short run cannot tell.
    """
    own = (load_options or LoadOptions()).given()
    settings = (options or Options()).settings(capacity=capacity, **own)
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


def isolate(
    *,
    against: Annotated[
        str | None, Parameter(group=_ISOLATE, help=f"Which aggressors, of {', '.join(KINDS)} [all].")
    ] = None,
    rate: Annotated[
        int | None, Parameter(group=_ISOLATE, help="Operations of the victim per second [100].")
    ] = None,
    victim: Annotated[
        str | None, Parameter(group=_ISOLATE, help="The tenant that is measured [a small one].")
    ] = None,
    aggressor: Annotated[
        str | None, Parameter(group=_ISOLATE, help="The tenant that burdens the server [the largest].")
    ] = None,
    aggressor_users: Annotated[
        int | None, Parameter(group=_ISOLATE, help="How many of the aggressor work at once [4].")
    ] = None,
    inflation_max: Annotated[
        float | None,
        Parameter(
            group=_ISOLATE, help="How many times as long as alone the victim's p95 may take [2: a fair half]."
        ),
    ] = None,
    one_service: Annotated[
        bool | None,
        Parameter(
            group=_ISOLATE,
            negative=(),
            help="Both tenants in one process with one pool of connections, as in a service, "
            "with and without a bound on the connections of one tenant.",
        ),
    ] = None,
    tenant_pool_max: Annotated[
        int | None,
        Parameter(
            group=_ISOLATE,
            help="With --one-service: the most connections of one tenant while the other is active "
            "[one per core, at most half the pool and half the aggressor's users].",
        ),
    ] = None,
    load_options: LoadOptions | None = None,
    options: Options | None = None,
) -> int:
    """Measure a tenant alone, and while another burdens the server, in turns; and what tenant filtering costs.

    ``--seconds`` is of each leg. The victim's targets have to hold under the aggressor's load as well.
    """
    own = (load_options or LoadOptions()).given()
    settings = (options or Options()).settings(
        against=against, victim=victim, aggressor=aggressor, aggressor_users=aggressor_users,
        inflation_max=inflation_max, one_service=one_service, tenant_pool_max=tenant_pool_max, **own,
    )  # fmt: skip
    if not 1.0 < settings.inflation_max <= 1000:
        raise UsageError(
            f"--inflation-max must be above 1, got {settings.inflation_max:g}", remedy="leave it out for 2"
        )
    if not 1 <= settings.aggressor_users <= 100:
        raise UsageError(
            f"--aggressor-users must be from 1 to 100, got {settings.aggressor_users}",
            remedy="leave it out for 4",
        )
    if tenant_pool_max == 0:
        raise UsageError("--tenant-pool-max must be from 1", remedy="leave it out for one that fits the pool")
    leg_s, rounds, warm_rounds = LEGS[find_profile(settings.profile).name]
    scenario = Isolation(
        kinds=chosen(settings.against, KINDS, "aggressor"), mix=mix_of(settings, VICTIM_MIX),
        rate_per_s=rate or VICTIM_PER_S, leg_s=settings.seconds or leg_s, rounds=rounds,
        users=settings.aggressor_users, pool_max=settings.pool, victim=settings.victim,
        aggressor=settings.aggressor, inflation_max=settings.inflation_max, warm_rounds=warm_rounds,
        through=checked_through(settings.through),
    )  # fmt: skip
    return run_scenario(_in_service(scenario, settings, own["through"]), settings, keep=True)


def _in_service(scenario: Isolation, settings: Settings, through: object) -> Experiment:
    """The scenario, or the same in one service where that is asked for. Raises ``UsageError``."""
    if not settings.one_service:
        if settings.tenant_pool_max:
            raise UsageError(
                "--tenant-pool-max needs --one-service",
                remedy="tenants in processes of their own share no pool",
            )
        return scenario
    if through == WIRE:
        raise UsageError(
            "--one-service measures the store's own client, and not --through wire",
            remedy="leave --through out",
        )
    return OneService(setting=scenario, tenant_pool_max=settings.tenant_pool_max)
