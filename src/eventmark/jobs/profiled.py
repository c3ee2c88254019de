"""A result that was taken under a profiler: what it says of latency is not judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from eventmark.results.results import Block, OperationResult, RunResult, Section, Verdict

REASON = "taken under a profiler ({kind}), whose cost is part of it"


def as_profiled(result: RunResult, kind: str, files: Sequence[Path]) -> RunResult:
    """The result without verdicts that rest on times or rates; what failed, or was lost, stays BROKEN."""
    reason = REASON.format(kind=kind)
    hard = _has_faults(result)
    return msgspec.structs.replace(
        result,
        verdict=Verdict.BROKEN if hard else Verdict.INCONCLUSIVE,
        reasons=[reason, *result.reasons],
        operations={name: _undecided(operation, reason) for name, operation in result.operations.items()},
        skipped=result.skipped | {"verdicts on latency": reason},
        sections=[*(_without_verdict(section) for section in result.sections), _section(kind, files)],
    )


def _has_faults(result: RunResult) -> bool:
    """Whether something is BROKEN that no profiler breaks."""
    verdicts = [plan.verdict for plan in result.plans] + [ordering.verdict for ordering in result.orderings]
    verdicts += [finding.verdict for finding in result.corpus.audit] if result.corpus is not None else []
    return Verdict.BROKEN in verdicts or any(operation.failed for operation in result.operations.values())


def _undecided(operation: OperationResult, reason: str) -> OperationResult:
    if operation.failed:
        return operation
    return msgspec.structs.replace(
        operation, verdict=Verdict.INCONCLUSIVE, reason=f"{reason}: {operation.reason}"
    )


def _without_verdict(section: Section) -> Section:
    if section.verdict is None:
        return section
    return msgspec.structs.replace(section, verdict=Verdict.INCONCLUSIVE)


def _section(kind: str, files: Sequence[Path]) -> Section:
    what = "time" if kind == "cpu" else "memory"
    return Section(
        name="profiles",
        title="Profiles of the client",
        text=[
            f"Flame graphs of where the client's {what} went, next to this report: of this process, and of each "
            "worker. Figures of this run include the profiler's own cost; nothing about latency is judged."
        ],
        blocks=[Block(title="Files", text="\n".join(file.name for file in files), language="text")],
    )
