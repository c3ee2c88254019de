"""The incident museum: incidents that users of event stores reported, each run the faulty way and the sound way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import asyncpg

from eventmark.choices import unknown
from eventmark.errors import UsageError
from eventmark.experiments.museum.exhibit import Exhibit, Room, Trial, verdict_of
from eventmark.experiments.museum.losing import IGNORED_CONFLICT, POSITION_CHECK, TAILING_READERS
from eventmark.experiments.museum.memory import HUGE_AGGREGATE
from eventmark.experiments.museum.pages import RANDOM_EVENT_IDS, TOKEN_TABLE
from eventmark.experiments.museum.planner import (
    BACKLOG,
    PRIMARY_KEY,
    SIXTH_EXECUTION,
    TOKEN_AT,
    VISIBILITY_MAP,
)
from eventmark.experiments.museum.row_security import POLICY_PER_ROW, POLICY_WITH_OR
from eventmark.experiments.museum.waiting import NOTIFY_IN_APPEND, TOTAL_ORDER_LOCK
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.results.results import Column, Figure, Finding, Row, Section, Table, Verdict
from eventmark.seeding import no_progress
from eventmark.server import Server

EXHIBITS = {
    exhibit.name: exhibit
    for exhibit in (
        TAILING_READERS, IGNORED_CONFLICT, POSITION_CHECK, TOKEN_AT, SIXTH_EXECUTION, PRIMARY_KEY, BACKLOG,
        VISIBILITY_MAP, POLICY_PER_ROW, POLICY_WITH_OR, NOTIFY_IN_APPEND, TOTAL_ORDER_LOCK, TOKEN_TABLE,
        RANDOM_EVENT_IDS, HUGE_AGGREGATE,
    )
}  # fmt: skip
ALL = "all"

# Events of a log, events of a hunt (none: by hand), seconds of writers
EXTENTS = {
    "quick": (30_000, 0, 1.5),
    "standard": (200_000, 50_000, 5.0),
    "full": (1_000_000, 500_000, 20.0),
}


def chosen_exhibits(name: str) -> Sequence[Exhibit]:
    """``all``, or one. Raises ``UsageError`` for a name that is none."""
    if name == ALL:
        return tuple(EXHIBITS.values())
    if name not in EXHIBITS:
        raise unknown("exhibit", name, EXHIBITS, remedy=f"use {', '.join(EXHIBITS)} or {ALL}")
    return (EXHIBITS[name],)


@dataclass(frozen=True, slots=True, kw_only=True)
class Museum(Experiment):
    """Exhibits, one after the other: MET where Eventmark flags the faulty way and passes the sound one."""

    name: ClassVar[str] = "museum"
    exhibits: Sequence[Exhibit]

    seeds: ClassVar[bool] = False

    def job_for(self, job: Job) -> Job:
        if job.definition.engine == "":
            raise UsageError(
                f"store {job.definition.name!r} is not what the exhibits show",
                remedy="leave --store out: they are of Eventmark's own engine, and of what others did",
            )
        return job

    def scratch_events(self, job: Job) -> int:
        return _room(job).events

    def measure(self, run: Run) -> Findings:
        """What the role may not do leaves its exhibit INCONCLUSIVE."""
        room, sections = _room(run.job), list[Section]()
        run.so_far = lambda: Findings(sections=sections)
        for number, exhibit in enumerate(self.exhibits):
            run.progress("museum", number, len(self.exhibits))
            with run.phase(exhibit.name):
                sections.append(exhibit_section(exhibit, _tried(exhibit, room)))
        run.progress("museum", len(self.exhibits), len(self.exhibits))
        findings = [section.findings[0] for section in sections]
        met = sum(finding.verdict is Verdict.MET for finding in findings)
        figures = {
            "exhibits_told_apart": Figure(value=met, unit="exhibits", better="more", exact=True),
            "exhibits": Figure(value=len(findings), unit="exhibits", exact=True),
        }
        return Findings(sections=sections, figures=figures)


def _room(job: Job) -> Room:
    return room_for(job.server, job.schema, job.profile.name, seed=job.corpus.seed)


def room_for(server: Server, schema: str, profile: str, *, seed: int = 1) -> Room:
    """The room that a profile gives exhibits on a server: all SQL is Eventmark's own, and makes roles."""
    events, hunted_events, seconds = EXTENTS[profile]
    return Room(
        server=replace(server, dsn=server.admin_dsn), schema=schema, seed=seed, events=events,
        hunted_events=hunted_events, seconds=seconds, progress=no_progress,
    )  # fmt: skip


def exhibit_section(exhibit: Exhibit, trials: Sequence[Trial]) -> Section:
    """What happened, what was tried, and whether the bad was told from the good."""
    verdict, reason = verdict_of(trials)
    return Section(
        name=exhibit.name,
        title=exhibit.title,
        verdict=verdict,
        text=[
            exhibit.story,
            f"What avoids it: {exhibit.lesson}",
            f"Judged by: {exhibit.judged_by}.",
            f"Reported as {', '.join(exhibit.sources)}.",
        ],
        findings=[
            Finding(
                name=exhibit.name,
                verdict=verdict,
                observed=reason or "the faulty way was flagged and the sound one passed",
                expected="the faulty way is flagged and the sound one passes",
                remedy="" if verdict is Verdict.MET else f"eventmark museum --exhibit {exhibit.name}",
            )
        ],
        tables=[_evidence(trials)],
    )  # fmt: skip


def _evidence(trials: Sequence[Trial]) -> Table:
    counters = list(dict.fromkeys(name for trial in trials for name in trial.counters))
    rows: list[Row] = [
        [
            trial.variant, "good" if trial.good else "bad", _called(trial),
            *(trial.counters.get(name) for name in counters), trial.reason,
        ]
        for trial in trials
    ]  # fmt: skip
    columns = [
        "way", "known as", "eventmark", *counters, "because",
    ]  # fmt: skip
    return Table(title="", columns=[Column(name=name) for name in columns], rows=rows)


def _called(trial: Trial) -> str:
    return {Verdict.BROKEN: "flags it", Verdict.MET: "passes it"}.get(trial.verdict, "cannot tell")


def _tried(exhibit: Exhibit, room: Room) -> Sequence[Trial]:
    try:
        return exhibit.tried(room)
    except asyncpg.InsufficientPrivilegeError as error:
        reason = str(error).partition("\n")[0]
        return [
            Trial(
                variant="any", good=False, verdict=Verdict.INCONCLUSIVE, reason=f"the role may not: {reason}",
                counters={},
            )
        ]  # fmt: skip
