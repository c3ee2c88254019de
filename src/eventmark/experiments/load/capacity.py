"""The capacity of a store: the highest sustained rate of a mix at which every target holds, confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import ClassVar

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError
from eventmark.experiments.load.alone import (
    Alone,
    alone_table,
    hopeless,
    hopeless_section,
    measure_alone,
    medians_s,
)
from eventmark.experiments.load.oversampling import Oversampled, oversampled
from eventmark.experiments.load.search import PROBES_MAX, Answer, Capacity, Probe, find_capacity
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import Evidence
from eventmark.loadgen.generator import OnPulse, Watcher, on_pulse, possible_mix, run_load, spread
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.sections import generator_section, load_figures, load_section, load_series
from eventmark.results.results import (
    Chart,
    Figure,
    Finding,
    OperationResult,
    Phase,
    Point,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)
from eventmark.results.targets import Target
from eventmark.seeding import CorpusSample, Progress
from eventmark.workers.cluster import taken_workers
from eventmark.workload.arrivals import Arrivals

STAGE = "capacity"
UNANSWERED_SHARE_MAX = 0.02
"""Of what was offered, not answered within the time: more is a queue that grows. ``UNDER_WAY_S`` is always allowed."""

UNDER_WAY_S = 0.1
"""What came within the last moments of a probe may still be under way at its end."""

SAMPLES_WANTED = 120
"""Of the rarest operation when a rate is confirmed: 72 that do not depend on each other bound its p95."""

DEADLINE_S = 2.0
"""In a short probe: what takes so long has missed its target long before. At least ``DEADLINE_TARGETS`` times it."""

DEADLINE_TARGETS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPlan:
    """How to search. ``load`` is what to generate, its rate the first to be tried.

    A probe lasts ``probe_s``; one that confirms ``confirm_s``, or longer where the rarest operation needs it,
    at most ``confirm_max_s``. Operations that are rarer still are oversampled.
    """

    load: LoadPlan
    probe_s: float
    confirm_s: float
    confirm_max_s: float
    probes_max: int = PROBES_MAX

    def seconds(self, offered: Oversampled, *, confirming: bool) -> float:
        if not confirming:
            return self.probe_s
        needed_s = SAMPLES_WANTED / (min(offered.whole.shares.values()) * offered.total_per_s)
        return min(max(self.confirm_s, needed_s), self.confirm_max_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A probe with everything that was seen of it."""

    probe: Probe
    offered: Oversampled
    outcome: LoadOutcome
    operations: Mapping[str, OperationResult]
    evidence: Evidence

    @property
    def figures(self) -> dict[str, Figure]:
        """What was answered of the mix."""
        return load_figures(self.outcome, self.offered.of_mix)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySearch(Experiment):
    """Probes of a mix at one rate after the other, until the highest that holds is found and confirmed."""

    name: ClassVar[str] = "capacity"
    plan: CapacityPlan
    watch: Watcher | None = None

    watched: ClassVar[bool] = False

    @property
    def connections(self) -> int:
        return self.plan.load.pool_max

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        return self.plan.load.mix.own

    def measure(self, run: Run) -> Findings:
        job = run.job
        mix = possible_mix(self.plan.load.mix, job, run, run.sample)
        plan = replace(self.plan, load=replace(spread(self.plan.load, job), mix=mix))
        if not set(mix.shares) & set(job.targets):
            raise CannotRunError(
                "no operation of the mix has a target",
                remedy="name one that has, or give targets with --targets",
            )
        with taken_workers(job.cluster, plan.load.worker_count) as executor:
            arrivals = plan.load.arrivals
            assert arrivals is not None
            alone = measure_alone(run, plan.load, executor, plan.probe_s)
            if (never := hopeless(alone)) is not None:
                return _no_capacity(alone, never, plan.load.through)
            prober = Prober(
                job,
                run.sample,
                plan,
                run,
                executor,
                on_pulse(run, self.watch),
                run.progress,
                medians_s(alone),
            )
            run.so_far = lambda: _findings(run, prober.so_far(), prober.probed)
            capacity = find_capacity(prober.ask, first_per_s=arrivals.rate_per_s, probes_max=plan.probes_max)
            run.progress(STAGE, 1, 1)
        return _findings(run, capacity, prober.probed, alone)


@dataclass(slots=True)
class Prober:
    """Asks the store: a load at a rate, judged."""

    job: Job
    sample: CorpusSample
    plan: CapacityPlan
    run: Run
    executor: Executor
    pulse: OnPulse | None
    progress: Progress
    alone_s: Mapping[str, float]
    probed: list[Probed] = field(default_factory=list)

    def ask(self, rate_per_s: float, confirming: bool) -> tuple[Answer, str]:
        self.progress(STAGE, len(self.probed), max(self.plan.probes_max, len(self.probed)) + 1)
        offered = oversampled(self.plan.load.mix, rate_per_s, self.alone_s)
        seconds = self.plan.seconds(offered, confirming=confirming)
        longest_s = max((target.limit_ms for target in self.job.targets.values()), default=0.0) / 1e3
        deadline_s = self.plan.load.deadline_s
        load = replace(
            self.plan.load,
            mix=offered.whole,
            arrivals=Arrivals("poisson", offered.total_per_s),
            seconds=seconds,
            deadline_s=deadline_s if confirming else min(deadline_s, max(DEADLINE_S, DEADLINE_TARGETS * longest_s)),
        )  # fmt: skip
        watch = self.run.watch()
        outcome = run_load(
            self.job, self.sample, load, executor=self.executor, watch=self.pulse, during=watch
        )
        operations = to_results(outcome, self.job.targets)
        evidence = watch.evidence(outcome.call_times, application=STORE_APPLICATION)
        answer, reason = _answer_of(outcome, operations, self.job.targets, confirming=confirming)
        probe = Probe(rate_per_s=rate_per_s, confirming=confirming, answer=answer, reason=reason)
        self.probed.append(
            Probed(probe=probe, offered=offered, outcome=outcome, operations=operations, evidence=evidence)
        )
        return answer, reason

    def so_far(self) -> Capacity:
        """Raises ``CannotRunError`` where no probe has ended."""
        if not self.probed:
            raise CannotRunError("no probe has ended")
        return Capacity(probes=tuple(probe_made.probe for probe_made in self.probed), ended=False)


def _answer_of(
    outcome: LoadOutcome,
    operations: Mapping[str, OperationResult],
    targets: Mapping[str, Target],
    *,
    confirming: bool,
) -> tuple[Answer, str]:
    """What a probe says about its rate: held only when every operation with a target met it.

    In a short probe an operation that is not broken counts by what was seen of it: one pause of the machine makes
    its interval wide. When a rate is confirmed it does not.
    """
    judged = {name: operation for name, operation in operations.items() if name in targets}
    if outcome.too_late:
        return Answer.GENERATOR, outcome.too_late
    for name, judged_operation in judged.items():
        if judged_operation.verdict is Verdict.BROKEN:
            return Answer.BROKE, f"{name}: {judged_operation.reason}"
    for name, judged_operation in judged.items():
        if judged_operation.verdict is not Verdict.MET and judged_operation.client.bottleneck:
            return Answer.GENERATOR, f"{name}: {judged_operation.client.reason}"
    for name, judged_operation in judged.items():
        if judged_operation.verdict is not Verdict.MET and (confirming or not _seems_met(judged_operation)):
            return Answer.UNDECIDED, f"{name}: {judged_operation.reason}"
    unanswered_share = outcome.unanswered / max(outcome.offered, 1)
    if unanswered_share > max(UNANSWERED_SHARE_MAX, UNDER_WAY_S / outcome.seconds):
        return (
            Answer.BROKE,
            f"a queue: {unanswered_share:.1%} of what was offered was not answered in its time",
        )
    if not judged:
        return Answer.UNDECIDED, "nothing with a target was offered"
    return Answer.HELD, ""


def _seems_met(operation: OperationResult) -> bool:
    """What was seen is below the target, however wide its interval is."""
    value = operation.quantile_ms(operation.target_quantile)
    return value is not None and operation.target_ms is not None and value < operation.target_ms


def _no_capacity(alone: list[Alone], never: Alone, through: str) -> Findings:
    return Findings(
        operations={operation.name: operation.result for operation in alone}, counted=(),
        evidence=never.evidence, through=through,
        sections=[hopeless_section(never, alone)],
    )  # fmt: skip


def _findings(run: Run, capacity: Capacity, probed: list[Probed], alone: Sequence[Alone] = ()) -> Findings:
    """The run that confirmed the rate is shown as any load is; the bottleneck is of the lowest rate that broke."""
    for number, probe_made in enumerate(probed, 1):
        began_s = run.at_s(probe_made.outcome.started_s)
        run.phases.append(
            Phase(
                name=f"probe {number}",
                start_s=round(began_s, 3),
                end_s=round(began_s + probe_made.outcome.seconds, 3),
            )
        )
    confirmed = probed[capacity.probes.index(capacity.confirmed)] if capacity.confirmed is not None else None
    shown = confirmed or probed[-1]
    run.series += load_series(shown.outcome, run.at_s(shown.outcome.started_s))
    beyond = _beyond(capacity, probed)
    return Findings(
        operations=shown.operations, counted=(), figures=_figures(confirmed), evidence=beyond.evidence,
        through=shown.outcome.plan.through,
        sections=[
            _section(capacity, probed, confirmed, alone),
            load_section(shown.outcome, shown.operations),
            generator_section(shown.outcome),
        ],
    )  # fmt: skip


def _beyond(capacity: Capacity, probed: list[Probed]) -> Probed:
    """The probe at the lowest rate that did not hold, or the last of all where each did."""
    return probed[-1] if capacity.beyond is None else probed[capacity.probes.index(capacity.beyond)]


def _judged(capacity: Capacity) -> tuple[Verdict, str]:
    if capacity.rate_per_s is not None:
        return Verdict.MET, ""
    if capacity.held_per_s is not None:
        return Verdict.INCONCLUSIVE, (
            f"{capacity.held_per_s:g} operations/s held in a short probe, and no rate was confirmed: "
            f"{capacity.probes[-1].reason}"
        )
    lowest = min(capacity.probes, key=lambda probe: probe.rate_per_s)
    if not capacity.ended:
        return (
            Verdict.INCONCLUSIVE,
            f"the search was interrupted before a rate held, at {lowest.rate_per_s:g}/s",
        )
    text = f"not even {lowest.rate_per_s:g} operations/s: {lowest.reason}"
    return (Verdict.BROKEN if lowest.answer is Answer.BROKE else Verdict.INCONCLUSIVE), text


def _figures(confirmed: Probed | None) -> dict[str, Figure]:
    """Nothing that was not confirmed."""
    if confirmed is None:
        return {}
    return {f"capacity_{name}": figure for name, figure in confirmed.figures.items()}


def _capacity_sentence(figures: Mapping[str, Figure], *, at_least: bool) -> str:
    """``1,640 appends/s and 100,000 events/s streamed within targets``, of what the mix has."""
    parts = [
        f"{figures[name].value:,.0f} {what}"
        for name, what in (
            ("capacity_appends_per_s", "appends/s"), ("capacity_streamed_events_per_s", "events/s streamed"),
        )
        if name in figures
    ] or [f"{figures['capacity_operations_per_s'].value:,.0f} operations/s"]  # fmt: skip
    return f"{'at least ' if at_least else ''}{' and '.join(parts)} within targets"


def _section(
    capacity: Capacity, probed: list[Probed], confirmed: Probed | None, alone: Sequence[Alone]
) -> Section:
    verdict, reason = _judged(capacity)
    answer = Finding(
        name="capacity", verdict=verdict, observed=reason or f"{capacity.rate_per_s:g} operations/s held",
        expected="a rate at which every target holds, confirmed", timed=True,
    )  # fmt: skip
    return Section(
        name="capacity",
        title="Capacity",
        verdict=verdict,
        findings=[answer],
        text=list(_text(capacity, confirmed)),
        tables=[_table(capacity.probes, probed), *([alone_table(alone)] if alone else [])],
        charts=_charts(capacity.probes, probed),
    )


def _text(capacity: Capacity, confirmed: Probed | None) -> Iterator[str]:
    if confirmed is None:
        yield "No rate was confirmed: " + _judged(capacity)[1] + "."
    else:
        sentence = _capacity_sentence(_figures(confirmed), at_least=capacity.at_least)
        yield f"{sentence[0].upper()}{sentence[1:]}."
        yield (
            f"Confirmed for {confirmed.outcome.seconds:g} s at {confirmed.probe.rate_per_s:g} operations/s of the mix "
            f"{confirmed.offered.mix}."
        )
        if confirmed.offered.added_per_s:
            yield (
                f"Beside the mix, so that enough calls of rare operations were measured: {confirmed.offered}. They are "
                "not counted in the rate."
            )
    if capacity.beyond is not None:
        yield (
            f"The lowest rate that did not hold is {capacity.beyond.rate_per_s:g} operations/s: "
            f"{capacity.beyond.reason}. "
            "The bottleneck named below is that probe's."
        )
    if capacity.at_least:
        yield "The generator or the highest rate to try ended the search, not the store."
    yield (
        "A rate holds when every operation with a target meets it, with 95% confidence, nothing fails, nothing is "
        "skipped, and no queue is left at its end. On the wire the generator's own lag is known for each call, and "
        "taken out."
    )


def _table(probes: tuple[Probe, ...], probed: list[Probed]) -> Table:
    rows: list[Row] = [
        [
            float(number), probe.rate_per_s, seen.outcome.seconds, "long" if probe.confirming else "short",
            seen.figures["operations_per_s"].value if seen.figures else 0.0, _worst(seen.operations),
            str(probe.answer), probe.reason,
        ]
        for number, (probe, seen) in enumerate(zip(probes, probed, strict=True), 1)
    ]  # fmt: skip
    return Table(
        title="Probes",
        columns=columns(
            "probe", "rate|/s", "lasted|s", "kind", "answered|/s", "furthest of its target|share", "answer",
            "because",
        ),
        rows=rows,
        note="Furthest of its target: the latency of the operation that came nearest to its target, or went furthest "
        "beyond it, as a share of it.",
    )  # fmt: skip


def _charts(probes: tuple[Probe, ...], probed: list[Probed]) -> list[Chart]:
    """How near the worst operation came to its target at each rate, by what the probe answered."""
    points = [
        Point(x=probe.rate_per_s, y=worst, series=f"{probe.answer}{', confirming' * probe.confirming}")
        for probe, seen in zip(probes, probed, strict=True)
        if (worst := _worst(seen.operations)) is not None and worst > 0
    ]  # fmt: skip
    return [
        Chart(
            title="How near the operation furthest from its target came to it", mark="point", x="operations/s offered",
            y="share of its target", points=points, x_log=True, y_log=True,
        )
    ] if points else []  # fmt: skip


def _worst(operations: Mapping[str, OperationResult]) -> float | None:
    """The largest share of its target that an operation's latency came to."""
    return max(
        (
            value / operation.target_ms
            for operation in operations.values()
            if operation.target_ms and (value := operation.quantile_ms(operation.target_quantile)) is not None
        ),
        default=None,
    )
