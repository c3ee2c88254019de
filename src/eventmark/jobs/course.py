"""The course of a scenario: its phases, what both sides did meanwhile, and the result it ends with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from eventmark.jobs.aged import aged_sections
from eventmark.jobs.job import Job, draw_sample, environment_of, fill
from eventmark.results.results import Figure, Finding, Phase, RunResult, Section, Series, Verdict
from eventmark.seeding import CorpusSample, Progress, estimated_bytes, no_progress
from eventmark.server import Monitor, Watch, examine, fitness


class Course:
    """Entered when a scenario begins: the machine is examined, then watched until it is left.

    ``skipped`` is what could not be done, by name, with the reason, and ``series`` what a scenario sampled by
    itself; scenarios add to them. ``events_to_come`` need room on disk; all of the corpus unless told otherwise.
    """

    def __init__(
        self, job: Job, progress: Progress = no_progress, *, events_to_come: int | None = None
    ) -> None:
        self._job = job
        self._events_to_come = job.corpus.events if events_to_come is None else events_to_come
        self._progress = progress
        self._began_at = datetime.now(UTC)
        self._began_s = time.monotonic()
        self._monitor = Monitor(job.server, origin_s=self._began_s)
        self.phases: list[Phase] = []
        self.skipped: dict[str, str] = {}
        self.series: list[Series] = []
        self.fitness: list[Finding] = []

    def __enter__(self) -> Self:
        with self.phase("doctor"):
            self._progress("doctor", 0, 1)
            needed_bytes = estimated_bytes(self._events_to_come, self._job.corpus.payload_profile)
            self.fitness = examine(self._job.server, self._job.place, needed_bytes)
            self._progress("doctor", 1, 1)
        self._monitor.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._monitor.__exit__(kind, error, trace)

    @property
    def now_s(self) -> float:
        """Seconds since the scenario began, the time of its phases and series."""
        return self.at_s(time.monotonic())

    def at_s(self, monotonic_s: float) -> float:
        """A moment of ``time.monotonic`` in the time of phases and series."""
        return monotonic_s - self._began_s

    @property
    def waits_now(self) -> dict[str, float]:
        """What the server's active sessions waited for when the monitor last looked."""
        return self._monitor.waits_now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start_s = self.now_s
        yield
        self.phases.append(Phase(name=name, start_s=round(start_s, 3), end_s=round(self.now_s, 3)))

    def watch(self) -> Watch:
        """Entered around what is measured; its evidence makes the section ``bottleneck_section``."""
        return Watch(self._job.server)

    def _aged(self) -> list[Section]:
        """How old the corpus is, where the job asked for an aged one and it was filled."""
        return aged_sections(self._job) if self._job.aged else []

    def result(self, verdict: Verdict, reasons: list[str], **parts: Any) -> RunResult:
        """The result of the scenario: what it measured is in ``parts``, the rest of a result is empty."""
        unseen = {f"series {name}": reason for name, reason in self._monitor.missing.items()}
        empty: dict[str, Any] = {"corpus": None, "operations": {}, "plans": []}
        return RunResult(
            run_id=str(uuid4()),
            started_at=self._began_at.isoformat(timespec="seconds"),
            seconds=round(self.now_s, 1),
            command=self._job.command,
            profile=self._job.profile.name,
            seed=self._job.corpus.seed,
            verdict=verdict,
            reasons=reasons,
            environment=environment_of(self._job, self.fitness),
            skipped=self.skipped | unseen,
            phases=self.phases,
            series=[*self._monitor.series(), *self.series],
            **(empty | parts | {"sections": [*self._aged(), *parts.get("sections", ())]}),
        )


def prepared_sample(job: Job, course: Course, progress: Progress) -> CorpusSample:
    """The store filled, and streams and places drawn from it."""
    with course.phase("seed"):
        fill(job, progress)
        return draw_sample(job)


def unfit_machine(course: Course) -> Iterator[tuple[str, Verdict, str]]:
    """An unfit machine makes no store BROKEN: it takes the certainty out of what was met."""
    if fitness(course.fitness) is Verdict.BROKEN:
        yield "machine", Verdict.INCONCLUSIVE, "not fit to measure on, see the findings of doctor"


def corpus_figures(job: Job) -> dict[str, Figure]:
    """How large the store was: figures of other volumes are other figures."""
    return {"corpus_events": Figure(value=float(job.corpus.events), unit="events", exact=True)}
