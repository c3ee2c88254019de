"""Flame graphs of the client on request: where its time or its memory goes, of each process that works.

What is measured under a profiler includes the profiler: see ``jobs.profiled`` for what becomes of verdicts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from eventmark.errors import CannotRunError, UsageError

LIBRARIES = {"cpu": "pyinstrument", "memory": "memray"}
PROFILES_MAX = 24
"""Processes of one run that are profiled; those that come later are not."""

INTERVAL_S = 0.001
PROGRAM = "eventmark"
"""What profiles name as the program: the command line itself may hold a password."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Profiling:
    """What to profile, and the folder the graphs go to."""

    kind: str
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), compare=False)

    def next_file(self, what: str) -> Path | None:
        """Where the next process' graph goes; None when there are enough."""
        number = next(self._numbers)
        return (
            self.folder / f"profile-{self.kind}-{number:02}-{what}.html" if number <= PROFILES_MAX else None
        )

    def run(self, task: Callable[[], _Answer]) -> _Answer:
        """``task`` in this process, profiled."""
        answer: _Answer = ProfiledTask(self.kind, self.folder / f"profile-{self.kind}-00-parent.html", task)()
        return answer

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob(f"profile-{self.kind}-*.html"))


_active: ContextVar[Profiling | None] = ContextVar("profiling", default=None)


def check_profiler(kind: str) -> None:
    """Raises ``UsageError`` for an unknown kind, and where its library is not installed. Empty is none."""
    if not kind:
        return
    if kind not in LIBRARIES:
        raise UsageError(f"unknown profiler {kind!r}", remedy=f"use {' or '.join(LIBRARIES)}")
    if find_spec(LIBRARIES[kind]) is None:
        raise UsageError(
            f"--profiler {kind} needs {LIBRARIES[kind]}, which is not installed",
            remedy="pip install 'eventmark[profiling]'",
        )


@contextmanager
def profiling(kind: str, folder: Path) -> Iterator[Profiling | None]:
    """Profile the workers started within; None, and nothing, for the empty kind. Raises ``UsageError``."""
    check_profiler(kind)
    if not kind:
        yield None
        return
    chosen = Profiling(kind, folder.resolve())
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for stale in chosen.files:
        stale.unlink()
    before = _active.set(chosen)
    try:
        yield chosen
    finally:
        _active.reset(before)


def with_profile(task: Callable[..., Any]) -> Callable[..., Any]:
    """The task as a worker process is to run it: under the profiler, where one was asked for."""
    chosen = _active.get()
    file = chosen.next_file(task.__name__.removeprefix("run_")) if chosen is not None else None
    if chosen is None or file is None:
        return task
    return ProfiledTask(chosen.kind, file, task)


@dataclass(frozen=True, slots=True)
class ProfiledTask:
    """A function under a profiler, that can be sent to a process. The graph is drawn when it returns or raises."""

    kind: str
    file: Path
    task: Callable[..., Any]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return (self._time if self.kind == "cpu" else self._memory)(arguments, named)

    def _time(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Samples of the stack of this thread, whatever coroutine runs on it."""
        from pyinstrument import Profiler

        profiler = Profiler(interval=INTERVAL_S, async_mode="disabled")
        profiler.start(target_description=PROGRAM)
        try:
            return self.task(*arguments, **named)
        finally:
            profiler.stop()
            with _unnamed_program():
                self.file.write_text(profiler.output_html(), encoding="utf-8")

    def _memory(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Every allocation, and who held how much when most was held."""
        import memray

        records = self.file.with_suffix(f".{os.getpid()}.bin")
        try:
            with _unnamed_program():
                tracker = memray.Tracker(records)
            with tracker:  # in the frame that calls: of what is called from elsewhere no frames would be seen
                return self.task(*arguments, **named)
        finally:
            _draw(records, self.file)


@contextmanager
def _unnamed_program() -> Iterator[None]:
    """The libraries write the command line down, in which a password may stand; workers are given it as well."""
    arguments, sys.argv = sys.argv, [PROGRAM]
    try:
        yield
    finally:
        sys.argv = arguments


def _draw(records: Path, file: Path) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "memray", "flamegraph", "--no-web", "--force", "--output", str(file), str(records)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason told"])[-1]
            raise CannotRunError(f"memray drew no graph: {reason}")
    finally:
        records.unlink(missing_ok=True)
