"""A certification: its parts on one job, in the time there is, each kept as it is finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from eventmark.certify.criteria import Done, Part
from eventmark.certify.extents import CommonGround, Extent, extents_of
from eventmark.certify.kept import KeptParts
from eventmark.certify.page import whole_result
from eventmark.certify.schedule import NEEDED, chosen_extents, least_s, left_over_s
from eventmark.errors import EventmarkError, UsageError
from eventmark.jobs.existing import prepare_existing
from eventmark.jobs.job import check_room, prepare_store
from eventmark.jobs.kernel import Interrupted
from eventmark.loadgen.generator import Watcher
from eventmark.results.results import RunResult
from eventmark.seeding import Progress

TITLES = {
    Part.VERIFY: "lost events",
    Part.OPERATIONS: "operations one by one, and their plans",
    Part.CLIFFS: "plan cliffs",
    Part.LOAD: "load at 1,000 events/s",
    Part.CAPACITY: "capacity",
    Part.SWEEP: "clients from 1 to 64",
    Part.ISOLATION: "isolation of tenants",
    Part.GROWTH: "growth of the log",
    Part.STRESS: "stress",
    Part.SOAK: "soak",
    Part.ADVICE: "advice",
}

_LOADS = "others use the server, and --existing burdens it with one connection alone; it takes a corpus"
_WRITES = "nothing is written with --existing; it takes a corpus"
NOT_IN_USE = {
    Part.VERIFY: f"{_WRITES}: eventmark verify",
    Part.LOAD: f"{_LOADS}: eventmark load",
    Part.CAPACITY: f"{_LOADS}: eventmark capacity",
    Part.SWEEP: f"{_LOADS}: eventmark sweep",
    Part.ISOLATION: f"{_LOADS}: eventmark isolate",
    Part.GROWTH: f"{_WRITES}: eventmark scale",
    Part.STRESS: f"{_LOADS}: eventmark stress",
    Part.SOAK: f"{_WRITES}: eventmark soak",
    Part.ADVICE: f"{_WRITES}: eventmark advise",
}
"""What is not done on data that was there already, with the reason and the verb that does it elsewhere."""

PACE_MOST = 1.5
"""The machine is taken to be so many times slower or quicker than estimated, at most."""

ENDED = ("interrupted", "ended by an error")

View = Callable[[], AbstractContextManager[tuple[Progress, Watcher]]]
Say = Callable[[str], None]


class Stopped(Exception):
    """Something went wrong that no part answers for. ``result`` is what was measured until then."""

    def __init__(self, result: RunResult, error: Exception) -> None:
        super().__init__(str(error))
        self.result = result
        self.error = error


@dataclass(slots=True)
class Certification:
    """``view`` shows one part's progress; ``say`` is told what will be done, what is, and what came of it."""

    ground: CommonGround
    minutes: int
    resume: bool
    view: View
    say: Say
    clock: Callable[[], float] = time.monotonic
    _parts: dict[Part, RunResult] = field(default_factory=dict)
    _not_done: dict[Part, str] = field(default_factory=dict)
    _estimated_s: float = 0.0
    _took_s: float = 0.0
    _began_s: float = field(init=False)
    _began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    def run(self) -> RunResult:
        """Raises ``UsageError`` where the time is too short for anything.

        ``Interrupted`` and ``Stopped`` hold what there is.
        """
        job = self.ground.job
        kept = KeptParts(self.ground.out)
        self._parts = kept.finished(job) if self.resume else {}
        self._check_time()
        if job.existing is None:
            check_room(job, prepare_store(job))
        else:
            prepare_existing(job)
        if not self.resume:
            kept.begin(job)
        self._announce()
        while (next_one := self._next()) is not None:
            self._do(*next_one, kept)
        return self._result(f"not done in {self.minutes} minutes")

    def _check_time(self) -> None:
        seconds = {part: [extent.seconds for extent in extents] for part, extents in self._to_do().items()}
        if (least := least_s(seconds)) > self._left_s():
            raise UsageError(
                f"{self.minutes} minutes are too few for anything",
                remedy=f"give it --minutes {least // 60 + 1:.0f} or more, or fewer --events",
            )

    def _to_do(self) -> Mapping[Part, list[Extent]]:
        return {
            part: list(extents)
            for part, extents in extents_of(self.ground).items()
            if part not in self._parts and part not in self._not_done and extents
        }

    def _left_s(self) -> float:
        return 60 * self.minutes - (self.clock() - self._began_s)

    def _chosen(self) -> tuple[dict[Part, Extent], float]:
        """The extents of what is yet to be done, and what is left over."""
        to_do = self._to_do()
        seconds = {part: self._seconds(part, extents) for part, extents in to_do.items()}
        decides = {
            part: next((size for size, extent in enumerate(extents) if extent.decides), 0)
            for part, extents in to_do.items()
        }
        chosen = chosen_extents(seconds, self._left_s(), decides)
        rest_s = left_over_s(seconds, chosen, self._left_s())
        return {part: to_do[part][size] for part, size in chosen.items()}, rest_s

    def _seconds(self, part: Part, extents: Sequence[Extent]) -> list[float]:
        """What each will take here, by how the parts before kept to their estimates; a soak takes its own time."""
        pace = 1.0
        if self._estimated_s and part is not Part.SOAK:
            pace = min(max(self._took_s / self._estimated_s, 1 / PACE_MOST), PACE_MOST)
        return [pace * extent.seconds for extent in extents]

    def _next(self) -> tuple[Part, Extent] | None:
        """The first part that there is time for now, and how thoroughly.

        One that was passed over has its turn when another, which would have taken the time, no longer fits. Without
        those that are needed there is no answer: whatever took longer than was thought, they are done.
        """
        chosen, _ = self._chosen()
        to_do = self._to_do()
        chosen |= {part: to_do[part][0] for part in NEEDED if part in to_do and part not in chosen}
        part = next((part for part in Part if part in chosen), None)
        return None if part is None else (part, chosen[part])

    def _announce(self) -> None:
        chosen, rest_s = self._chosen()
        self.say(f"In {self.minutes} minutes, what decides most first:")
        for part in Part:
            if part in self._parts:
                self.say(f"  finished before: {TITLES[part]}")
            elif part in chosen:
                seconds = chosen[part].seconds + (rest_s if part is Part.SOAK else 0.0)
                self.say(f"  {_minutes(seconds):>8}  {TITLES[part]}")
            else:
                self.say(f"  not done  {TITLES[part]}: {self._why_not(part)}")

    def _why_not(self, part: Part) -> str:
        if part in self._ruled_out:
            return self._ruled_out[part]
        extents = extents_of(self.ground)[part]
        if not extents:
            return "the corpus has too few events for it"
        return f"it takes {_minutes(extents[0].seconds)}, more than the minutes leave"

    def _do(self, part: Part, extent: Extent, kept: KeptParts) -> None:
        rest_s = self._chosen()[1]
        number = f"{list(Part).index(part) + 1}/{len(Part)}"
        self.say(f"[{number}] {TITLES[part]}; {_minutes(max(self._left_s(), 0))} left")
        began_s = self.clock()
        try:
            with self.view() as (progress, watch):
                ground = replace(self.ground, watch=watch)
                result = extent.make(ground, rest_s).run(extent.job(ground), progress)
        except Interrupted as interruption:
            self._parts[part] = interruption.result
            raise Interrupted(self._result(ENDED[0])) from None
        except KeyboardInterrupt:
            raise Interrupted(self._result(ENDED[0])) from None
        except EventmarkError as error:
            self._not_done[part] = f"{TITLES[part]}: {error.message}"
            self.say(f"  not done: {error.message}")
            return
        except Exception as error:
            raise Stopped(self._result(ENDED[1]), error) from error
        self._estimated_s += extent.seconds + (rest_s if part is Part.SOAK else 0.0)
        self._took_s += self.clock() - began_s
        kept.keep(part, result)
        self._parts[part] = result
        if result.corpus is not None and result.corpus.events_per_s:
            self.ground = replace(self.ground, loaded_per_s=result.corpus.events_per_s)
        self.ground = replace(self.ground, job=replace(self.ground.job, replace=False))
        self.say(f"  {result.verdict.value} " + "; ".join(result.reasons[:2]))

    def _result(self, ended: str) -> RunResult:
        why = {
            part: self._not_done.get(part, f"{TITLES[part]}: {self._ruled_out.get(part, ended)}")
            for part in Part
        }
        done = Done(
            parts=self._parts,
            not_done={part: reason for part, reason in why.items() if part not in self._parts},
            lacking=self._lacking(),
            ruled_out=self._ruled_out,
            ended=ended in ENDED,
        )
        return whole_result(
            done, self.ground.job, TITLES, minutes=self.minutes, began_at=self._began_at,
            seconds=self.clock() - self._began_s,
        )  # fmt: skip

    @property
    def _ruled_out(self) -> dict[Part, str]:
        return {} if self.ground.job.existing is None else NOT_IN_USE

    def _lacking(self) -> dict[str, str]:
        job, lacking = self.ground.job, {}
        if not job.definition.capabilities.tokens:
            lacking["tokens"] = job.definition.absent.get("stream_events", "the store streams no events")
        if job.existing is None and len(job.corpus.tenants) < 2:
            lacking["tenants"] = "the corpus has one tenant"
        return lacking


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"
