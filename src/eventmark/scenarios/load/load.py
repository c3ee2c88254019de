"""An open or closed loop of a mix of operations, judged by latency from the due time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from eventmark.errors import CannotRunError
from eventmark.measure.results import Figure, OperationResult, RunResult, Verdict
from eventmark.measure.verdicts import overall
from eventmark.scenarios.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.scenarios.core.operations import STREAM_BATCH_EVENTS
from eventmark.scenarios.course import Course
from eventmark.scenarios.job import Job, draw_sample, fill, prepare_store
from eventmark.scenarios.load.generator import OnPulse, Pulse, run_load
from eventmark.scenarios.load.judge import to_results
from eventmark.scenarios.load.mix import Mix
from eventmark.scenarios.load.outcome import LoadOutcome
from eventmark.scenarios.load.plan import LoadPlan
from eventmark.scenarios.load.sections import generator_section, load_section, load_series
from eventmark.seeding import CorpusSample, Progress, no_progress
from eventmark.server import fitness

Watcher = Callable[[Pulse, Mapping[str, float]], None]
"""Told each pulse, and what the server's sessions wait for."""

_APPENDS = {"append_events[1]": 1, "append_events[10]": 10, "append_events[100]": 100}
_STREAM = "stream_events[1000]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``plan`` on the job's store; what the store cannot do is left out of the mix, with the reason."""

    name: ClassVar[str] = "load"
    plan: LoadPlan
    watch: Watcher | None = None

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        prepare_store(job)
        with Course(job, progress) as course:
            sample = prepared_sample(job, course, progress)
            plan = replace(self.plan, mix=possible_mix(self.plan.mix, job, course, sample))
            with course.phase("load"):
                watch = course.watch()
                outcome = run_load(
                    job, sample, plan, progress=progress, watch=on_pulse(course, self.watch), during=watch
                )
        operations = to_results(outcome, job.targets)
        course.series += load_series(outcome, course.at_s(outcome.started_s))
        verdict, reasons = overall([*_parts(operations), *unfit_machine(course)])
        return course.result(
            verdict, reasons, operations=operations, figures=load_figures(outcome) | corpus_figures(job), sections=[
                load_section(outcome, operations), generator_section(outcome.health, outcome.seconds),
                bottleneck_section(watch.evidence(outcome.call_times, application=STORE_APPLICATION)),
            ],
        )  # fmt: skip


def prepared_sample(job: Job, course: Course, progress: Progress) -> CorpusSample:
    """The store filled, and streams and places drawn from it."""
    with course.phase("seed"):
        fill(job, progress)
        return draw_sample(job)


def possible_mix(mix: Mix, job: Job, course: Course, sample: CorpusSample) -> Mix:
    """The mix without what cannot be done, which the course is told.

    Raises ``CannotRunError`` where nothing is left.
    """
    possible, missing = mix.available(job.definition.capabilities, sample)
    course.skipped |= missing
    if possible is None:
        raise CannotRunError(
            f"nothing of the mix can be done: {next(iter(missing.values()))}",
            remedy="name another with --mix",
        )
    return possible


def on_pulse(course: Course, watch: Watcher | None) -> OnPulse | None:
    if watch is None:
        return None
    return lambda pulse: watch(pulse, course.waits_now)


def unfit_machine(course: Course) -> Iterator[tuple[str, Verdict, str]]:
    """An unfit machine makes no store BROKEN: it takes the certainty out of what was met."""
    if fitness(course.fitness) is Verdict.BROKEN:
        yield "machine", Verdict.INCONCLUSIVE, "not fit to measure on, see the findings of doctor"


def load_figures(outcome: LoadOutcome) -> dict[str, Figure]:
    """Rates that were answered: appends and appended events, events streamed, operations in all."""
    answered = {
        name: one.completed_within(outcome.seconds) / outcome.seconds
        for name, one in outcome.operations.items()
    }
    rates = {
        "operations_per_s": (sum(answered.values()), "operations/s"),
        "appends_per_s": (sum(answered.get(name, 0.0) for name in _APPENDS), "appends/s"),
        "appended_events_per_s": (
            sum(events * answered.get(name, 0.0) for name, events in _APPENDS.items()), "events/s",
        ),
        "streamed_events_per_s": (STREAM_BATCH_EVENTS * answered.get(_STREAM, 0.0), "events/s"),
    }  # fmt: skip
    return {
        name: Figure(value=round(value, 1), unit=unit, better="more")
        for name, (value, unit) in rates.items()
        if value
    }


def corpus_figures(job: Job) -> dict[str, Figure]:
    """How large the store was: figures of other volumes are other figures."""
    return {"corpus_events": Figure(value=float(job.corpus.events), unit="events", exact=True)}


def _parts(operations: Mapping[str, OperationResult]) -> Iterator[tuple[str, Verdict, str]]:
    for name, one in operations.items():
        yield name, one.verdict, one.reason
