"""Waiting for sockets and for an instant, whichever comes first."""

from __future__ import annotations

import select
import selectors
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from eventmark.instruments.clock import now_ns
from eventmark.instruments.kernel_timer import KernelTimer

_NS_PER_S = 1_000_000_000


class Ready(Protocol):
    """Who is told that a descriptor is ready: ``advance`` goes on with what is under way there."""

    def advance(self) -> bool: ...


class Poller(Protocol):
    """Finds which descriptors are ready; ``owners`` are those to be told. An instant that has passed: do not wait."""

    owners: dict[int, Ready]

    def watch(self, fd: int, owner: Ready, *, read: bool, write: bool) -> None:
        """From now on, or otherwise than before."""
        ...

    def forget(self, fd: int) -> None: ...

    def wait(self, until_ns: int) -> Sequence[tuple[int, int]]:
        """The descriptors that are ready, and for what. One without an owner is not anybody's."""
        ...

    def close(self) -> None: ...


class EpollPoller:
    """Linux's own, with the kernel's timer: precise to hundredths of a millisecond, and nothing made per wake-up."""

    def __init__(self, timer: KernelTimer) -> None:
        self._epoll = select.epoll()
        self._timer = timer
        self._set_ns = 0
        self.owners: dict[int, Ready] = {}
        self._epoll.register(timer.fd, select.EPOLLIN)

    def watch(self, fd: int, owner: Ready, *, read: bool, write: bool) -> None:
        events = (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)
        self.owners[fd] = owner
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:
            self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        self.owners.pop(fd, None)
        with suppress(OSError):  # a socket that was closed has been forgotten by the kernel
            self._epoll.unregister(fd)

    def wait(self, until_ns: int) -> Sequence[tuple[int, int]]:
        if until_ns <= now_ns():
            return self._epoll.poll(0)
        if until_ns != self._set_ns:
            self._timer.set(until_ns)
            self._set_ns = until_ns
        return self._epoll.poll()

    def close(self) -> None:
        self._epoll.close()
        self._timer.close()


class SelectorPoller:
    """What every system has; as precise as its timeouts are."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.owners: dict[int, Ready] = {}

    def watch(self, fd: int, owner: Ready, *, read: bool, write: bool) -> None:
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        self.owners[fd] = owner
        if fd in self._selector.get_map():
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)

    def forget(self, fd: int) -> None:
        self.owners.pop(fd, None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def wait(self, until_ns: int) -> Sequence[tuple[int, int]]:
        ready = self._selector.select(max(until_ns - now_ns(), 0) / _NS_PER_S)
        return [(key.fd, events) for key, events in ready]

    def close(self) -> None:
        self._selector.close()


def make_poller() -> Poller:
    """The best that this system has."""
    timer = KernelTimer()
    return EpollPoller(timer) if timer.fd >= 0 else SelectorPoller()
