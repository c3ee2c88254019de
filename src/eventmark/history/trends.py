"""The trends of a history: every number's changes, each with the run and commit it came with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eventmark.errors import UsageError
from eventmark.history.change_points import RUNS_MIN, Changes, Drift, Step, find_changes
from eventmark.history.comparison import FailOn
from eventmark.history.entries import Course, Entry, courses, left_out
from eventmark.judgement.verdicts import overall
from eventmark.results.results import Document, Verdict

TRENDS_FORMAT = "eventmark-trends"
TRENDS_FORMAT_VERSION = 1
RECENT_RUNS = 10


class When(Document, frozen=True, kw_only=True):
    """A run of the history."""

    moment: str
    commit: str
    file: str


class Trend(Document, frozen=True, kw_only=True):
    """One number's course. ``better`` as in ``results.Figure``."""

    name: str
    unit: str
    better: str
    exact: bool
    values: list[float]
    runs: list[When]
    changes: Changes

    def is_worse(self, ratio: float) -> bool:
        """Whether a change by this factor is for the worse; never where neither direction is better."""
        return ratio > 1 if self.better == "less" else ratio < 1 if self.better == "more" else False

    @property
    def last_step(self) -> Step | None:
        return self.changes.steps[-1] if self.changes.steps else None

    def recently(self, recent: int) -> Step | None:
        """The last step, where it is among the last ``recent`` runs."""
        step = self.last_step
        return step if step is not None and step.at >= len(self.values) - recent else None

    def said_of_step(self, step: Step) -> str:
        run = self.runs[step.at]
        commit = f", commit {run.commit[:12]}" if run.commit else ""
        return (
            f"{step.before:.4g} to {step.after:.4g} {self.unit}".rstrip()
            + f", {step.ratio - 1:+.1%}, since {run.moment}{commit}, confidence {step.confidence:.1%}"
        )

    def said_of_drift(self, drift: Drift) -> str:
        return (
            f"{drift.ratio - 1:+.1%} over {drift.runs} runs (between {drift.low - 1:+.1%} and {drift.high - 1:+.1%}), "
            f"since {self.runs[drift.since].moment}, confidence {drift.confidence:.1%}"
        )


class Trends(Document, frozen=True, kw_only=True):
    """The whole history. ``recent``: a step among so many last runs still counts."""

    format: str = TRENDS_FORMAT
    format_version: int = TRENDS_FORMAT_VERSION
    runs: int
    recent: int
    left_out: dict[str, int]
    trends: list[Trend]


def find_trends(entries: Sequence[Entry], *, recent: int = RECENT_RUNS) -> Trends:
    """Raises ``UsageError`` for an empty history."""
    if not entries:
        raise UsageError("the history is empty", remedy="name a folder of results, or --branch, or --import")
    return Trends(
        runs=len(entries),
        recent=recent,
        left_out={what: count for what, count in left_out(entries).items() if count},
        trends=[_trend(course) for course in courses(entries)],
    )


def encode_trends(trends: Trends) -> bytes:
    return msgspec.json.format(msgspec.json.encode(trends), indent=1) + b"\n"


def judge_trends(trends: Trends, fail_on: FailOn = FailOn.ANY) -> tuple[Verdict, list[str]]:
    """BROKEN by a recent step or a drift for the worse; INCONCLUSIVE where the history is too short to show any."""
    if fail_on is FailOn.NEVER:
        return Verdict.MET, []
    asked = [
        trend
        for trend in trends.trends
        if fail_on is FailOn.ANY or trend.exact is (fail_on is FailOn.COUNTERS)
    ]
    told = [trend for trend in asked if trend.changes.told]
    if not told:
        longest = max((len(trend.values) for trend in asked), default=0)
        return Verdict.INCONCLUSIVE, [f"{longest} runs that can be compared, at least {RUNS_MIN} are needed"]
    parts = []
    for trend in told:
        worse = worsening(trend, trends.recent)
        parts.append((trend.name, Verdict.BROKEN if worse else Verdict.MET, worse))
    return overall(parts)


def worsening(trend: Trend, recent: int) -> str:
    """What is worse about it now, in words; empty where nothing is."""
    said = []
    step, drift = trend.recently(recent), trend.changes.drift
    if step is not None and trend.is_worse(step.ratio):
        said.append(trend.said_of_step(step))
    if drift is not None and trend.is_worse(drift.ratio):
        said.append(trend.said_of_drift(drift))
    return "; ".join(said)


def _trend(course: Course) -> Trend:
    return Trend(
        name=course.name, unit=course.unit, better=course.better, exact=course.exact, values=course.values,
        runs=[When(moment=one.moment, commit=one.commit, file=one.file) for one in course.entries],
        changes=find_changes(course.values),
    )  # fmt: skip
