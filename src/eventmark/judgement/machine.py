"""The machine's part in a verdict: the one policy by which an unfit or busy machine weakens what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from eventmark.judgement.verdicts import worst
from eventmark.results.results import Finding, OperationResult, Section, Verdict

DURABILITY, CLOCK, OTHER_WORK = "durability", "clock", "other work"

_QUICKER = (DURABILITY, CLOCK)
"""Findings on the machine that can make a store look quicker than it is."""

BUSY_SHARE = 0.25
"""Of the cores, taken by others while something was measured. What needs all the cores then takes a third longer: more
than the width of a usual interval. Up to here, intervals bear it."""


WAIT_MS = 30.0
"""For a core that others use: several slices of the scheduler."""

SLOWED = 2.0
"""What caches and threads of a core that are shared with others cost at most, times."""

BUSY_SHARE_MOST = 0.9
"""What others took at most where it was not seen."""


def is_beyond_others(operation: OperationResult, busy_share: float = BUSY_SHARE_MOST) -> bool:
    """Whether a latency misses its target by so much that others, with that share of the cores, do not explain it.

    By its interval's lower end, with all that they can have added taken out.
    """
    interval = operation.interval_ms.get(operation.target_quantile)
    if operation.target_ms is None or interval is None:
        return False
    return (interval.low - WAIT_MS) * (1 - busy_share) / SLOWED > operation.target_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How fit the machine was. ``findings`` are the doctor's from before; ``busy_share`` is of the cores that other
    processes took while measuring, None where that could not be seen."""

    findings: Sequence[Finding]
    busy_share: float | None

    @property
    def busy(self) -> bool:
        return self.busy_share is not None and self.busy_share >= BUSY_SHARE

    @property
    def busy_reason(self) -> str:
        return f"other processes used {self.busy_share:.0%} of the cores: run it on a quiet machine"

    @property
    def slower(self) -> str:
        """Why it makes a store look slower than it is; empty where it does not.

        Half a second of other work before the run counts where nothing was seen of it during the run.
        """
        if self.busy:
            return f"other processes used {self.busy_share:.0%} of the cores"
        return self._unfit

    def excuse(self, operation: OperationResult) -> str:
        """``slower``, as far as it can be why the operation missed its target."""
        if self.busy and is_beyond_others(operation, min(self.busy_share or 0.0, 1.0)):
            return self._unfit
        return self.slower

    @property
    def _unfit(self) -> str:
        names = [
            finding.name
            for finding in self.findings
            if finding.verdict is Verdict.BROKEN
            and finding.name not in _QUICKER
            and not (finding.name == OTHER_WORK and self.busy_share is not None)
        ]
        return f"not fit to measure on: {', '.join(names)}" if names else ""

    @property
    def quicker(self) -> str:
        """Why it makes a store look quicker than it is; empty where it does not."""
        return ", ".join(
            f"{finding.name}: {finding.observed}"
            for finding in self.findings
            if finding.verdict is Verdict.BROKEN and finding.name in _QUICKER
        )


def doubted(operation: OperationResult, slower: str) -> OperationResult:
    """An operation measured where something (``slower``; empty for nothing) made the store look slower than it is.

    What was MET stands all the more. BROKEN stands where calls failed, and decides nothing else.
    """
    if not slower or operation.verdict is not Verdict.BROKEN or operation.failed:
        return operation
    return msgspec.structs.replace(
        operation, verdict=Verdict.INCONCLUSIVE, reason=f"{operation.reason}; {slower}"
    )


def doubted_finding(finding: Finding, slower: str) -> Finding:
    """A finding that rests on times and is BROKEN decides nothing where ``slower`` says what else may be the reason."""
    if not slower or not finding.timed or finding.verdict is not Verdict.BROKEN:
        return finding
    return msgspec.structs.replace(
        finding, verdict=Verdict.INCONCLUSIVE, observed=f"{finding.observed}; {slower}"
    )


def doubted_section(section: Section, slower: str) -> Section:
    """A section with each of its findings doubted, and its verdict with them where it was theirs."""
    findings = [doubted_finding(finding, slower) for finding in section.findings]
    if findings == section.findings:
        return section
    verdict = section.verdict and worst(findings)
    return msgspec.structs.replace(section, findings=findings, verdict=verdict)
