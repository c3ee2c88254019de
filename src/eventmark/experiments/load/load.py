"""An open or closed loop of a mix of operations, judged by latency from the due time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from eventmark.jobs.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.jobs.course import Course, corpus_figures, prepared_sample, unfit_machine
from eventmark.jobs.job import Job, prepare_store
from eventmark.judgement.verdicts import overall
from eventmark.loadgen.generator import Watcher, on_pulse, possible_mix, run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.sections import generator_section, load_figures, load_section, load_series
from eventmark.results.results import OperationResult, RunResult, Verdict
from eventmark.seeding import Progress, no_progress


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


def _parts(operations: Mapping[str, OperationResult]) -> Iterator[tuple[str, Verdict, str]]:
    for name, one in operations.items():
        yield name, one.verdict, one.reason
