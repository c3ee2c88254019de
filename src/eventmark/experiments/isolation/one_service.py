"""Isolation in one service: victim and aggressor in one process, on one opened store and one pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import ClassVar

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.isolation.aggressors import missing
from eventmark.experiments.isolation.isolation import (
    STAGE,
    Isolation,
    bottleneck_beside,
    results_of,
)
from eventmark.experiments.isolation.legs import Duel, Leg, Trio, Way, run_leg, turns_of
from eventmark.experiments.isolation.lone_tenant import (
    Lone,
    lone_figures,
    lone_loads,
    lone_section,
    measure_lone,
)
from eventmark.experiments.isolation.one_service_report import Outcome, service_section, summary_section
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.loadgen.plan import CLIENT
from eventmark.results.results import Figure
from eventmark.server import machine
from eventmark.workers.cluster import taken_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class OneService(Experiment):
    """``setting`` measured within one service: alone, under the aggressor's load, and under it with the bound.

    ``tenant_pool_max`` is the bound, the most connections of one tenant while another one is present; 0 for
    ``default_bound``. Raises ``UsageError`` for a bound that the pool or the aggressor's users can never reach.
    """

    name: ClassVar[str] = "isolation in one service"
    setting: Isolation = field(default_factory=Isolation)
    tenant_pool_max: int = 0

    watched: ClassVar[bool] = False

    def __post_init__(self) -> None:
        pool_max, users = self.setting.pool_max, self.setting.users
        if not 0 < self.bound < pool_max:
            raise UsageError(
                f"one tenant may hold from 1 to {pool_max - 1} of {pool_max} connections, got {self.bound}",
                remedy="correct --tenant-pool-max, or raise --pool",
            )
        if users <= self.bound:
            raise UsageError(
                f"{users} users of the aggressor never reach a bound of {self.bound} connections",
                remedy="raise --aggressor-users, or lower --tenant-pool-max",
            )

    @property
    def bound(self) -> int:
        return self.tenant_pool_max or default_bound(self.setting.pool_max, self.setting.users)

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        return self.setting.own_statements

    def measure(self, run: Run) -> Findings:
        duel = replace(self.setting, through=CLIENT).duel_of(run)
        trios: list[Trio] = []
        users = min(max(duel.users, 2 * self.bound), self.setting.pool_max)
        lone, left_out = lone_loads(duel, users)
        run.skipped |= left_out
        run.so_far = lambda: self._findings(duel, trios, lone)
        with taken_workers(duel.job.cluster, 1) as workers:
            self._measure(duel, run, trios, lone, workers)
        return self._findings(duel, trios, lone)

    def _measure(
        self, duel: Duel, run: Run, trios: list[Trio], lone: Sequence[Lone], workers: Executor
    ) -> None:
        """Every kind of aggressor in turns, then the tenant alone; into ``trios`` and ``lone``."""
        rounds, kinds = self.setting.rounds, []
        for kind in self.setting.kinds:
            if reason := missing(kind, duel.job.definition, duel.sample, duel.aggressor_tenant):
                run.skipped[kind] = reason
            else:
                kinds.append(kind)
        total, done = rounds * (len(Way) * len(kinds) + 2 * len(lone)), 0
        bounded = replace(duel, victim=replace(duel.victim, tenant_pool_max=self.bound))
        with run.phase("isolate"):
            for kind in kinds:
                trios.append(trio := Trio(kind))
                for way in turns_of(rounds):
                    run.progress(STAGE, done, total)
                    done += 1
                    given = bounded if way is Way.BOUNDED else duel
                    leg = run_leg(given, None if way is Way.ALONE else kind, done, workers)
                    trio.legs[way].append(leg)
        with run.phase("lone tenant"):
            for turns in lone:
                for _ in measure_lone(duel, turns, self.bound, rounds, done + 1, workers):
                    done += 1
                    run.progress(STAGE, done, total)

    def _findings(self, duel: Duel, trios: Sequence[Trio], lone: Sequence[Lone]) -> Findings:
        """Of the kinds with a leg of each way. Raises ``CannotRunError`` where there is none."""
        outcomes = [
            Outcome(trio=trio, inflation_max=self.setting.inflation_max) for trio in trios if trio.is_whole
        ]
        if trios and not outcomes:
            raise CannotRunError("no round of legs was measured to its end")
        legs: dict[str, Sequence[Leg]] = {
            Way.ALONE.value: [leg for outcome in outcomes for leg in outcome.trio.legs[Way.ALONE]]
        }
        legs |= {f"beside {outcome.trio.kind}": outcome.trio.legs[Way.BOUNDED] for outcome in outcomes}
        told = {
            f"beside {outcome.trio.kind} {Way.UNBOUNDED}": outcome.trio.legs[Way.UNBOUNDED]
            for outcome in outcomes
        }
        judged = results_of(duel.job, legs)
        return Findings(
            operations=judged | results_of(duel.job, told),
            counted=list(judged),
            figures={
                "tenant_pool_max": Figure(value=float(self.bound), unit="connections", exact=True),
                **{name: figure for outcome in outcomes for name, figure in outcome.figures().items()},
                **lone_figures(lone),
            },
            sections=[
                summary_section(outcomes, duel, self.bound),
                *(service_section(outcome, duel) for outcome in outcomes),
                *lone_section(lone, duel, self.bound),
                *bottleneck_beside([outcome.bounded for outcome in outcomes], shared=True),
            ],
            through=CLIENT,
        )


def default_bound(pool_max: int, users: int) -> int:
    """As many connections as this machine has cores, which stand for the server's: more of them run no more at once.

    At most half of the pool, and half of the aggressor's users, or it would bound nothing.
    """
    return max(1, min(machine.cpu_count(), pool_max // 2, users // 2))
