"""The kernel: runs every experiment, and alone applies the rules that hold for all of them.

An experiment says its name and what it needs, and measures. Everything else stands here, once: the store prepared, room
asked for what is missing, the corpus filled, both sides watched, the verdict, the bottleneck, the result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar, final
from uuid import uuid4

import msgspec

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.aged import aged_sections
from eventmark.jobs.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.jobs.existing import existing_sections, prepare_existing
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job, check_connections_left, check_room, environment_of, fill, prepare_store
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import NOT_TIMED, Evidence
from eventmark.judgement.machine import Machine, doubted, doubted_section
from eventmark.judgement.verdicts import is_judged, judge_orderings, overall
from eventmark.results.results import (
    CorpusResult,
    Figure,
    OperationResult,
    OrderingResult,
    PlanResult,
    RunResult,
    Section,
    Verdict,
)
from eventmark.seeding import Progress, no_progress
from eventmark.server.loop import one_loop
from eventmark.stores import with_own

_MACHINE = "machine"
INTERRUPTED, UNFIT = "interrupted after ", f"{_MACHINE}: "
"""How the reasons begin that take the certainty out of all that a run found, or out of its times."""

Part = tuple[str, Verdict, str]
"""What counts towards a verdict: its name, its verdict, the reason."""


class Experiment(ABC):
    """One question asked of a store; what is special to one run of it is given when it is made.

    ``seeds``: it works on the job's corpus in the job's schema; else on schemas of its own. ``watched``: the kernel
    watches all that it measures; else it brings evidence of its own. ``reads_existing``: it can do without a corpus, on
    data that was there already.
    """

    name: ClassVar[str]
    seeds: ClassVar[bool] = True
    watched: ClassVar[bool] = True
    reads_existing: ClassVar[bool] = False

    def job_for(self, job: Job) -> Job:
        """The job as this experiment works on it. Raises ``UsageError`` or ``CannotRunError`` for one that it can't."""
        return job

    def scratch_events(self, job: Job) -> int:
        """How many events it makes in schemas of its own: room on disk is asked for them as well."""
        return 0

    @property
    def connections(self) -> int:
        """How many connections its largest pool holds, where that is known beforehand; else 0."""
        return 0

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        """Statements of the user's own that it runs, by the operations' names: checked as the store's are."""
        return {}

    @abstractmethod
    def measure(self, run: Run) -> Findings:
        """Measure on a store that is ready. Raises ``CannotRunError`` or ``UsageError``; what it finds is data."""

    @final
    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Run on the job's server and store. Raises ``CannotRunError`` or ``UsageError``."""
        return run_experiment(self, job, progress)


class Interrupted(KeyboardInterrupt):
    """The user ended a run. ``result`` is what was measured until then."""

    def __init__(self, result: RunResult) -> None:
        super().__init__("interrupted")
        self.result = result


@one_loop()
def run_experiment(experiment: Experiment, job: Job, progress: Progress = no_progress) -> RunResult:
    """Prepare, measure, judge. Raises ``CannotRunError`` or ``UsageError``, and ``Interrupted`` with what there is."""
    job = experiment.job_for(job)
    if job.existing is not None and not experiment.reads_existing:
        raise UsageError(
            f"{experiment.name} measures on a corpus of its own",
            remedy="leave --existing out, or use eventmark run",
        )
    if own := experiment.own_statements:
        job = replace(job, definition=with_own(job.definition, own))
    if job.existing is None:
        check_connections_left(job, experiment.connections)
        to_come = experiment.scratch_events(job) + (prepare_store(job) if experiment.seeds else 0)
        check_room(job, to_come)
    else:
        to_come, job = 0, prepare_existing(job)
    with Run(job, progress, events_to_come=to_come) as run:
        if experiment.seeds and job.existing is None:
            with run.phase("seed"):
                run.seeded = fill(job, progress)
        began_s = run.now_s
        watch = run.watch() if experiment.watched else None
        with watch or nullcontext():
            findings, whole = _measured(experiment, run)
        ended_s = run.now_s
    evidence = None if watch is None else watch.evidence(NOT_TIMED, application=STORE_APPLICATION)
    result = concluded(
        experiment, run, findings, findings.evidence or evidence, (began_s, ended_s), whole=whole
    )
    if not whole:
        raise Interrupted(result)
    return result


def _measured(experiment: Experiment, run: Run) -> tuple[Findings, bool]:
    """What the experiment found, and whether that is all. Of one that is interrupted: what it had until then."""
    try:
        return experiment.measure(run), True
    except KeyboardInterrupt:
        if run.so_far is None:
            raise
        try:
            return run.so_far(), False
        except CannotRunError:  # nothing yet
            raise KeyboardInterrupt from None


def concluded(
    experiment: Experiment,
    run: Run,
    findings: Findings,
    evidence: Evidence | None,
    measured: tuple[float, float],
    *,
    whole: bool = True,
) -> RunResult:
    """The result: everything found, doubted where the machine may be the reason, and the verdict on all of it.

    Of a run that is not ``whole`` nothing is MET.
    """
    machine = Machine(findings=run.fitness, busy_share=run.others_share([measured]))
    operations = {name: _placed(run, machine, operation) for name, operation in findings.operations.items()}
    sections = [doubted_section(section, machine.slower) for section in findings.sections]
    parts = [
        *_operation_parts(operations, findings.counted), *_plan_parts(findings.plans), *_corpus_parts(findings.corpus),
             *_section_parts(sections), *_ordering_parts(findings.orderings)]  # fmt: skip
    if operations and not parts:
        parts = [("targets", Verdict.INCONCLUSIVE, "no operation has one: give one with --target")]
    verdict, reasons = findings.decided or overall([*parts, *_machine_parts(machine, findings, sections)])
    if not whole:
        verdict = Verdict.BROKEN if verdict is Verdict.BROKEN else Verdict.INCONCLUSIVE
        reasons = [f"{INTERRUPTED}{run.now_s:.0f} s: this is what was measured until then", *reasons]
    if machine.busy and verdict is not Verdict.MET:
        reasons = [machine.busy_reason, *reasons]
    return RunResult(
        scenario=experiment.name,
        run_id=str(uuid4()),
        started_at=run.began_at.isoformat(timespec="seconds"),
        seconds=round(run.now_s, 1),
        command=run.job.command,
        profile=run.job.profile.name,
        seed=run.job.corpus.seed,
        verdict=verdict,
        reasons=reasons,
        environment=environment_of(run.job, run.fitness, run.machines),
        corpus=findings.corpus,
        operations=operations,
        plans=list(findings.plans),
        orderings=list(findings.orderings),
        skipped=run.skipped | run.unseen,
        phases=run.phases,
        series=run.sampled(),
        figures={**(_corpus_figures(run.job) if experiment.seeds else {}), **findings.figures},
        sections=[
            *(aged_sections(run.job) if run.job.aged else ()),
            *existing_sections(run.job),
            *sections,
            *([bottleneck_section(evidence)] if evidence is not None else ()),
        ],
        through=findings.through,
    )


def _placed(run: Run, machine: Machine, operation: OperationResult) -> OperationResult:
    """An operation with its stretches in the run's time, doubted by what others took of the machine in them."""
    stretches = [
        (round(run.at_s(start_s), 3), round(run.at_s(end_s), 3)) for start_s, end_s in operation.stretches
    ]
    share = run.others_share(stretches) if stretches else None
    own = machine if share is None else Machine(findings=machine.findings, busy_share=share)
    return doubted(msgspec.structs.replace(operation, stretches=stretches), own.excuse(operation))


def _operation_parts(
    operations: Mapping[str, OperationResult], counted: Collection[str] | None
) -> Iterator[Part]:
    for name, operation in operations.items():
        if is_judged(operation) and (counted is None or name in counted):
            yield name, operation.verdict, operation.reason


def _plan_parts(plans: Sequence[PlanResult]) -> Iterator[Part]:
    """A statement that has the same fault under several conditions has one reason."""
    conditions: dict[tuple[str, Verdict, str], list[str]] = {}
    for plan in plans:
        cause = next((finding for finding in plan.findings if finding.verdict is plan.verdict), None)
        seen = f"{cause.name}: {cause.observed}, expected {cause.expected}" if cause else ""
        conditions.setdefault((plan.statement, plan.verdict, seen), []).append(plan.condition)
    for (statement, verdict, seen), condition in conditions.items():
        total = sum(plan.statement == statement for plan in plans)
        where = condition[0] if len(condition) == 1 else f"under {len(condition)} of {total} conditions"
        yield f"plan of {statement}, {where}", verdict, seen


def _corpus_parts(corpus: CorpusResult | None) -> Iterator[Part]:
    for finding in corpus.audit if corpus is not None else ():
        yield f"corpus, {finding.name}", finding.verdict, f"{finding.observed}, expected {finding.expected}"


def _section_parts(sections: Sequence[Section]) -> Iterator[Part]:
    for section in sections:
        for finding in section.findings if section.verdict is not None else ():
            yield (
                f"{section.title}, {finding.name}",
                finding.verdict,
                f"{finding.observed}, expected {finding.expected}",
            )


def _ordering_parts(orderings: Sequence[OrderingResult]) -> Iterator[Part]:
    """Reasons name the orderings already."""
    if orderings:
        verdict, reasons = judge_orderings(orderings)
        yield "invariants", verdict, "; ".join(reasons)


def _machine_parts(machine: Machine, findings: Findings, sections: Sequence[Section]) -> Iterator[Part]:
    """A machine that makes a store look quicker than it is takes the certainty out of what was MET by times.

    One that makes it look slower does not: what was MET there is MET all the more.
    """
    timed = bool(findings.operations) or any(
        finding.timed for section in sections for finding in section.findings
    )
    if timed and machine.quicker:
        yield (
            _MACHINE,
            Verdict.INCONCLUSIVE,
            f"it makes the store look quicker than it is ({machine.quicker})",
        )


def _corpus_figures(job: Job) -> dict[str, Figure]:
    """How large the store was: figures of other volumes are other figures."""
    return {
        "corpus_events": Figure(value=float(job.corpus.events), unit="events", exact=job.existing is None)
    }
