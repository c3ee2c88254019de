"""One run of an experiment: its phases, what both sides did meanwhile, and what was noted on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import Self

from eventmark.jobs.cluster import machines_elsewhere
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job, draw_sample
from eventmark.results.results import Finding, HostEnvironment, Phase, Series
from eventmark.seeding import CorpusSample, Progress, SeedReport, estimated_bytes, no_progress
from eventmark.server import Monitor, Watch, examine
from eventmark.server.monitor import OTHERS

Stretch = tuple[float, float]
"""From when to when, seconds since the run began."""


class Run:
    """Entered when an experiment begins: the machine is examined, then watched until it is left.

    ``skipped`` is what could not be done, by name, with the reason, and ``series`` what an experiment sampled by
    itself; experiments add to them. ``seeded`` says how the corpus came to be there, None where none was filled.
    ``so_far`` returns what is measured already, for a run that is interrupted; experiments set it. It raises
    ``CannotRunError`` where that is nothing.
    ``events_to_come`` need room on disk. ``machines`` are those of a cluster's workers, by worker, that are elsewhere.
    """

    def __init__(self, job: Job, progress: Progress = no_progress, *, events_to_come: int = 0) -> None:
        self.job = job
        self.progress = progress
        self._events_to_come = events_to_come
        self.began_at = datetime.now(UTC)
        self._began_s = time.monotonic()
        self._monitor = Monitor(job.server, origin_s=self._began_s)
        self.seeded: SeedReport | None = None
        self.phases: list[Phase] = []
        self.skipped: dict[str, str] = {}
        self.series: list[Series] = []
        self.fitness: list[Finding] = []
        self.machines: dict[str, HostEnvironment] = {}
        self.so_far: Callable[[], Findings] | None = None

    def __enter__(self) -> Self:
        with self.phase("doctor"):
            self.progress("doctor", 0, 1)
            needed_bytes = estimated_bytes(self.job.corpus, self._events_to_come)
            self.fitness = examine(self.job.server, self.job.place, needed_bytes)
            self.machines, elsewhere = machines_elsewhere(self.job.cluster)
            self.fitness += elsewhere
            self.progress("doctor", 1, 1)
        self._monitor.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._monitor.__exit__(kind, error, trace)

    @property
    def now_s(self) -> float:
        """Seconds since the run began, the time of its phases and series."""
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
        try:
            yield
        finally:
            self.phases.append(Phase(name=name, start_s=round(start_s, 3), end_s=round(self.now_s, 3)))

    def watch(self) -> Watch:
        """Entered around what is measured, where an experiment judges stretches by themselves."""
        return Watch(self.job.server)

    @cached_property
    def sample(self) -> CorpusSample:
        """Streams and places for operations to work on, drawn from the table the first time it is asked for."""
        return draw_sample(self.job)

    def sampled(self) -> list[Series]:
        """What the monitor and the experiment sampled."""
        return [*self._monitor.series(), *self.series]

    @property
    def unseen(self) -> dict[str, str]:
        """Series that are not there, with the reason."""
        return {f"series {name}": reason for name, reason in self._monitor.missing.items()}

    def others_share(self, stretches: Sequence[Stretch]) -> float | None:
        """The share of the machine's cores that other processes and the hypervisor took in ``stretches``, on average.

        None where it was not seen then.
        """
        series = next((series for series in self._monitor.series() if series.name == OTHERS), None)
        values = [
            value
            for at_s, value in (zip(series.at_s, series.values, strict=True) if series else ())
            if any(start_s <= at_s <= end_s for start_s, end_s in stretches)
        ]
        return sum(values) / len(values) if values else None
