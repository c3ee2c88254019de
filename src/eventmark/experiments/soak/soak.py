"""A soak: appends at a steady rate with reads between them, for long; and what time does to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.soak.soak_report import garbage_section, soak_figures, soak_section
from eventmark.experiments.soak.soaked import Soaked
from eventmark.experiments.soak.upkeep import Upkeep, autovacuum_of, install_inspection, relations_after
from eventmark.experiments.soak.upkeep_report import upkeep_section
from eventmark.jobs.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.jobs.course import Course, corpus_figures, prepared_sample, unfit_machine
from eventmark.jobs.job import Job, prepare_store
from eventmark.judgement.verdicts import doubted, overall
from eventmark.loadgen.generator import Watcher, on_pulse, possible_mix, run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.sections import generator_section, load_figures, load_section, load_series
from eventmark.operations.appends import AppendEvents
from eventmark.operations.catalogue import OPERATIONS
from eventmark.results.results import RunResult
from eventmark.seeding import Progress, no_progress
from eventmark.server import Watch, slowed_by
from eventmark.workload.arrivals import Arrivals

EVENTS_PER_S = 1000.0
HALF = 0.5
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
        if issubclass(kind := OPERATIONS[name], AppendEvents)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """``load`` for its time, at ``events_per_s`` appended; ``origin`` says where that rate comes from."""

    name: ClassVar[str] = "soak"
    load: LoadPlan
    events_per_s: float = EVENTS_PER_S
    origin: str = ""
    watch: Watcher | None = None

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        with Course(job, progress, events_to_come=prepare_store(job)) as course:
            sample = prepared_sample(job, course, progress)
            plan = self._plan(possible_mix(self.load.mix, job, course, sample))
            asyncio.run(install_inspection(job))
            upkeep = Upkeep(job)
            with course.phase("soak"):
                watch = Watch(job.server, beside=upkeep.look)
                outcome = run_load(
                    job, sample, plan, progress=progress, watch=on_pulse(course, self.watch), during=watch
                )
            after = asyncio.run(relations_after(job))
        doubt = slowed_by(course.fitness)
        operations = {name: doubted(one, doubt) for name, one in to_results(outcome, job.targets).items()}
        evidence = watch.evidence(outcome.call_times, application=STORE_APPLICATION)
        events_table = after[job.definition.events_table]
        soaked = Soaked(
            outcome=outcome, operations=operations, events_per_s=self.events_per_s,
            origin=self.origin, upkeep=upkeep, after=after, events_table=events_table.name,
            autovacuum=asyncio.run(autovacuum_of(job, events_table)), counters=evidence.counters,
            seconds=evidence.seconds, doubt=doubt,
        )  # fmt: skip
        course.series += load_series(outcome, course.at_s(outcome.started_s))
        course.series += upkeep.series(course.at_s(upkeep.began_s))
        sections = [soak_section(soaked), garbage_section(soaked), upkeep_section(soaked)]
        found = {
            f"{section.title}, {finding.name}": finding
            for section in sections
            for finding in section.findings
        }
        verdict, reasons = overall([
            *((name, one.verdict, one.reason) for name, one in operations.items()),
            *((name, one.verdict, f"{one.observed}, expected {one.expected}") for name, one in found.items()),
            *unfit_machine(course),
        ])  # fmt: skip
        return course.result(
            verdict, reasons, operations=operations,
            figures=load_figures(outcome) | soak_figures(soaked) | corpus_figures(job),
            sections=[
                *sections, load_section(outcome, operations), generator_section(outcome.health, outcome.seconds),
                bottleneck_section(evidence),
            ],
        )  # fmt: skip

    def _plan(self, mix: Mix) -> LoadPlan:
        each = events_per_operation(mix)
        if not each:
            raise CannotRunError("the mix appends nothing", remedy="name one with appends, with --mix")
        return replace(self.load, mix=mix, arrivals=Arrivals("poisson", self.events_per_s / each))
