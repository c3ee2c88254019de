"""Throughput and latency from 1 to 64 clients, operation by operation, the law they follow, and what ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import ClassVar

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError
from eventmark.experiments.load.levels import Level, swept
from eventmark.experiments.load.sweep_sections import sweep_figures, sweep_sections
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.bottleneck import find_bottleneck
from eventmark.judgement.evidence import Evidence
from eventmark.judgement.operation import CORE_FULL
from eventmark.judgement.symptoms import Limit
from eventmark.loadgen.generator import OnPulse, Watcher, on_pulse, possible_mix, run_load
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import WIRE, LoadPlan
from eventmark.operations.catalogue import OPERATIONS
from eventmark.seeding import CorpusSample
from eventmark.stats.quantiles import latency_of
from eventmark.workers.cluster import taken_workers

STAGE = "sweep"
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
SERVED = tuple(name for name, kind in OPERATIONS.items() if kind.statement)
"""The operations that ask the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep(Experiment):
    """Each of ``operations`` by each number of ``clients``, in a closed loop of ``seconds`` without thought.

    Every client has a connection of its own, and each worker one more, for its store's notifications.
    ``warm_rounds`` as in ``LoadPlan``; ``own`` are the statements of the user's own among the operations.
    """

    name: ClassVar[str] = "sweep"
    operations: Sequence[str] = SERVED
    own: Mapping[str, Statement] = field(default_factory=dict)
    clients: Sequence[int] = CLIENTS
    seconds: float = 3.0
    workers: int = 1
    warm_rounds: int = 2
    seed: int = 1
    through: str = WIRE
    watch: Watcher | None = None

    watched: ClassVar[bool] = False

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        return self.own

    def measure(self, run: Run) -> Findings:
        job, progress = run.job, run.progress
        wanted = Mix.of(dict.fromkeys(self.operations, 1.0), self.own)
        names = list(possible_mix(wanted, job, run, run.sample).shares)
        scenario = self if job.cluster is None else replace(self, workers=len(job.cluster.members))
        with taken_workers(job.cluster, scenario.workers) as executor:
            sweeper = _Sweeper(scenario, job, run.sample, run, executor, on_pulse(run, self.watch))
            run.so_far = sweeper.findings
            for number, name in enumerate(names):
                progress(STAGE, number, len(names))
                with run.phase(name):
                    sweeper.sweep(name)
        progress(STAGE, len(names), len(names))
        return sweeper.findings()


@dataclass(slots=True)
class _Sweeper:
    """Makes the loads of a sweep. ``evidence`` is of each operation by the most clients."""

    scenario: Sweep
    job: Job
    sample: CorpusSample
    run: Run
    executor: Executor
    pulse: OnPulse | None
    evidence: dict[str, Evidence] = field(default_factory=dict)
    levels: dict[str, list[Level]] = field(default_factory=dict)

    def sweep(self, name: str) -> None:
        for clients in self.scenario.clients:
            level = self._level(name, clients)
            self.levels.setdefault(name, []).append(level)

    def findings(self) -> Findings:
        """Raises ``CannotRunError`` where no level has ended."""
        if not self.levels:
            raise CannotRunError("no number of clients was measured to its end")
        sweeps = [swept(name, levels) for name, levels in self.levels.items()]
        return Findings(
            figures=sweep_figures(sweeps),
            sections=sweep_sections(sweeps),
            evidence=self.evidence[sweeps[0].name],
            through=self.scenario.through,
        )

    def _level(self, name: str, clients: int) -> Level:
        scenario = self.scenario
        plan = LoadPlan(
            mix=Mix.of({name: 1.0}, scenario.own), seconds=scenario.seconds, users=clients, workers=scenario.workers,
            pool_max=clients + scenario.workers, seed=scenario.seed, warm_rounds=scenario.warm_rounds,
            through=scenario.through,
        )  # fmt: skip
        watch = self.run.watch()
        outcome = run_load(
            self.job, self.sample, plan, executor=self.executor, watch=self.pulse, during=watch
        )
        self.evidence[name] = watch.evidence(outcome.call_times, application=STORE_APPLICATION)
        return _level(clients, outcome, self.evidence[name])


def _level(clients: int, outcome: LoadOutcome, evidence: Evidence) -> Level:
    """A worker that used its core up is the limit, whatever else was seen."""
    (operation,) = outcome.judged.values()
    full = outcome.health.cpu_share >= CORE_FULL
    return Level(
        clients=clients,
        throughput_per_s=outcome.achieved_per_s,
        latency=latency_of(operation.latency_ns) if operation.succeeded else None,
        failed=operation.failed,
        conflicted=operation.conflicted,
        cpu_share=outcome.health.cpu_share,
        limit=Limit.CLIENT if full else find_bottleneck(evidence).limit,
        server_cores=evidence.server.cores if evidence.server else None,
        generator_cores=evidence.client.cores if evidence.client else None,
    )
