"""The instrument calibrated: known causes planted, and what it says of them; its certificate for this machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from eventmark.experiments.selfcheck.awake import awake_cores
from eventmark.experiments.selfcheck.calibration import OPERATIONS as CALIBRATED
from eventmark.experiments.selfcheck.calibration import calibrate, calibration_figures, calibration_section
from eventmark.experiments.selfcheck.client import check_client
from eventmark.experiments.selfcheck.decisions import (
    Decided,
    check_gate,
    forks_finding,
    forks_spread,
    gate_findings,
    pairs_spread,
)
from eventmark.experiments.selfcheck.delays import (
    MeasuredDelay,
    delay_findings,
    measure_delays,
    smallest_delay_ms,
)
from eventmark.experiments.selfcheck.judges import check_audit, check_percentiles, check_plan_judge
from eventmark.experiments.selfcheck.proving import proving_ground
from eventmark.experiments.selfcheck.stall import measure_stall, stall_finding
from eventmark.jobs.course import Course
from eventmark.jobs.job import Job
from eventmark.judgement.verdicts import overall
from eventmark.results.results import Column, Figure, Finding, RunResult, Section, Table, Verdict
from eventmark.seeding import Progress, no_progress
from eventmark.server import fitness
from eventmark.sidebyside.contest import Rules

PAIRS = (12, 40)  # of which the resolution of ratios is told
STAGE = "check the instrument"


class SelfCheck:
    """``gates`` above 0 measures the gate's rates by so many gates of each kind, instead of the checks."""

    name: ClassVar[str] = "selfcheck"

    def __init__(self, *, gates: int = 0, operations: Sequence[str] = ()) -> None:
        self._gates = gates
        self._operations = tuple(operations) or CALIBRATED

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError``."""
        with Course(job, progress) as course, proving_ground(job, progress) as proving:
            if self._gates:
                with course.phase("calibrate"):
                    found = calibrate(proving, self._gates, progress, operations=self._operations)
                section, figures = calibration_section(found), calibration_figures(found)
                verdict, reasons = _judged(section.findings)
                return course.result(verdict, reasons, sections=[section], figures=figures)
            steps = 6
            findings = [check_percentiles(job.corpus.seed)]
            with course.phase("delays"):
                progress(STAGE, 0, steps)
                with awake_cores() as awake:
                    delays = measure_delays(proving)
                asleep = measure_delays(proving)
            with course.phase("client"):
                progress(STAGE, 1, steps)
                findings += check_client(proving)
            with course.phase("stall"):
                progress(STAGE, 2, steps)
                findings.append(stall_finding(measure_stall(proving)))
            with course.phase("gate"):
                progress(STAGE, 3, steps)
                decided = check_gate(proving)
            with course.phase("judges"):
                progress(STAGE, 4, steps)
                findings += check_plan_judge(proving)
                progress(STAGE, 5, steps)
                findings += check_audit(proving)
            progress(STAGE, steps, steps)
        findings = [*delay_findings(delays), *gate_findings(decided), forks_finding(decided), *findings]
        if fitness(course.fitness) is Verdict.BROKEN:
            findings = [_on_unfit_machine(finding) for finding in findings]
        verdict, reasons = _judged(findings)
        return course.result(
            verdict,
            reasons,
            sections=[certificate(findings, delays, decided, asleep if awake else None)],
            figures=_figures(delays, decided),
        )


def certificate(
    findings: list[Finding],
    delays: Sequence[MeasuredDelay],
    decided: Sequence[Decided],
    asleep: Sequence[MeasuredDelay] | None = None,
) -> Section:
    """What this instrument, on this machine and now, can and cannot resolve.

    ``delays`` were measured on cores kept awake, unless ``asleep``, on cores that may sleep, is None.
    """
    verdict, _ = _judged(findings)
    spread = pairs_spread(decided)
    smallest = {
        "a delay within one call": f"{smallest_delay_ms(delays) * 1e3:.1f} µs",
        **{
            f"a ratio, {pairs} pairs of a gate": f"{resolvable_ratio(spread, pairs) - 1:.1%}"
            for pairs in PAIRS
        },
        "forks of one operation, one after the other": f"{forks_spread(decided):.1%} apart",
    }
    return Section(
        name="certificate",
        title="Certificate of the instrument",
        verdict=verdict,
        text=[
            "Causes of known size were planted, and the instrument was asked what it saw. What it resolves belongs "
            "to this machine and this hour; what it says of a smaller difference is noise.",
            _on_sleep(delays, asleep),
        ],
        findings=findings,
        tables=[
            Table(
                title="What can be told from nothing",
                columns=[Column(name="what"), Column(name="smallest")],
                rows=[[what, least] for what, least in smallest.items()],
            )
        ],
    )


def _on_sleep(delays: Sequence[MeasuredDelay], asleep: Sequence[MeasuredDelay] | None) -> str:
    """What cores that go to sleep add to calls that wait for the server."""
    if asleep is None:
        return (
            "This system cannot keep its cores awake: what waking takes is in the delays that were measured."
        )
    added = [
        f"{(one.measured_ms - awake.measured_ms) * 1e3:+.1f} µs to a call that takes {one.planted_ms:g} ms longer"
        for awake, one in zip(delays, asleep, strict=True)
    ]
    return (
        "The delays were measured while idle cores were kept awake, for a core that has gone to sleep wakes late, and "
        f"the call does take longer. Asleep they add {', '.join(added)}: every latency holds that, here and in service."
    )


def resolvable_ratio(spread: float, pairs: int) -> float:
    """The smallest ratio that so many pairs tell from 1 nine times in ten, at the gate's own risk of an alarm.

    Of a mean of ``pairs`` log-ratios with this standard deviation: an approximation, and a little kinder than
    the gate's test, which takes no distribution for granted.
    """
    beyond = math.sqrt(2 * math.log(1 / Rules().risk_of_alarm)) + 1.2816
    return math.exp(beyond * spread / math.sqrt(pairs))


def _on_unfit_machine(finding: Finding) -> Finding:
    """What a machine that is busy with other things makes of a check says nothing of the instrument."""
    if finding.verdict is not Verdict.BROKEN:
        return finding
    return msgspec.structs.replace(
        finding,
        verdict=Verdict.INCONCLUSIVE,
        remedy="the machine is not fit to measure on, see eventmark doctor",
    )


def _judged(findings: Sequence[Finding]) -> tuple[Verdict, list[str]]:
    return overall((one.name, one.verdict, f"{one.observed}, expected {one.expected}") for one in findings)


def _figures(delays: Sequence[MeasuredDelay], decided: Sequence[Decided]) -> dict[str, Figure]:
    spread = pairs_spread(decided)
    return {
        "resolvable_delay_ms": Figure(value=smallest_delay_ms(delays), unit="ms", better="less"),
        "resolvable_ratio_12_pairs": Figure(
            value=resolvable_ratio(spread, PAIRS[0]), unit="times", better="less"
        ),
        "forks_spread": Figure(value=forks_spread(decided), unit="share", better="less"),
    }
