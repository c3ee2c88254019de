"""Progress: one bar per stage with rate and time left; lines now and then where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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

from eventmark.seeding import Progress as Report

LINE_EVERY_S = 30.0
_LABELS = {
    "doctor": "examine the machine",
    "load": "seed events",
    "indexes": "build indexes",
    "analyze": "gather statistics",
    "vacuum": "vacuum",
    "age": "age the corpus",
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
        if task.fields.get("stage") != "load" or not task.speed:
            return Text("")
        return Text(f"{task.speed:,.0f} events/s")


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """A callback for the rooms below. Each stage's bar stays when it is done."""
    if not console.is_terminal:
        yield StageLines(console)
        return
    bars = make_bars(console)
    with bars:
        yield reporter(bars)


class StageLines:
    """A line when a stage begins, and every ``LINE_EVERY_S`` how far it is and how much longer it takes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._stage = ""
        self._began_s = 0.0
        self._told_s = 0.0

    def __call__(self, stage: str, done: float, total: float) -> None:
        now_s = self._clock()
        if stage != self._stage:
            self._stage, self._began_s = stage, now_s
            self._tell(now_s, _LABELS.get(stage, stage))
        elif now_s - self._told_s >= LINE_EVERY_S and 0 < done < total:
            left_s = (now_s - self._began_s) * (total - done) / done
            self._tell(now_s, f"{_LABELS.get(stage, stage)} {done / total:.0%}, about {left_s:.0f} s left")

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
