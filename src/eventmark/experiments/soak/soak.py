"""A soak: appends at a steady rate with reads between them, for long; and what time does to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.soak.soak_report import garbage_section, soak_figures, soak_section
from eventmark.experiments.soak.soaked import Soaked
from eventmark.experiments.soak.upkeep import Upkeep, relations_after
from eventmark.experiments.soak.upkeep_report import upkeep_section
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.loadgen.generator import Watcher, on_pulse, possible_mix, run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.sections import generator_section, load_figures, load_section, load_series
from eventmark.operations.appends import AppendEvents
from eventmark.results.results import RunResult
from eventmark.server import Watch
from eventmark.server.extensions import missing_extension
from eventmark.server.loop import ask
from eventmark.workload.arrivals import Arrivals

EVENTS_PER_S = 1000.0
HALF = 0.5
WARM_ROUNDS = 6
"""A session's memory settles once it has the generic plan of each statement, which it makes at the sixth call."""

CAPACITY_FIGURE = "capacity_appended_events_per_s"


def half_of_capacity(result: RunResult, store: str) -> float:
    """Half the events per second that a result of ``eventmark capacity`` confirmed. Raises ``UsageError``."""
    figure = result.figures.get(CAPACITY_FIGURE)
    if figure is None:
        raise UsageError(
            "the result confirms no capacity of appends",
            remedy="name a result of eventmark capacity that does",
        )
    tested = result.environment.store.name
    if tested != store:
        raise UsageError(
            f"the capacity is that of store {tested!r}, not of {store!r}", remedy="search this one's"
        )
    return HALF * figure.value


def events_per_operation(mix: Mix) -> float:
    """Events appended by one operation of the mix on average."""
    return sum(
        share * kind.batch_events
        for name, share in mix.shares.items()
        if issubclass(kind := mix.operation(name), AppendEvents)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak(Experiment):
    """``load`` for its time, at ``events_per_s`` appended; ``origin`` says where that rate comes from."""

    name: ClassVar[str] = "soak"
    load: LoadPlan
    events_per_s: float = EVENTS_PER_S
    origin: str = ""
    watch: Watcher | None = None

    watched: ClassVar[bool] = False

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        return self.load.mix.own

    def measure(self, run: Run) -> Findings:
        job = run.job
        plan = self._plan(possible_mix(self.load.mix, job, run, run.sample))
        # On another's server it is used where it is installed
        ask(job.server.dsn, missing_extension, "pgstattuple", ours=job.server.ours)
        upkeep = Upkeep(job)
        watch = Watch(job.server, beside=upkeep.look)

        def cut(outcome: LoadOutcome) -> None:
            run.so_far = lambda: self._findings(run, outcome, upkeep, watch)

        with run.phase("soak"):
            outcome = run_load(
                job,
                run.sample,
                plan,
                progress=run.progress,
                watch=on_pulse(run, self.watch),
                during=watch,
                cut=cut,
            )
        return self._findings(run, outcome, upkeep, watch)

    def _findings(self, run: Run, outcome: LoadOutcome, upkeep: Upkeep, watch: Watch) -> Findings:
        job = run.job
        after, autovacuum = ask(job.server.dsn, relations_after, job.schema, job.definition.events_table)
        operations = to_results(outcome, job.targets)
        evidence = watch.evidence(outcome.call_times, application=STORE_APPLICATION)
        events_table = after[job.definition.events_table]
        soaked = Soaked(
            outcome=outcome, operations=operations, events_per_s=self.events_per_s,
            origin=self.origin, upkeep=upkeep, after=after, events_table=events_table.name,
            autovacuum=autovacuum, counters=evidence.counters,
            seconds=evidence.seconds,
        )  # fmt: skip
        run.series += load_series(outcome, run.at_s(outcome.started_s))
        run.series += upkeep.series(run.at_s(upkeep.began_s))
        return Findings(
            operations=operations, figures=load_figures(outcome) | soak_figures(soaked), evidence=evidence,
            through=outcome.plan.through,
            sections=[
                soak_section(soaked), garbage_section(soaked), upkeep_section(soaked),
                load_section(outcome, operations), generator_section(outcome),
            ],
        )  # fmt: skip

    def _plan(self, mix: Mix) -> LoadPlan:
        each = events_per_operation(mix)
        if not each:
            raise CannotRunError("the mix appends nothing", remedy="name one with appends, with --mix")
        warm_rounds = max(self.load.warm_rounds, WARM_ROUNDS)
        arrivals = Arrivals("poisson", self.events_per_s / each)
        return replace(self.load, mix=mix, arrivals=arrivals, warm_rounds=warm_rounds)
