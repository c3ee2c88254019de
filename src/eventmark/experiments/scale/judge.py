"""Whether a store stands the growth of its log: MET, BROKEN or INCONCLUSIVE for each operation, with the account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventmark.experiments.scale.analysis import (
    Accounting,
    Curve,
    events_per_call,
    pages_of,
)
from eventmark.experiments.scale.steps import Step
from eventmark.operations.catalogue import OPERATIONS
from eventmark.results.results import Finding, Verdict

P95_TIMES_MAX = 1.15
"""How many times the smallest volume's p95 the largest's may be."""

PAGES_TIMES_MAX = 1.10
"""The same of pages per event, beyond which only more levels of indexes are an excuse."""

PAGES_FREE = 1.0
"""So many pages more for each call are none that grow: a statement of a few pages may meet one more where it ends."""


MORE_ROUNDS = "measure with --profile full: more rounds narrow the interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One operation at the largest volume: its latency, and its pages."""

    operation: str
    latency: Finding
    pages: Finding | None
    accounting: Accounting | None


def judge_operation(
    curve: Curve, step: Step, smallest: int, accounting: Accounting | None, failures: Sequence[str] = ()
) -> Judged:
    """``curve`` is of the p95, ``step`` the largest volume's; the small corpus has ``smallest`` events."""
    name = curve.operation
    return Judged(
        operation=name, accounting=accounting, pages=_judge_pages(name, step),
        latency=_failed(name, failures) if failures else _judge_latency(curve, step, smallest, accounting),
    )  # fmt: skip


def _failed(name: str, failures: Sequence[str]) -> Finding:
    return Finding(
        name=f"p95 of {name}", verdict=Verdict.BROKEN, observed=f"{len(failures)} rounds had failures: {failures[0]}",
        expected="every call succeeds", remedy="eventmark bench shows the operation alone",
    )  # fmt: skip


def _judge_latency(curve: Curve, step: Step, smallest: int, accounting: Accounting | None) -> Finding:
    ratio = curve.points[-1].ratio
    observed = f"{ratio} that of {smallest:,} events"
    verdict, remedy = Verdict.INCONCLUSIVE, MORE_ROUNDS
    if not _same_is_same(curve, smallest):
        observed += f"; but {curve.points[0].ratio} with the same events on both sides"
    elif ratio.high <= P95_TIMES_MAX:
        verdict, remedy = Verdict.MET, ""
    else:
        accounted, why, how = _account_for(curve.operation, accounting)
        if ratio.low > P95_TIMES_MAX:
            verdict, remedy, observed = accounted, how, f"{observed}; {why}"
        elif accounted is Verdict.MET and accounting is not None and accounting.large_reads:
            # Within the limit, or beyond it by its reads: whichever of the two it is.
            verdict, remedy, observed = accounted, how, f"{observed}; the excess: {why}"
    return Finding(
        name=f"p95 of {curve.operation} at {step.volume:,} events", verdict=verdict, observed=observed,
        expected=f"{P95_TIMES_MAX:g} × or less, or an excess that counted reads of pages account for", remedy=remedy,
        timed=True,
    )  # fmt: skip


def _same_is_same(curve: Curve, smallest: int) -> bool:
    """Whether the smallest volume, where both sides hold the same events, shows no more than is allowed for growth."""
    first = curve.points[0]
    if first.volume != smallest or len(curve.points) < 2:
        return True
    return first.ratio.low <= P95_TIMES_MAX and first.ratio.high >= 1 / P95_TIMES_MAX


def _account_for(operation: str, accounting: Accounting | None) -> tuple[Verdict, str, str]:
    """An excess: accounted for by reads that were counted, not accounted for, or not to be told."""
    if not OPERATIONS[operation].statement:
        return Verdict.BROKEN, "no server is asked, so that nothing accounts for it", ""
    if accounting is None:
        return Verdict.INCONCLUSIVE, "its reads were not counted", "load pg_stat_statements"
    if not accounting.timed:
        return Verdict.INCONCLUSIVE, "the server does not time its reads", "set track_io_timing = on"
    each = "" if accounting.read_us is None else f" of {accounting.read_us:.3g} µs each"
    reads = f"{accounting.large_reads:.3g} pages read per call{each}, {accounting.small_reads:.3g} on the small corpus"
    without = f"without its reads {accounting.without_reads}"
    if accounting.without_reads.high <= P95_TIMES_MAX:
        return Verdict.MET, f"accounted for by {reads}: {without}", "more shared buffers read less"
    if accounting.without_reads.low > P95_TIMES_MAX:
        return (
            Verdict.BROKEN,
            f"not accounted for by {reads}: {without}",
            "look at the laws of its pages and of its plan",
        )
    return (
        Verdict.INCONCLUSIVE,
        f"{reads}: {without}",
        "measure with --profile full: more rounds narrow the interval",
    )


def _judge_pages(name: str, step: Step) -> Finding | None:
    """Pages per event against the small corpus; None where nothing was counted."""
    pages, events = pages_of(step, name), events_per_call(name)
    if pages is None:
        return None
    observed = f"{pages.ratio} those of the small corpus"
    observed += f", {pages.large / events:.4g} instead of {pages.small / events:.4g}"
    if pages.of_levels:
        observed += f"; {pages.but_for_levels} but for the levels that indexes have gained"
    verdict = Verdict.INCONCLUSIVE
    more = pages.large - pages.of_levels - pages.small
    if pages.but_for_levels.high <= PAGES_TIMES_MAX or more <= PAGES_FREE:
        verdict = Verdict.MET
    elif pages.but_for_levels.low > PAGES_TIMES_MAX:
        verdict = Verdict.BROKEN
    return Finding(
        name=f"pages per event of {name} at {step.volume:,} events", verdict=verdict, observed=observed,
        expected=f"{PAGES_TIMES_MAX:g} × or less, or one page more, but for one for each level of an index and descent",
        remedy="" if verdict is Verdict.MET else "look at the statement's plan at both volumes with eventmark explain",
    )  # fmt: skip
