"""What a hunt found and what its ordering costs, as a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eventmark.results.results import Figure, Latency, OrderingResult, Verdict
from eventmark.stats.quantiles import latency_of
from eventmark.verify.checker import Fault
from eventmark.verify.concurrency import cut_off, overtaken, raced, undecided
from eventmark.verify.findings import Reader, described_fault, findings, merged
from eventmark.verify.forced import NOTHING_FORCED, Forced
from eventmark.verify.history import History, Outcome
from eventmark.verify.subject import Subject


@dataclass(frozen=True, slots=True)
class FullSpeed:
    """The stretch in which writers did not wait: all attempts but the first ``paced`` ones."""

    paced: int
    seconds: float
    cpu_s: float


def ordering_result(
    subject: Subject, history: History, faults: Sequence[Fault], run: FullSpeed, *, forced: Forced = NOTHING_FORCED,
    replay: str,
) -> OrderingResult:  # fmt: skip
    """The result of one subject: what its hunt found, and the interleavings forced before it.

    An ordering that promises nothing is BROKEN when the hunt itself lost events: it is there to show that a
    hunt finds them.
    """
    outcomes = history.attempts["outcome"]
    fast = np.arange(len(outcomes)) >= run.paced
    stored_fast = int(np.count_nonzero(fast[history.written["attempt"]] & _stored(history)))
    reader = Reader(by_number=history.by_number, statement="" if subject.ordering else f"{subject.reads}.sql")
    missing = undecided(history, contends=subject.contends and not forced.raced)
    if forced.cut_off:
        missing["I12"] = f"not every interleaving could be forced ({forced.cut_off})"
    not_asked = {**forced.left, **subject.not_asked}
    missing = {name: why for name, why in missing.items() if name not in not_asked}
    every = merged(faults, forced.faults) if subject.lossless else list(faults)
    verdict, reason = _verdict(every, history, reader, missing)
    visible, handled = _delivery_latencies(history, run.paced)
    return OrderingResult(
        ordering=subject.name,
        description=subject.description,
        lossless=subject.lossless,
        verdict=verdict,
        reason=reason,
        committed=len(history.stored),
        consumers=len(history.consumptions),
        delivered=sum(len(consumption.delivered) for consumption in history.consumptions),
        lost=_count(faults, "lost"),
        duplicated=_count(faults, "duplicated"),
        out_of_order=_count(faults, "out of order"),
        conflicts=int(np.count_nonzero(outcomes == Outcome.CONFLICT)),
        rolled_back=int(np.count_nonzero(outcomes == Outcome.FAILED)),
        unknown=int(np.count_nonzero(outcomes == Outcome.UNKNOWN)),
        seconds=round(run.seconds, 3),
        appends_per_s=round(int(np.count_nonzero(fast & (outcomes == Outcome.OK))) / run.seconds, 1),
        events_per_s=round(stored_fast / run.seconds, 1),
        append_ms=_append_latency(history, run.paced),
        visible_ms=visible,
        handled_ms=handled,
        client_cpu_share=round(run.cpu_s / run.seconds, 3),
        findings=findings(
            merged(faults, forced.faults),
            reader=reader,
            not_asked=not_asked,
            undecided=missing,
            notes=_notes(history),
        ),
        replay=replay,
        not_asked=not_asked,
        raced=raced(history) + forced.raced,
        overtaken=overtaken(history),
    )


def hunt_figures(orderings: Sequence[OrderingResult]) -> dict[str, Figure]:
    """What a comparison and a history hold of those that promise to lose nothing: what was lost, and the price."""
    figures = {}
    for ordering in orderings:
        if not ordering.lossless:
            continue
        name = ordering.ordering
        figures[f"lost_events[{name}]"] = Figure(
            value=float(ordering.lost), unit="events", better="less", exact=True
        )
        figures[f"events_per_s[{name}]"] = Figure(value=ordering.events_per_s, unit="events/s", better="more")
        for what, latency in (("append", ordering.append_ms), ("visible", ordering.visible_ms)):
            if latency is not None:
                figures[f"{what}_ms_p95[{name}]"] = Figure(value=latency.p95, unit="ms", better="less")
    return figures


def _verdict(
    faults: Sequence[Fault], history: History, reader: Reader, missing: Mapping[str, str]
) -> tuple[Verdict, str]:
    if faults:
        return Verdict.BROKEN, "; ".join(described_fault(fault, reader) for fault in faults)
    if not len(history.stored) and history.refused:
        return Verdict.INCONCLUSIVE, f"no append was committed; the last one ended with {history.refused}"
    if not len(history.stored) or not any(len(consumption.delivered) for consumption in history.consumptions):
        return Verdict.INCONCLUSIVE, "nothing was written, or nothing was delivered"
    if missing:
        return Verdict.INCONCLUSIVE, "; ".join(missing.values())
    return Verdict.MET, ""


def _notes(history: History) -> dict[str, str]:
    text = ""
    if times := cut_off(history):
        text += f"; the server ended {times:,} reads of consumers, which went on from their tokens"
    if history.doubt_ns:
        text += (
            f"; the machines' clocks are known to {history.doubt_ns / 1e6:.3f} ms, "
            "and orders within that are not counted"
        )
    return dict.fromkeys(("I7", "I12"), text) if text else {}


def _count(faults: Sequence[Fault], what: str) -> int:
    return sum(fault.count for fault in faults if fault.what.startswith(what))


def _stored(history: History) -> np.ndarray:
    return np.isin(history.written["key"], history.stored["key"])


def _append_latency(history: History, paced: int) -> Latency | None:
    """Of single appends at a steady rate, until acknowledged."""
    attempts = history.attempts[:paced]
    done = attempts[attempts["single"] & (attempts["outcome"] == Outcome.OK)]
    return latency_of(done["ended_ns"] - done["invoked_ns"]) if len(done) else None


def _delivery_latencies(history: History, paced: int) -> tuple[Latency | None, Latency | None]:
    """Of the same appends: from the acknowledgement until a consumer has it; from the call until handled.

    Of consumers that began at the tail: the others came later. One may have an event before its writer is
    told so; that counts as at once.
    """
    attempts = history.attempts
    rows = history.written[history.written["attempt"] < paced]
    rows = rows[attempts["single"][rows["attempt"]] & (attempts["outcome"][rows["attempt"]] == Outcome.OK)]
    rows = rows[np.argsort(rows["key"])]
    visible, handled = [], []
    for consumption in history.consumptions:
        given = consumption.delivered[np.isin(consumption.delivered["key"], rows["key"])]
        if not consumption.name.startswith("tail") or not len(given):
            continue
        of = attempts[rows["attempt"][np.searchsorted(rows["key"], given["key"])]]
        visible.append(np.maximum(given["at_ns"] - of["ended_ns"], 0))
        handled.append(given["handled_ns"] - of["invoked_ns"])
    if not visible:
        return None, None
    return latency_of(np.concatenate(visible)), latency_of(np.concatenate(handled))
