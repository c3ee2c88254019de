"""What limited a run, named from evidence: one table of symptoms, the cause before what it causes.

Each symptom is a share with a limit. A share that was sampled has a 95% interval, and is beyond its limit only
when the whole interval is. The first symptom of the table that is beyond its limit names the bottleneck;
where none is, nothing was at its limit, unless one could not be told from it or not be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from eventmark.judgement.evidence import Evidence, Spent
from eventmark.judgement.symptoms import LOOKS_MIN, SYMPTOMS, Limit, Reading, Symptom


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A symptom and what was seen of it: ``state`` is "beyond", "within", "undecided" or "not seen"."""

    symptom: Symptom
    reading: Reading | None

    @property
    def state(self) -> str:
        if self.reading is None:
            return "not seen"
        if self.reading.low >= self.symptom.beyond:
            return "beyond"
        return "within" if self.reading.high < self.symptom.beyond else "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """What limited a run, why that is named, every symptom, what to try, and where the time of calls went.

    ``budget``: shares of the time of calls, or of sessions at work where callers were not asked.
    """

    limit: Limit
    because: str
    symptoms: tuple[Seen, ...]
    advice: tuple[str, ...]
    budget: dict[str, float]

    @property
    def known(self) -> bool:
        return self.limit is not Limit.UNKNOWN


def find_bottleneck(evidence: Evidence) -> Bottleneck:
    """Name it, or say that it cannot be told."""
    seen = tuple(Seen(symptom=symptom, reading=symptom.read(evidence)) for symptom in SYMPTOMS)
    limit, because = _named(evidence, seen)
    return Bottleneck(
        limit=limit, because=because, symptoms=seen, advice=ADVICE[limit], budget=time_budget(evidence)
    )


def time_budget(evidence: Evidence) -> dict[str, float]:
    """Where the time of calls went, the largest share first; it adds up to 1, or is empty."""
    calls, seconds = evidence.calls, evidence.seconds
    parts = {spent.value: evidence.sessions_on(spent) * seconds for spent in Spent}
    if calls is not None:
        parts["before the call was sent"] = calls.late_s
        parts["waiting for a connection"] = calls.pool_wait_s
        rest = (evidence.connected_sessions - evidence.sessions_at_work) * seconds
        parts["client's event loop"] = min(calls.loop_lag_s, rest)
        parts["client and wire"] = rest - parts["client's event loop"]
    total = sum(parts.values())
    shares = {name: part / total for name, part in parts.items() if total > 0 and part > 0}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _named(evidence: Evidence, seen: tuple[Seen, ...]) -> tuple[Limit, str]:
    beyond = [seen_symptom for seen_symptom in seen if seen_symptom.state == "beyond"]
    if beyond:
        first = beyond[0]
        assert first.reading is not None
        others = sorted(
            {seen_symptom.symptom.limit for seen_symptom in beyond} - {first.symptom.limit},
            key=list(Limit).index,
        )
        beside = f"; beyond their limits as well: {', '.join(others)}" if others else ""
        return first.symptom.limit, first.reading.what + beside
    if evidence.looks < LOOKS_MIN:
        return (
            Limit.UNKNOWN,
            f"{evidence.looks} looks at the server's sessions are too few to name a bottleneck",
        )
    undecided = [
        seen_symptom.symptom.limit.value for seen_symptom in seen if seen_symptom.state == "undecided"
    ]
    if undecided:
        return Limit.UNKNOWN, f"near its threshold, and the samples do not decide: {', '.join(undecided)}"
    unseen = sorted(
        {seen_symptom.symptom.limit.value for seen_symptom in seen if seen_symptom.state == "not seen"}
    )
    if unseen:
        return Limit.UNKNOWN, f"nothing that was seen was at its limit; not seen: {', '.join(unseen)}"
    return Limit.NONE, "nothing was at its limit: calls took as long as their own work"


ADVICE: dict[Limit, tuple[str, ...]] = {
    Limit.CLIENT: (
        "what was measured is the client's own limit: give it more worker processes or a machine of its own",
        "look where its time goes with a profiler; decode payloads where they are needed, append in groups",
    ),
    Limit.STATEMENT: (
        "examine its plan with the real parameters: eventmark explain; the index it needs may be missing or unusable",
        "look for triggers, functions and timeouts that wait within it",
    ),
    Limit.LOCKS: (
        "see which rows or tables they wait for; commit earlier, and do nothing slow while a lock is held",
        "split what is hot: smaller aggregates, several streams, an ordering without a table lock",
    ),
    Limit.SERVER_CPU: (
        "see which statement takes most of it, and its work per row; append in groups, stream in larger batches",
        "give the server more cores, or the client a machine of its own",
    ),
    Limit.POOL: (
        "raise the pool's size towards two or three connections for each core of the server",
        "hold connections for less long: no other work within a transaction",
    ),
    Limit.WAL_FLUSH: (
        "append in groups or in larger batches: commits then share a flush",
        "put WAL on a disk that flushes faster; commit_delay helps where many commit at once",
    ),
    Limit.READS: (
        "give shared_buffers and the operating system's cache more memory, or the disk more reads per second",
        "read less: covering indexes, partitions by time, snapshots for long aggregates",
    ),
    Limit.WRITES: (
        "let checkpoints come less often (max_wal_size, checkpoint_timeout) and spread their writes",
        "raise shared_buffers, so that sessions need not write pages out themselves",
    ),
    Limit.LATCHES: (
        "fewer connections at once: what they contend for lies inside the server",
        "see which internal lock it is; many on one buffer point at one hot page, such as an index's right end",
    ),
    Limit.OTHERS: ("end what else runs on this machine, and measure again",),
    Limit.NONE: ("to find its limit, raise the load",),
    Limit.UNKNOWN: (
        "measure for longer, on a machine at rest, with the server's processes and pg_stat_statements in sight",
    ),
}  # fmt: skip
