"""The instrument calibrated: known causes planted, and what it says of them; its certificate for this machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
from eventmark.experiments.selfcheck.generator import check_generator
from eventmark.experiments.selfcheck.judges import check_audit, check_percentiles, check_plan_judge
from eventmark.experiments.selfcheck.proving import Proving, proving_ground
from eventmark.experiments.selfcheck.stall import measure_stall, stall_finding
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.verdicts import overall
from eventmark.results.results import Figure, Finding, Section, Table, Verdict, columns
from eventmark.sidebyside.contest import Rules

PAIRS = (12, 40)  # of which the resolution of ratios is told
STAGE = "check the instrument"


class SelfCheck(Experiment):
    """``gates`` above 0 measures the gate's rates by so many gates of each kind, instead of the checks."""

    name: ClassVar[str] = "selfcheck"

    def __init__(self, *, gates: int = 0, operations: Sequence[str] = ()) -> None:
        self._gates = gates
        self._operations = tuple(operations) or CALIBRATED

    seeds: ClassVar[bool] = False

    def measure(self, run: Run) -> Findings:
        with proving_ground(run.job, run.progress) as proving:
            return self._calibrated(run, proving) if self._gates else _checked(run, proving)

    def _calibrated(self, run: Run, proving: Proving) -> Findings:
        with run.phase("calibrate"):
            rates = calibrate(proving, self._gates, run.progress, operations=self._operations)
        return Findings(sections=[calibration_section(rates)], figures=calibration_figures(rates))


def _checked(run: Run, proving: Proving) -> Findings:
    progress, steps = run.progress, 6
    findings = [check_percentiles(run.job.corpus.seed)]
    run.so_far = lambda: Findings(sections=[_until_then(findings)])

    def timed(checks: Iterable[Finding]) -> None:
        findings.extend(msgspec.structs.replace(check, timed=True) for check in checks)

    with run.phase("delays"):
        progress(STAGE, 0, steps)
        with awake_cores() as awake:
            delays = measure_delays(proving)
        asleep = measure_delays(proving)
        timed(delay_findings(delays))
    with run.phase("client"):
        progress(STAGE, 1, steps)
        timed([*check_client(proving), *check_generator(proving)])
    with run.phase("stall"):
        progress(STAGE, 2, steps)
        timed([stall_finding(measure_stall(proving))])
    with run.phase("gate"):
        progress(STAGE, 3, steps)
        decided = check_gate(proving)
        timed([*gate_findings(decided), forks_finding(decided)])
    with run.phase("judges"):
        progress(STAGE, 4, steps)
        findings += check_plan_judge(proving)
        progress(STAGE, 5, steps)
        findings += check_audit(proving)
    progress(STAGE, steps, steps)
    return Findings(
        sections=[certificate(findings, delays, decided, asleep if awake else None)],
        figures=_figures(delays, decided),
    )


def _until_then(findings: list[Finding]) -> Section:
    return Section(
        name="checks",
        title="Checks of the instrument until then",
        verdict=_judged(findings)[0],
        findings=findings,
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
            "to this machine and this hour; what it reports of a smaller difference is noise.",
            _on_sleep(delays, asleep),
        ],
        findings=findings,
        tables=[
            Table(
                title="The smallest difference it detects",
                columns=columns("what", "smallest"),
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
        f"{(sleeping.measured_ms - awake.measured_ms) * 1e3:+.1f} µs "
        f"to a call that takes {sleeping.planted_ms:g} ms longer"
        for awake, sleeping in zip(delays, asleep, strict=True)
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


def _judged(findings: Sequence[Finding]) -> tuple[Verdict, list[str]]:
    return overall(
        (finding.name, finding.verdict, f"{finding.observed}, expected {finding.expected}")
        for finding in findings
    )


def _figures(delays: Sequence[MeasuredDelay], decided: Sequence[Decided]) -> dict[str, Figure]:
    spread = pairs_spread(decided)
    return {
        "resolvable_delay_ms": Figure(value=smallest_delay_ms(delays), unit="ms", better="less"),
        "resolvable_ratio_12_pairs": Figure(
            value=resolvable_ratio(spread, PAIRS[0]), unit="times", better="less"
        ),
        "forks_spread": Figure(value=forks_spread(decided), unit="share", better="less"),
    }
