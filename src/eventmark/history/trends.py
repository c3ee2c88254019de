"""The trends of a history: every number's changes, each with the run and commit it came with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from eventmark.errors import UsageError
from eventmark.history.change_points import RUNS_MIN, CourseChanges, Drift, LevelStep, find_changes
from eventmark.history.comparison import FailOn, comparison_exit_code
from eventmark.history.courses import Course, Group, courses, in_order, renamed
from eventmark.history.entries import Entry
from eventmark.judgement.verdicts import overall
from eventmark.results.results import Document, Verdict

TRENDS_FORMAT = "eventmark-trends"
TRENDS_FORMAT_VERSION = 2
RECENT_RUNS = 10
SLOWDOWN = 0.10
FEW_SHOWN = 20
TOO_FEW = "nothing to compare yet"


class When(Document, frozen=True, kw_only=True):
    """A run of the history."""

    moment: str
    commit: str
    file: str


class Trend(Document, frozen=True, kw_only=True):
    """One number's course. ``better`` as in ``results.Figure``; ``label`` also tells its branch and machine apart.

    ``places`` are where it was measured among the ``of`` runs that could have. ``live``: whether such runs still come.
    """

    name: str
    label: str
    kind: str
    branch: str
    machine: str
    unit: str
    better: str
    exact: bool
    values: list[float]
    runs: list[When]
    places: list[int]
    of: int
    live: bool
    changes: CourseChanges

    def is_worse(self, ratio: float, slowdown: float = 0.0) -> bool:
        """Whether a change by this factor is for the worse, by ``slowdown`` at least; never where nothing is better."""
        limit = 1 if self.exact else 1 + slowdown
        return (
            ratio > limit if self.better == "less" else ratio < 1 / limit if self.better == "more" else False
        )

    def recent_steps(self, recent: int) -> list[LevelStep]:
        """The steps among the last ``recent`` runs of those that could have measured it."""
        return [step for step in self.changes.steps if self.places[step.at] >= self.of - recent]

    @property
    def missed(self) -> int:
        """How many runs there were since it was last measured."""
        return self.of - 1 - self.places[-1]

    @property
    def said_of_end(self) -> str:
        return (
            f"not measured in the last {self.missed} of {self.of} runs; last on {_said_of_run(self.runs[-1])}"
        )

    def described_step(self, step: LevelStep) -> str:
        return (
            f"from {step.before:.4g} to {step.after:.4g} {self.unit}".rstrip()
            + f" ({step.ratio - 1:+.1%}) since {_said_of_run(self.runs[step.at])}, confidence {step.confidence:.1%}"
        )

    def described_drift(self, drift: Drift) -> str:
        return (
            f"{drift.ratio - 1:+.1%} over {drift.runs} runs (between {drift.low - 1:+.1%} and {drift.high - 1:+.1%}), "
            f"since {self.runs[drift.since].moment}, confidence {drift.confidence:.1%}"
        )


class Unjudged(Document, frozen=True, kw_only=True):
    """A number that a run should have and that cannot be judged: where, and why."""

    name: str
    place: str
    why: str

    @property
    def described(self) -> str:
        return f"{self.why} ({self.place})"


class Trends(Document, frozen=True, kw_only=True):
    """The whole history. ``recent``: a step among so many last runs still counts; ``slowdown``: from so much on."""

    format: str = TRENDS_FORMAT
    format_version: int = TRENDS_FORMAT_VERSION
    runs: int
    recent: int
    slowdown: float
    notes: list[str]  # about the order, and what was left out
    trends: list[Trend]
    unjudged: list[Unjudged]
    newest: tuple[str, str, str]  # kind, branch and machine of the newest run

    def of_newest(self, *, exact: bool) -> list[Trend]:
        """The numbers of the newest run's kind."""
        kind, branch, machine = self.newest
        return [
            trend
            for trend in self.trends
            if trend.exact is exact
            and (trend.kind, trend.branch) == (kind, branch)
            and trend.machine in ("", machine)
        ]


def find_trends(
    entries: Sequence[Entry],
    *,
    recent: int = RECENT_RUNS,
    slowdown: float = SLOWDOWN,
    renames: Sequence[tuple[str, str]] = (),
    commits: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    damaged: Mapping[str, str] | None = None,
) -> Trends:
    """The changes of every course. ``commits`` are the repository's, by their place in its history; ``damaged`` are
    files of the history that cannot be read, each with the reason.

    Raises ``UsageError`` for an empty history, and for a rename that joins two numbers.
    """
    if not entries:
        raise UsageError("the history is empty", remedy="name a folder of results, or --branch, or --import")
    ordered, order = in_order(renamed(entries, renames), commits)
    all_courses = courses(ordered, recent=recent)
    newest = ordered[-1].kind, ordered[-1].branch, ordered[-1].machine
    branches = len({entry.branch for entry in ordered}) > 1
    trends = [_trend(course, _apart(course.group, newest, branches)) for course in all_courses]
    return Trends(
        runs=len(entries),
        recent=recent,
        slowdown=slowdown,
        notes=[*notes, *filter(None, [order]), *_unused(entries, renames), *_notes(trends, newest, recent)],
        trends=trends,
        unjudged=[
            *_damaged(damaged or {}),
            *_unjudged(ordered),
            *(_hole(course, run) for course in all_courses for run in course.holes(recent)),
        ],
        newest=newest,
    )


def encode_trends(trends: Trends) -> bytes:
    return msgspec.json.format(msgspec.json.encode(trends), indent=1) + b"\n"


def judge_trends(trends: Trends, fail_on: FailOn = FailOn.ANY) -> tuple[Verdict, list[str]]:
    """BROKEN by a recent step or a drift for the worse; INCONCLUSIVE by what is no longer measured or is no number,
    and where the history is too short to show anything.
    """
    if fail_on is FailOn.NEVER:
        return Verdict.MET, []
    asked = [
        trend
        for trend in trends.trends
        if fail_on is FailOn.ANY or trend.exact is (fail_on is FailOn.COUNTERS)
    ]
    parts = [(trend.label, *_judged(trend, trends)) for trend in asked]
    parts += [(name, Verdict.INCONCLUSIVE, why) for name, why in _unjudged_by_name(trends.unjudged)]
    if few := _too_few(trends, fail_on):
        parts.append((TOO_FEW, Verdict.INCONCLUSIVE, few))
    return overall(parts) if parts else (Verdict.MET, [])


def trends_exit_code(trends: Trends, fail_on: FailOn, *, few_ok: bool) -> int:
    """The verdict's; 0 where only what is proven slower fails, or where ``few_ok`` lets a short history pass."""
    verdict, reasons = judge_trends(trends, fail_on)
    short = verdict is Verdict.INCONCLUSIVE and all(reason.startswith(TOO_FEW) for reason in reasons)
    return 0 if few_ok and short else comparison_exit_code(verdict, fail_on)


def worsening(trend: Trend, recent: int, slowdown: float = SLOWDOWN) -> str:
    """What is worse about it now, in words; empty where nothing is, and where it has not been measured for long."""
    if not trend.live or trend.missed >= recent:
        return ""
    sentences = []
    steps, drift = trend.recent_steps(recent), trend.changes.drift
    if steps:
        worst = (max if trend.better == "less" else min)(steps, key=lambda step: step.ratio)
        whole = LevelStep(
            at=worst.at, before=steps[0].before, after=steps[-1].after, confidence=worst.confidence
        )
        if trend.is_worse(whole.ratio, slowdown):
            more = f", and {len(steps) - 1} other steps" if len(steps) > 1 else ""
            sentences.append(trend.described_step(whole) + more)
    if drift is not None and trend.is_worse(drift.ratio, slowdown):
        sentences.append(trend.described_drift(drift))
    return "; ".join(sentences)


def _judged(trend: Trend, trends: Trends) -> tuple[Verdict, str]:
    if worse := worsening(trend, trends.recent, trends.slowdown):
        return Verdict.BROKEN, worse
    if trend.live and 0 < trend.missed <= trends.recent:
        return Verdict.INCONCLUSIVE, trend.said_of_end
    return Verdict.MET, ""


def _apart(group: Group, newest: Group, branches: bool) -> str:
    """What tells a course from one of the same name: its branch where there are several, what the newest run is not."""
    kind, branch, machine = group
    parts = (
        kind if kind != newest[0] else "", branch if branches else "", machine if machine != newest[2] else ""
    )  # fmt: skip
    return ", ".join(part for part in parts if part)


def _trend(course: Course, apart: str) -> Trend:
    kind, branch, machine = course.group
    return Trend(
        name=course.name, label=f"{course.name} ({apart})" if apart else course.name, kind=kind, branch=branch,
        machine=machine, unit=course.unit, better=course.better, exact=course.exact, values=course.values,
        runs=[When(moment=entry.moment, commit=entry.commit, file=entry.file) for entry in course.entries],
        places=course.places, of=len(course.runs), live=course.live, changes=find_changes(course.values),
    )  # fmt: skip


def _notes(trends: Sequence[Trend], newest: Group, recent: int) -> list[str]:
    """What is told and not judged: numbers that ended long ago, runs that are no longer made, too few runs."""
    notes = [
        f"{trend.label}: {trend.said_of_end}." for trend in trends if trend.live and trend.missed > recent
    ]
    few = [trend for trend in trends if trend.live and not trend.changes.told and trend.missed <= recent]
    new = [
        f"{trend.label} ({len(trend.values)})" for trend in few if (trend.kind, trend.branch) == newest[:2]
    ]
    if new:
        more = f" and {len(new) - FEW_SHOWN} more" if len(new) > FEW_SHOWN else ""
        notes.append(f"Fewer than {RUNS_MIN} runs, and not judged yet: {', '.join(new[:FEW_SHOWN])}{more}.")
    others = [trend for trend in few if (trend.kind, trend.branch) != newest[:2]]
    for sentence, ones in (
        (f"Fewer than {RUNS_MIN} runs, and not judged", others),
        ("No longer run, and not judged", [trend for trend in trends if not trend.live]),
    ):
        groups = Counter(", ".join(filter(None, (trend.kind, trend.branch, trend.machine))) for trend in ones)
        notes += [f"{sentence}: {count} of {group}." for group, count in groups.items()]
    return notes


def _too_few(trends: Trends, fail_on: FailOn) -> str:
    """Why the newest run is not judged: by its times, or its counters where it has no times; empty where it is."""
    exact = fail_on is FailOn.COUNTERS or (fail_on is FailOn.ANY and not trends.of_newest(exact=False))
    its = trends.of_newest(exact=exact)
    if any(it.changes.told for it in its):
        return ""
    longest = max((len(it.values) for it in its), default=0)
    return f"{longest} comparable runs, and at least {RUNS_MIN} are needed"


def _unused(entries: Sequence[Entry], renames: Sequence[tuple[str, str]]) -> list[str]:
    names = {name for entry in entries for name in (*entry.measurements, *entry.unjudged)}
    return [
        f"Renamed, and not in the history: {old}."
        for old, _ in renames
        if not any(name == old or name.startswith(f"{old} ") for name in names)
    ]


def _unjudged(entries: Sequence[Entry]) -> list[Unjudged]:
    return [
        Unjudged(name=name, place=entry.place, why=why)
        for entry in entries
        for name, why in entry.unjudged.items()
    ]


def _damaged(files: Mapping[str, str]) -> list[Unjudged]:
    return [Unjudged(name="a result", place=file, why=why) for file, why in files.items()]


def _hole(course: Course, run: Entry) -> Unjudged:
    return Unjudged(name=course.name, place=run.place, why="no value")


def _unjudged_by_name(unjudged: Sequence[Unjudged]) -> list[tuple[str, str]]:
    """Each name once, with the first and the number of the others."""
    by_name: dict[str, list[Unjudged]] = {}
    for hole in unjudged:
        by_name.setdefault(hole.name, []).append(hole)
    return [
        (name, ones[0].described + (f", and {len(ones) - 1} more" if len(ones) > 1 else ""))
        for name, ones in by_name.items()
    ]


def _said_of_run(run: When) -> str:
    return f"{run.moment}, commit {run.commit[:12]}" if run.commit else run.moment
