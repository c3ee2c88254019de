"""How much there was to go wrong: without transactions that overlap, no store loses anything."""

from __future__ import annotations

import numpy as np

from eventmark.verify.history import History, Outcome

OVERTAKEN_MIN = 20
"""Transactions that ended after one that began later: with fewer, nothing lost says nothing."""


def overtaken(history: History) -> int:
    """Committed transactions that one that began later ended before."""
    attempts = history.attempts[history.attempts["outcome"] == Outcome.OK]
    if not len(attempts):
        return 0
    attempts = attempts[np.argsort(attempts["invoked_ns"], kind="stable")]
    invoked, ended = attempts["invoked_ns"], attempts["ended_ns"]
    earliest_after = np.minimum.accumulate(ended[::-1])[::-1]
    later = np.maximum(np.searchsorted(invoked, invoked + history.doubt_ns), np.arange(len(invoked)) + 1)
    known = later < len(invoked)
    return int((earliest_after[later[known]] + history.doubt_ns < ended[known]).sum())


def raced(history: History) -> int:
    """Appends refused because another one, that ran at the same time, got the version they expected."""
    outcomes = history.attempts["outcome"][history.written["attempt"]]
    won, lost = (history.written[outcomes == outcome] for outcome in (Outcome.OK, Outcome.CONFLICT))
    winner = {
        (stream, sequence): attempt
        for attempt, stream, sequence in won[np.isin(won["stream"], lost["stream"])][
            ["attempt", "stream", "sequence"]
        ].tolist()
    }
    losers = set()
    times = history.attempts[["invoked_ns", "ended_ns"]]
    for attempt, stream, sequence in lost[["attempt", "stream", "sequence"]].tolist():
        other = winner.get((stream, sequence))
        if other is not None and _overlap(times[attempt], times[other], history.doubt_ns):
            losers.add(attempt)
    return len(losers)


def _overlap(call: np.void, other: np.void, doubt_ns: int) -> bool:
    return bool(
        call["invoked_ns"] + doubt_ns < other["ended_ns"]
        and other["invoked_ns"] + doubt_ns < call["ended_ns"]
    )


def cut_off(history: History) -> int:
    """How often the server ended a consumer's read, which then went on from its token."""
    return sum(consumption.cut_off for consumption in history.consumptions)


def undecided(history: History, *, contends: bool) -> dict[str, str]:
    """The invariants that this history could not have broken, with what was missing."""
    missing = {}
    if contends and not raced(history):
        missing["I5"] = "races were not hunted: no two appends expected one version at the same time"
    overlapping = overtaken(history)
    if overlapping < OVERTAKEN_MIN:
        missing["I7"] = (
            f"too little happened at once: {overlapping} transactions ended after one that began later, "
            f"{OVERTAKEN_MIN} are needed"
        )
    given_up = [
        f"{consumption.name}: {consumption.ended}"
        for consumption in history.consumptions
        if consumption.ended
    ]
    if given_up:
        missing |= dict.fromkeys(("I7", "I12"), f"consumers could not go on ({'; '.join(given_up)})")
    return missing
