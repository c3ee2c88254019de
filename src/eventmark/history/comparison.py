"""The comparison of two results as a document: what it holds, and how it is read as a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from eventmark.errors import UsageError
from eventmark.history.effects import RatioEffect
from eventmark.judgement.counters import Change, CounterChange
from eventmark.judgement.plan_changes import PlanChange, worse_by_statement
from eventmark.judgement.verdicts import exit_code, overall
from eventmark.results.results import Document, RunResult, Verdict

COMPARISON_FORMAT = "eventmark-comparison"
COMPARISON_FORMAT_VERSION = 1


class ChangeOutcome(StrEnum):
    """What became of something: each but CANNOT_TELL is shown by the evidence."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    NOT_SLOWER = "not slower"  # the same, or faster
    CANNOT_TELL = "cannot tell"
    NOT_COMPARED = "not compared"  # times of different machines


class FailOn(StrEnum):
    """What makes a comparison BROKEN."""

    ANY = "any"  # slower, more work, a worse plan, or something that is no longer there
    SLOWER = "slower"
    COUNTERS = "counters"  # more work, a worse plan, or something that is no longer there
    NEVER = "never"


class Compared(Document, frozen=True, kw_only=True):
    """One of the two results, as its reader would name it."""

    file: str
    run_id: str
    started_at: str
    revision: str
    store: str
    schema_sha256: str
    server: str

    @classmethod
    def of(cls, result: RunResult, file: str) -> Compared:
        environment = result.environment
        return cls(
            file=file, run_id=result.run_id, started_at=result.started_at, revision=environment.host.revision,
            store=environment.store.name, schema_sha256=environment.store.schema_sha256,
            server=environment.server.version,
        )  # fmt: skip


class OperationChange(Document, frozen=True, kw_only=True):
    """One operation. ``effects`` by quantile; ``slower_share`` as in ``measure.effects``, None where unknown."""

    outcome: ChangeOutcome
    reason: str
    base_ms: dict[str, float]
    candidate_ms: dict[str, float]
    effects: dict[str, RatioEffect]
    slower_share: float | None
    counters: list[CounterChange]

    @property
    def more_work(self) -> list[CounterChange]:
        return [counter for counter in self.counters if counter.change is Change.MORE]


class FigureChange(Document, frozen=True, kw_only=True):
    """One figure. ``outcome`` SLOWER stands for worse, FASTER for better."""

    outcome: ChangeOutcome
    reason: str
    unit: str
    base: float
    candidate: float
    exact: bool


class Comparison(Document, frozen=True, kw_only=True):
    """Two results held against each other. ``times_not_compared`` says why, empty where times are compared."""

    format: str = COMPARISON_FORMAT
    format_version: int = COMPARISON_FORMAT_VERSION
    base: Compared
    candidate: Compared
    slowdown: float  # 0.1: what matters is 10% and more
    times_not_compared: list[str]
    differences: list[str]
    operations: dict[str, OperationChange]
    plans: list[PlanChange]
    figures: dict[str, FigureChange]
    gone: list[str]  # measured in the base, not in the candidate
    added: list[str]
    unjudged: list[str]  # counters and plans that the candidate does not have


def encode_comparison(comparison: Comparison) -> bytes:
    return msgspec.json.format(msgspec.json.encode(comparison), indent=1) + b"\n"


def fail_on_of(text: str) -> FailOn:
    """Raises ``UsageError`` for what is none."""
    try:
        return FailOn(text)
    except ValueError:
        raise UsageError(f"unknown --fail-on {text!r}", remedy=f"use {', '.join(FailOn)}") from None


def judge(comparison: Comparison, fail_on: FailOn = FailOn.ANY) -> tuple[Verdict, list[str]]:
    """BROKEN by what ``fail_on`` names, INCONCLUSIVE where that cannot be told, else MET; with the reasons."""
    parts: list[tuple[str, Verdict, str]] = []
    if fail_on in (FailOn.ANY, FailOn.SLOWER):
        parts += _of_times(comparison, alone=fail_on is FailOn.SLOWER)
    if fail_on in (FailOn.ANY, FailOn.COUNTERS):
        parts += _of_counters(comparison)
    else:  # a slower part may be what is gone
        parts += [(name, Verdict.INCONCLUSIVE, "measured before, not now") for name in comparison.gone]
    if fail_on is FailOn.NEVER:
        return Verdict.MET, []
    return overall(parts)


def comparison_exit_code(verdict: Verdict, fail_on: FailOn) -> int:
    """The verdict's; 0 for what cannot be told where only what is proven slower fails."""
    return 0 if verdict is Verdict.INCONCLUSIVE and fail_on is FailOn.SLOWER else exit_code(verdict)


VERDICTS = {
    ChangeOutcome.SLOWER: Verdict.BROKEN, ChangeOutcome.FASTER: Verdict.MET, ChangeOutcome.SAME: Verdict.MET,
    ChangeOutcome.NOT_SLOWER: Verdict.MET, ChangeOutcome.CANNOT_TELL: Verdict.INCONCLUSIVE,
    ChangeOutcome.NOT_COMPARED: Verdict.INCONCLUSIVE,
}  # fmt: skip


def _of_times(comparison: Comparison, *, alone: bool) -> Iterator[tuple[str, Verdict, str]]:
    """Times of two machines decide nothing: where they are all that is asked for, neither does the run."""
    if comparison.times_not_compared and alone:
        yield "times", Verdict.INCONCLUSIVE, f"not compared: {'; '.join(comparison.times_not_compared)}"
    changes: list[tuple[str, OperationChange | FigureChange]] = [
        *comparison.operations.items(),
        *((name, figure) for name, figure in comparison.figures.items() if not figure.exact),
    ]
    for name, change in changes:
        if change.outcome is not ChangeOutcome.NOT_COMPARED:
            yield name, VERDICTS[change.outcome], change.reason


def _of_counters(comparison: Comparison) -> Iterator[tuple[str, Verdict, str]]:
    for name, change in comparison.operations.items():
        if change.counters:
            more = "; ".join(counter.described for counter in change.more_work)
            yield f"work of {name}", Verdict.BROKEN if more else Verdict.MET, more
    worse = worse_by_statement(comparison.plans)
    for name in dict.fromkeys(plan.statement for plan in comparison.plans):
        yield f"plans of {name}", Verdict.BROKEN if name in worse else Verdict.MET, worse.get(name, "")
    for name, figure in comparison.figures.items():
        if figure.exact:
            yield name, VERDICTS[figure.outcome], figure.reason
    for name in comparison.gone:
        yield name, Verdict.BROKEN, "measured before, not now"
    for unjudged in comparison.unjudged:
        name, _, why = unjudged.partition(": ")
        yield name, Verdict.INCONCLUSIVE, why
