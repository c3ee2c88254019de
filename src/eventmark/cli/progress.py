"""Progress: one bar per stage with rate and time left; lines now and then where the output is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from eventmark.loadgen.generator import Pulse
from eventmark.seeding import Progress as Report

LINE_EVERY_S = 10.0
SEED_STAGE = "load"
_LABELS = {
    "doctor": "examine the machine",
    SEED_STAGE: "seed events",
    "indexes": "build indexes",
    "analyze": "gather statistics",
    "vacuum": "vacuum",
    "age": "age the corpus",
    "restore": "restore the corpus",
    "audit": "audit the corpus",
    "psql copy": "baseline by psql \\copy",
    "measure": "measure operations",
    "pairs": "measure pairs",
    "calibrate": "calibrate the gate",
    "plans": "examine plans",
    "stress": "cases of stress",
    "isolate": "alone and under load of another tenant",
    "copy": "copy the store",
    "museum": "show the museum",
    "cliffs": "look for plan cliffs",
    "try changes": "try changes",
    "try variants": "try variants",
    "try settings": "try settings",
    "measure use": "measure its use",
    "generate": "generate load",
    "capacity": "search the capacity",
    "sweep": "sweep over clients",
}


class _Rate(ProgressColumn):
    """Events per second while events are loaded."""

    def render(self, task: Task) -> Text:
        if task.fields.get("stage") != SEED_STAGE or not task.speed:
            return Text("")
        return Text(f"{task.speed:,.0f} events/s")


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """A callback for the rooms below. Each stage's bar stays when it is done."""
    if not console.is_terminal:
        with stage_lines(console) as lines:
            yield lines
        return
    bars = make_bars(console)
    with bars:
        yield reporter(bars)


@contextmanager
def stage_lines(console: Console) -> Iterator[StageLines]:
    """Lines of progress, also while nothing is reported for a long time."""
    lines, ended = StageLines(console), threading.Event()

    def tick() -> None:
        while not ended.wait(1.0):
            lines.tick()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        ended.set()
        thread.join()


class StageLines:
    """A line when a stage begins, and every ``LINE_EVERY_S`` how far it is, its rate, and how much longer it takes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._stage = ""
        self._began_s = self._told_s = self._reached_s = 0.0
        self._done = self._total = 0.0
        self._pulse: Pulse | None = None

    def __call__(self, stage: str, done: float, total: float) -> None:
        with self._lock:
            now_s = self._clock()
            if stage != self._stage:
                self._stage, self._began_s, self._pulse = stage, now_s, None
                self._tell(now_s, _LABELS.get(stage, stage))
            self._reached_s, self._done, self._total = now_s, done, total
            self._tell_if_it_is_time(now_s)

    def watch(self, pulse: Pulse, waits: Mapping[str, float]) -> None:
        """The rate of the load that is under way."""
        self._pulse = None if pulse.is_last else pulse

    def tick(self) -> None:
        """To be called now and then."""
        with self._lock:
            self._tell_if_it_is_time(self._clock())

    def _tell_if_it_is_time(self, now_s: float) -> None:
        if self._stage and now_s - self._told_s >= LINE_EVERY_S:
            self._tell(now_s, ", ".join(self._parts(now_s)))

    def _parts(self, now_s: float) -> Iterator[str]:
        """Whatever is known: of a stage that has not come far, only for how long it has been under way."""
        label, lasted_s = _LABELS.get(self._stage, self._stage), self._reached_s - self._began_s
        if self._done >= self._total:
            yield f"{label}: done {now_s - self._reached_s:.0f} s ago"
            return
        yield f"{label} {self._done / self._total:.0%}" if self._done else label
        if self._stage == SEED_STAGE and self._done:
            yield f"{self._done / lasted_s:,.0f} events/s"
        if self._pulse is not None:
            yield f"{self._pulse.succeeded_per_s:,.0f} operations/s"
        left_s = lasted_s * (self._total - self._done) / self._done if self._done else 0.0
        left_s -= now_s - self._reached_s
        yield f"about {left_s:.0f} s left" if left_s > 0 else f"for {now_s - self._began_s:.0f} s now"

    def _tell(self, now_s: float, text: str) -> None:
        self._told_s = now_s
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {text}", markup=False, highlight=False, soft_wrap=True
        )


def make_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        _Rate(),
        console=console,
    )


def reporter(bars: Progress) -> Report:
    """Tells ``bars`` of stages as they come."""
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: float, total: float) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(_LABELS.get(stage, stage), total=total, stage=stage)
        bars.update(tasks[stage], completed=done, total=total)

    return report
