"""Whose turn it is: connections go to the tenants that wait, so that one tenant's work never delays all others.

A tenant that holds fewer connections goes first; among equals, the one that has held connections for less time
(start-time fair queueing, Goyal, Vin and Cheng 1996, by the time that connections are held). Work of no tenant in
particular waits as if each piece of it were a tenant of its own.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

NO_TENANT = ""
PRESENCE_S = 1.0
"""A tenant counts as present for this long after its last request: between two requests of one user."""

_Handed = TypeVar("_Handed")
_Item = TypeVar("_Item")


class Lane(Generic[_Handed]):
    """A tenant's connections in use, those it waits for, and the seconds for which it has held any."""

    __slots__ = ("held_s", "in_use", "tenant", "waiters")

    def __init__(self, tenant: str, held_s: float) -> None:
        self.tenant = tenant
        self.held_s = held_s
        self.in_use = 0
        self.waiters: deque[asyncio.Future[_Handed]] = deque()


class Turns(Generic[_Handed]):
    """``tenant_max``: the most connections of one tenant while another tenant is present; None for no bound."""

    def __init__(self, tenant_max: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.tenant_max = tenant_max
        self._clock = clock
        self._lanes: dict[str, Lane[_Handed]] = {}  # of the tenants that hold or wait
        self._seen_s: dict[str, float] = {}  # when each tenant last asked, the latest last
        self._heap: list[tuple[int, float, int, Lane[_Handed]]] = []  # by turn; stale entries are passed over
        self._entries = count()
        self._level_s = 0.0  # where those begin that come anew: time not asked for is not saved up

    def lane(self, tenant: str) -> Lane[_Handed]:
        """The lane of a tenant that asks for a connection."""
        if tenant == NO_TENANT:
            return Lane(tenant, self._level_s)
        if self.tenant_max is not None:
            self._seen_s.pop(tenant, None)
            self._seen_s[tenant] = self._clock()
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = Lane(tenant, self._level_s)
        return lane

    def may_hold(self, lane: Lane[_Handed]) -> bool:
        """Whether the lane may hold one connection more."""
        if self.tenant_max is None or lane.in_use < self.tenant_max or lane.tenant == NO_TENANT:
            return True
        return not self._is_another_present(lane.tenant)

    def wait(self, lane: Lane[_Handed], waiter: asyncio.Future[_Handed]) -> None:
        lane.waiters.append(waiter)
        if len(lane.waiters) == 1:
            self._push(lane)

    def next(self) -> tuple[Lane[_Handed], asyncio.Future[_Handed]] | None:
        """The next to be served, no longer waiting; None where nobody waits, or only those who may hold no more."""
        while self._heap:
            in_use, held_s, _, lane = self._heap[0]
            while lane.waiters and lane.waiters[0].done():
                lane.waiters.popleft()
            if not lane.waiters or (in_use, held_s) != (lane.in_use, lane.held_s):
                heapq.heappop(self._heap)
                self._forget(lane)
            elif self.may_hold(lane):
                heapq.heappop(self._heap)
                return lane, lane.waiters.popleft()
            else:
                return None  # those behind hold as many
        return None

    def leave(self, lane: Lane[_Handed], waiter: asyncio.Future[_Handed]) -> None:
        """The waiter waits no more, served or not."""
        if waiter in lane.waiters:
            lane.waiters.remove(waiter)
        self._forget(lane)

    def took(self, lane: Lane[_Handed]) -> None:
        """The lane holds one connection more."""
        lane.in_use += 1
        self._level_s = max(self._level_s, lane.held_s)
        if lane.waiters:
            self._push(lane)

    def gave_back(self, lane: Lane[_Handed], held_s: float) -> None:
        """The lane holds one connection less, after that many seconds."""
        lane.in_use -= 1
        lane.held_s += held_s
        if lane.waiters:
            self._push(lane)
        else:
            self._forget(lane)

    def waiters(self) -> list[asyncio.Future[_Handed]]:
        """All that wait, in no order."""
        lanes = {id(entry[-1]): entry[-1] for entry in self._heap}.values()
        return [waiter for lane in lanes for waiter in lane.waiters]

    def _push(self, lane: Lane[_Handed]) -> None:
        heapq.heappush(self._heap, (lane.in_use, lane.held_s, next(self._entries), lane))

    def _forget(self, lane: Lane[_Handed]) -> None:
        if not lane.in_use and not lane.waiters and self._lanes.get(lane.tenant) is lane:
            del self._lanes[lane.tenant]

    def _is_another_present(self, tenant: str) -> bool:
        if len(self._lanes) > (tenant in self._lanes):
            return True
        since_s = self._clock() - PRESENCE_S
        while self._seen_s and next(iter(self._seen_s.values())) < since_s:
            del self._seen_s[next(iter(self._seen_s))]
        return len(self._seen_s) > (tenant in self._seen_s)


class Rotation(Generic[_Item]):
    """One queue for each tenant; items are taken from the queues in turn."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[_Item]] = {}  # the next tenant first
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[_Item]:
        return (item for queue in self._queues.values() for item in queue)

    def append(self, tenant: str, item: _Item) -> None:
        self._queues.setdefault(tenant, deque()).append(item)
        self._size += 1

    def put_back(self, tenant: str, item: _Item) -> None:
        """To be the tenant's first again."""
        self._queues.setdefault(tenant, deque()).appendleft(item)
        self._size += 1

    def pop(self) -> _Item:
        """The next tenant's first item. Raises ``StopIteration`` where there is none."""
        tenant = next(iter(self._queues))
        queue = self._queues.pop(tenant)
        item = queue.popleft()
        if queue:
            self._queues[tenant] = queue
        self._size -= 1
        return item

    def remove(self, tenant: str, item: _Item) -> None:
        queue = self._queues[tenant]
        queue.remove(item)
        if not queue:
            del self._queues[tenant]
        self._size -= 1
