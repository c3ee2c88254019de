"""An open or closed loop of a mix of operations, judged by latency from the due time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from eventmark.engine.statements import Statement
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.loadgen.generator import Watcher, on_pulse, possible_mix, run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.sections import generator_section, load_figures, load_section, load_series


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Experiment):
    """``plan`` on the job's store; what the store cannot do is left out of the mix, with the reason."""

    name: ClassVar[str] = "load"
    plan: LoadPlan
    watch: Watcher | None = None

    watched: ClassVar[bool] = False

    @property
    def connections(self) -> int:
        return self.plan.pool_max

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        return self.plan.mix.own

    def measure(self, run: Run) -> Findings:
        job = run.job
        plan = replace(self.plan, mix=possible_mix(self.plan.mix, job, run, run.sample))
        watch = run.watch()

        def findings(outcome: LoadOutcome) -> Findings:
            operations = to_results(outcome, job.targets)
            run.series += load_series(outcome, run.at_s(outcome.started_s))
            return Findings(
                operations=operations, figures=load_figures(outcome),
                sections=[load_section(outcome, operations), generator_section(outcome)],
                evidence=watch.evidence(outcome.call_times, application=STORE_APPLICATION), through=plan.through,
            )  # fmt: skip

        def cut(outcome: LoadOutcome) -> None:
            run.so_far = lambda: findings(outcome)

        with run.phase("load"):
            outcome = run_load(
                job,
                run.sample,
                plan,
                progress=run.progress,
                watch=on_pulse(run, self.watch),
                during=watch,
                cut=cut,
            )
        return findings(outcome)
