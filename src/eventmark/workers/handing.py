"""The one seam between parent and workers: a function and a task, given to an executor.

Any ``concurrent.futures.Executor`` will do whose workers can import Eventmark; ``worker_processes`` is this machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from inspect import iscoroutine
from typing import Any, TypeVar, overload

from eventmark.instruments.profiler import with_profile
from eventmark.workers.stopping import stoppable

T = TypeVar("T")
R = TypeVar("R")


@overload
def hand_over(executor: Executor, work: Callable[[T], Coroutine[Any, Any, R]], task: T) -> Future[R]: ...
@overload
def hand_over(executor: Executor, work: Callable[[T], R], task: T) -> Future[R]: ...
def hand_over(executor: Executor, work: Callable[[T], Any], task: T) -> Future[Any]:
    """Have a worker do ``work(task)``: under the profiler where one was asked for, a coroutine in a loop of its own."""
    return executor.submit(with_profile(_Work(work)), task)


@overload
def call(executor: Executor, work: Callable[[T], Coroutine[Any, Any, R]], task: T) -> R: ...
@overload
def call(executor: Executor, work: Callable[[T], R], task: T) -> R: ...
def call(executor: Executor, work: Callable[[T], Any], task: T) -> Any:
    """``hand_over``, and wait. Raises what the work raises, and ``CannotRunError`` where the worker process dies."""
    return hand_over(executor, work, task).result()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one, as a service in production would have it; None is the standard one."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop


@dataclass(frozen=True, slots=True)
class _Work:
    """What runs in the worker."""

    work: Callable[[Any], Any]

    @property
    def __name__(self) -> str:
        return getattr(self.work, "__name__", type(self.work).__name__)

    def __call__(self, task: Any) -> Any:
        answer = self.work(task)
        if not iscoroutine(answer):
            return answer
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(stoppable(answer))
