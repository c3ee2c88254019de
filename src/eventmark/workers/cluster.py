"""Workers on the machines of a Dask cluster: an executor that pins one task to each Dask worker.

Dask schedules, carries the tasks and keeps the members. A task is opaque bytes to it, so that no argument stands in the
scheduler's pages or in a worker's log, and runs in a process of its own, which the Dask worker's threads don't disturb.
"""

from __future__ import annotations

import concurrent.futures
import importlib.metadata
import logging
import multiprocessing
import os
import pickle
import platform
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eventmark.errors import CannotRunError, UsageError
from eventmark.workers.processes import error_that_travels, worker_processes
from eventmark.workers.stopping import GRACE_S

SCHEME = "dask://"
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
LOOK_S = 0.5
"""How often the members are looked at: a worker that is gone is named within this and a round trip."""

_LIBRARIES = ("eventmark", "asyncpg", "psycopg", "msgspec", "numpy")
_BOOT_ID, _NETWORK = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/net")

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Member:
    """A Dask worker. ``place`` is equal for processes that share a machine and its network."""

    address: str
    name: str
    machine: str
    place: str

    def __str__(self) -> str:
        return f"{self.name} on {self.machine} ({self.host})"

    @property
    def host(self) -> str:
        return _host_of(self.address)

    @property
    def is_here(self) -> bool:
        """Whether it reaches by localhost what this process reaches by it."""
        return self.place == own_place()


Pack = Callable[[Member, Callable[..., Any], tuple[Any, ...]], Call]
"""Makes what a member calls of the work and its arguments."""


class ClusterWorkers(Executor):
    """Each task goes to the member with the fewest. ``pack`` makes tasks fit to travel.

    A member that leaves while it has a task, and a scheduler that does, end the task with ``CannotRunError``.
    """

    def __init__(self, client: Any, scheduler: str, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.parent_host = _own_address_for(members)
        self.pack: Pack = partial_of
        self._client, self._scheduler = client, scheduler
        self._pinned = {
            member.address: client.get_executor(
                workers=[member.address], allow_other_workers=False, pure=False, retries=0
            )
            for member in members
        }
        self._lock = threading.Lock()
        self._running: dict[Future[Any], Member] = {}
        self._inner: dict[Future[Any], Future[bytes]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="members", daemon=True).start()

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        assert not named
        busy = list(self._running.values())
        return self._begun(min(self.members, key=busy.count), task, arguments)

    def on_each(
        self, task: Callable[..., Any], argument: Any, members: Sequence[Member] | None = None
    ) -> list[Any]:
        """What these members return, every one where none are named, in their order.

        Raises what one raises, with the member's name.
        """
        members = self.members if members is None else members
        futures = [self._begun(member, task, (argument,)) for member in members]
        answers = []
        for member, future in zip(members, futures, strict=True):
            try:
                answers.append(future.result(ANSWER_TIMEOUT_S))
            except TimeoutError:
                raise CannotRunError(
                    f"worker {member} has not answered within {ANSWER_TIMEOUT_S:g} s",
                    remedy="give the cluster no other work meanwhile",
                ) from None
        return answers

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait a moment for what was told to end, then leave the cluster."""
        self._closed.set()
        concurrent.futures.wait(list(self._inner.values()), timeout=GRACE_S)
        for pinned in self._pinned.values():
            pinned.shutdown(wait=False)
        self._client.close(timeout=GRACE_S)

    def _begun(self, member: Member, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        own: Future[Any] = Future()
        own.set_running_or_notify_cancel()
        sealed = Sealed(pickle.dumps(self.pack(member, work, arguments)))
        with self._lock:
            self._running[own] = member
        inner = self._inner[own] = self._pinned[member.address].submit(run_sealed, sealed)
        inner.add_done_callback(partial(self._ended, own, member))
        return own

    def _ended(self, own: Future[Any], member: Member, inner: Future[bytes]) -> None:
        self._inner.pop(own, None)
        try:
            succeeded, answer = pickle.loads(inner.result())
        except BaseException as error:
            reason = type(error).__name__
            self._settle(own, CannotRunError(f"worker {member} did not end its task: {reason}"))
            return
        if succeeded:
            self._settle(own, answer=answer)
        elif isinstance(answer, CannotRunError):
            self._settle(own, CannotRunError(f"worker {member}: {answer.message}", remedy=answer.remedy))
        else:
            answer.add_note(f"on worker {member}")
            self._settle(own, answer)

    def _settle(self, own: Future[Any], error: BaseException | None = None, answer: Any = None) -> None:
        with self._lock:
            if self._running.pop(own, None) is None:
                return
        if error is None:
            own.set_result(answer)
        else:
            own.set_exception(error)

    def _watch(self) -> None:
        """Until the executor is shut down: end the tasks of members that are gone."""
        while not self._closed.wait(LOOK_S):
            try:
                there = members_there(self._client)
            except Exception:
                there = None
            for own, member in list(self._running.items()):
                if there is None:
                    gone = f"the Dask scheduler at {self._scheduler} went away"
                elif member.address not in there:
                    gone = f"worker {member} died, or left the cluster"
                else:
                    continue
                self._settle(own, CannotRunError(gone, remedy="its log shows why; then run again"))
                if (inner := self._inner.get(own)) is not None:
                    inner.cancel()


@contextmanager
def cluster_workers(address: str) -> Iterator[ClusterWorkers]:
    """The workers of the cluster at ``dask://host:port``, each checked to be of this Eventmark.

    Raises ``UsageError`` and ``CannotRunError``.
    """
    scheduler = address.removeprefix(SCHEME)
    client = _connected(scheduler)
    try:
        there = members_there(client)
        if not there:
            raise CannotRunError(
                f"the Dask scheduler at {scheduler} has no workers",
                remedy=f"start some: dask worker tcp://{scheduler}",
            )
        members = [_checked(client, address, str(name)) for address, name in sorted(there.items())]
        executor = ClusterWorkers(client, scheduler, members)
    except BaseException:
        client.close()
        raise
    with executor:
        yield executor


def taken_workers(cluster: ClusterWorkers | None, count: int) -> AbstractContextManager[Any]:
    """An executor that runs ``count`` tasks at once: of the cluster where there is one, else of this machine."""
    return worker_processes(count) if cluster is None else nullcontext(cluster)


def members_there(client: Any) -> dict[str, str]:
    """Names of the Dask workers by their addresses, as the scheduler has them now. Raises where it is gone."""
    if client.status != "running":
        raise ConnectionError(client.status)
    identity = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=CONNECT_TIMEOUT_S)
    return {address: worker["name"] for address, worker in identity["workers"].items()}


def own_place() -> str:
    """This machine since it was started, and the network that this process sees."""
    try:
        return f"{_BOOT_ID.read_text().strip()} {os.readlink(_NETWORK)}"  # noqa: PTH115 (no file)
    except OSError:
        return socket.gethostname()


def describe() -> dict[str, str]:
    """On a Dask worker: where it is, and the versions that must be equal everywhere."""
    return {"machine": platform.node(), "place": own_place(), **versions()}


def versions() -> dict[str, str]:
    return {"Python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A call as bytes, which neither the scheduler nor a Dask worker looks into, or prints."""

    body: bytes

    def __repr__(self) -> str:
        return f"Sealed({len(self.body)} bytes)"


def run_sealed(sealed: Sealed) -> bytes:
    """On a Dask worker: make the call in a process of its own, and return what came of it. Raises nothing."""
    from distributed import secede

    leave_the_threads: Any = secede  # has no types
    leave_the_threads()  # ours only waits: it is free for whatever else runs there at the same time
    # A nanny's worker is daemonic, which may have no children; ours end with it.
    multiprocessing.current_process().daemon = False
    try:
        with worker_processes(1, fresh=True) as own:
            return pickle.dumps((True, own.submit(_opened, sealed.body).result()), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:
        return error_that_travels(error)


def _opened(body: bytes) -> Any:
    return pickle.loads(body)()


def partial_of(member: Member, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Call:
    """Work that needs nothing done to it to travel."""
    return partial(work, *arguments)


def _connected(scheduler: str) -> Any:
    host, colon, port = scheduler.rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise UsageError(
            f"{SCHEME}{scheduler} names no scheduler", remedy=f"write {SCHEME}host:port, as in {SCHEME}10.0.0.1:8786"
        )  # fmt: skip
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            f"--workers {SCHEME} needs distributed, which is not installed",
            remedy="pip install 'eventmark[cluster]'",
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is told by our errors
    try:
        connect: Any = Client  # has no types
        return connect(f"tcp://{scheduler}", timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError):
        raise CannotRunError(
            f"no Dask scheduler answers at {scheduler}", remedy="start one: dask scheduler"
        ) from None


def _checked(client: Any, address: str, name: str) -> Member:
    """Raises ``CannotRunError`` for a worker of other versions."""
    who = f"worker {name} at {_host_of(address)}"
    try:
        facts: Mapping[str, str] = client.run(describe, workers=[address])[address]
    except Exception as error:
        raise CannotRunError(
            f"{who} cannot describe itself: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            remedy=f"install eventmark {_version('eventmark')} where it runs, with the same Python",
        ) from None
    for what, version in versions().items():
        if facts[what] != version:
            raise CannotRunError(
                f"{who} has {what} {facts[what]}, here it is {version}", remedy="install the same on all machines"
            )  # fmt: skip
    return Member(address, name, facts["machine"], facts["place"])


def _version(name: str) -> str:
    if name == "eventmark":
        from eventmark import __version__

        return __version__
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return "uninstalled"


def _host_of(address: str) -> str:
    return address.rpartition("://")[2].rpartition(":")[0].strip("[]")


def _own_address_for(members: Sequence[Member]) -> str:
    """The address of this machine that members reach: what it would send to one from, elsewhere rather than here."""
    member = next((member_there for member_there in members if not member_there.is_here), members[0])
    family = socket.AF_INET6 if ":" in member.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((member.host, 9))  # sends nothing
        return str(probe.getsockname()[0])
