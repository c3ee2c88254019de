"""An exhibit: an incident that somebody had, its known-bad and its known-good way, and what Eventmark says to both."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmark.engine.statements import read_statements
from eventmark.results.results import Verdict
from eventmark.seeding import Progress
from eventmark.server import Server
from eventmark.server.loop import on_loop

STATEMENTS = read_statements(Path(__file__).parent / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where exhibits are run. ``schema`` begins the names of the schemas that they make and drop.

    ``events`` is the length of the logs they fill, ``hunted_events`` that of a hunt (0: none), ``seconds`` how long
    writers run whose waits are counted.
    """

    server: Server
    schema: str
    seed: int
    events: int
    hunted_events: int
    seconds: float
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One way to do it, judged by Eventmark. ``counters`` is the evidence, by the same names in every trial."""

    variant: str
    good: bool
    verdict: Verdict
    reason: str
    counters: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """``sources`` are the public reports, as project and number; ``judged_by`` is the tool that has to tell."""

    name: str
    title: str
    sources: tuple[str, ...]
    story: str
    lesson: str
    judged_by: str
    run: Callable[[Room], Sequence[Trial] | Coroutine[Any, Any, Sequence[Trial]]]

    def tried(self, room: Room) -> Sequence[Trial]:
        """Each way of it, tried in the room."""
        trials = self.run(room)
        return on_loop(trials) if isinstance(trials, Coroutine) else trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A counter may come to so much and no more; ``why`` is the reason for the number."""

    counter: str
    most: float
    why: str


def judge_counters(counters: Mapping[str, float], limits: Sequence[Limit]) -> tuple[Verdict, str]:
    """BROKEN with the first counter that is over its limit, else MET."""
    for limit in limits:
        if counters[limit.counter] > limit.most:
            return (
                Verdict.BROKEN,
                f"{limit.counter} {counters[limit.counter]:,.6g}, at most {limit.most:g}: {limit.why}",
            )
    told = ", ".join(
        f"{limit.counter} {counters[limit.counter]:,.6g} (at most {limit.most:g})" for limit in limits
    )
    return Verdict.MET, told


def verdict_of(trials: Sequence[Trial]) -> tuple[Verdict, str]:
    """MET where every faulty way was flagged and every good one passed, with the reason where not."""
    for trial in trials:
        if trial.verdict is Verdict.INCONCLUSIVE:
            return Verdict.INCONCLUSIVE, f"{trial.variant}: {trial.reason}"
    for trial in trials:
        if trial.good and trial.verdict is not Verdict.MET:
            return Verdict.BROKEN, f"the good way was flagged: {trial.variant}: {trial.reason}"
        if not trial.good and trial.verdict is not Verdict.BROKEN:
            return Verdict.BROKEN, f"the faulty way was not flagged: {trial.variant}: {trial.reason}"
    if {trial.good for trial in trials} != {True, False}:
        return Verdict.INCONCLUSIVE, "a bad and a good way are needed"
    return Verdict.MET, ""
