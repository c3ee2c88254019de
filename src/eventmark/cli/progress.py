"""Progress on the terminal: one bar per stage, with rate and time left; nothing where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
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

_LABELS = {
    "doctor": "examine the machine",
    "load": "seed events",
    "indexes": "build indexes",
    "analyze": "gather statistics",
    "vacuum": "vacuum",
    "age": "age the corpus",
    "audit": "audit the corpus",
    "psql copy": "floor by psql \\copy",
    "measure": "measure operations",
    "pairs": "measure pairs",
    "calibrate": "calibrate the gate",
    "plans": "examine plans",
    "stress": "cases of stress",
    "isolate": "alone and beside",
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
    bars = make_bars(console)
    with bars:
        yield reporter(bars)


def make_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<22}"),
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
