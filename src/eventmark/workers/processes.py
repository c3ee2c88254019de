"""Worker processes of this machine: an executor of fresh interpreters that never outlive their parent."""

from __future__ import annotations

import multiprocessing
import pickle
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from eventmark.errors import CannotRunError, EventmarkError
from eventmark.redaction import guard_output, register, registered
from eventmark.workers.stopping import GRACE_S, stop_when_let_go

CONTEXT = multiprocessing.get_context("spawn")
"""A fresh interpreter for each: what is measured in one owes nothing to another. Tests fork theirs."""

_KILL_AFTER_S = GRACE_S + 1.0


def worker_processes(count: int, *, fresh: bool = False) -> WorkerProcesses:
    """``count`` worker processes; with ``fresh``, each task gets a new one."""
    return WorkerProcesses(count, fresh=fresh)


def own_peak_rss_mib() -> float:
    """The most memory this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class WorkerProcesses(Executor):
    """Each process is started when a task finds none idle, and served by a thread. ``stop`` ends what runs.

    Ctrl-C, and often SIGTERM, reach the whole process group: the parent decides what its workers still finish, so they
    are born with both signals blocked. Leaving the block by an exception stops them.
    """

    def __init__(self, count: int, *, fresh: bool = False) -> None:
        self._fresh = fresh
        self._threads = ThreadPoolExecutor(count, "worker", initializer=_block_signals)
        self._own = threading.local()
        self._lock = threading.Lock()
        self._processes: set[_Process] = set()
        self._stopped = False

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        return self._threads.submit(self._ask, task, arguments, named)

    def stop(self) -> None:
        """Cancel what the workers do, and have them end."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.let_go()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish. It always waits: no process is left running."""
        self._threads.shutdown(cancel_futures=cancel_futures)
        for process in list(self._processes):
            self._close(process)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stop()
        self.shutdown(cancel_futures=error is not None)

    def _ask(self, task: Callable[..., Any], arguments: Any, named: Any) -> Any:
        """In a thread of the pool, which has a process of its own."""
        process = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = self._started()
        try:
            return process.ask(task, arguments, named)
        finally:
            if self._fresh or not process.is_alive:
                self._own.process = None
                self._close(process)

    def _started(self) -> _Process:
        with self._lock:
            if self._stopped:
                raise CannotRunError("the worker processes were stopped")
            process = _Process()
            self._processes.add(process)
            return process

    def _close(self, process: _Process) -> None:
        process.close()
        with self._lock:
            self._processes.discard(process)


class _Process:
    """The parent's end of one worker process. It ends when ``leash`` is closed, by the parent or with it."""

    def __init__(self) -> None:
        self._pipe, pipe = CONTEXT.Pipe()
        leash, self._leash = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_serve, args=(pipe, leash, registered()))
        self._process.start()
        pipe.close()
        leash.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, task: Callable[..., Any], arguments: Any, named: Any) -> Any:
        """What the task returns; raises what it raises, and ``CannotRunError`` where the process dies."""
        call = pickle.dumps((task, arguments, named))
        try:
            self._pipe.send_bytes(call)
            succeeded, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_KILL_AFTER_S)
            raise CannotRunError(self._how_it_ended(task)) from None
        if not succeeded:
            raise answer
        return answer

    def let_go(self) -> None:
        self._leash.close()

    def close(self) -> None:
        """End the process, which is idle or stopped."""
        self._pipe.close()
        self._process.join(_KILL_AFTER_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._leash.close()

    def _how_it_ended(self, task: Callable[..., Any]) -> str:
        code = self._process.exitcode
        name = getattr(task, "__name__", type(task).__name__).removeprefix("run_").replace("_", " ")
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code and code < 0
            else f"ended with exit code {code}"
        )
        return f"a worker process {how} while it worked on: {name} (process {self._process.pid})"


def _block_signals() -> None:
    """In a thread that starts processes. What multiprocessing starts once would unblock them again."""
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _serve(pipe: Connection, leash: Connection, secrets: tuple[str, ...]) -> None:
    """In the worker: one call after the other, until the parent closes the pipe."""
    register(*secrets)
    guard_output()
    stop_when_let_go(leash)
    while True:
        try:
            call = pipe.recv_bytes()
            pipe.send_bytes(_answer_to(call))
        except (EOFError, OSError):
            return


def _answer_to(call: bytes) -> bytes:
    try:
        task, arguments, named = pickle.loads(call)
        return pickle.dumps((True, task(*arguments, **named)), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:
        return error_that_travels(error)


def error_that_travels(error: BaseException) -> bytes:
    """The error as it is, where it can be rebuilt from what is written; else one that says the same."""
    if not isinstance(error, EventmarkError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)
    except Exception:
        return pickle.dumps((False, CannotRunError(f"{type(error).__name__}: {error}")))
    return answer
