"""Group append: concurrent appends of one process share a statement and a commit, each with its own outcome.

While groups are under way the appends that come wait, and go together as the next one; one that finds nothing
under way goes at once. So a group is as large as the load makes it, and nobody waits for a timer. Where many wait
they are shared among the places that are free: while one group is at the server, the callers of the other make
their next appends, and neither side stands idle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from eventmark.domain import AppendResult, NewEvent, StreamId
from eventmark.engine.appending import append_result
from eventmark.engine.encoding import CheckedBatch, checked_batch
from eventmark.engine.parameters import checked_count
from eventmark.engine.turns import Rotation
from eventmark.errors import (
    DuplicateEventError,
    EventStoreError,
    InvalidEventError,
    OutcomeUnknownError,
    StoreUnavailableError,
    UsageError,
    VersionConflictError,
)

if TYPE_CHECKING:
    from eventmark.engine.store import PostgresEventStore

GROUPS_AT_A_TIME = 2
GROUP_EVENTS_MAX = 1_000
GROUP_SHARED_FROM = 16
"""Appends that a group holds at least before others are left to another one: each costs a statement and a flush."""


@dataclass(slots=True, eq=False)
class _Append:
    """One caller's batch, checked and encoded, and where its outcome goes."""

    stream: StreamId
    key: tuple[str, str]
    batch: CheckedBatch
    outcome: asyncio.Future[AppendResult]
    since_s: float = field(default_factory=time.monotonic)


class GroupAppender:
    """Appends through groups. Safe to share by any number of tasks of one event loop.

    ``async with GroupAppender(store) as appender: await appender.append_events(...)``. Appends to one stream
    go in the order they came in, each after the outcome of the one before. An append is sent once: where the
    server refuses a group as a whole, because of one append that breaks a constraint or is no JSON, nothing
    was written, and each goes by itself, so that only that one fails. Any other error is one of all of them, and of
    those that have waited for their turn as long as one may wait for a connection.
    """

    def __init__(
        self,
        store: PostgresEventStore,
        *,
        groups_at_a_time: int = GROUPS_AT_A_TIME,
        group_events_max: int = GROUP_EVENTS_MAX,
    ) -> None:
        if store.row_level_security:
            raise UsageError(
                "a group holds appends of several tenants, and row-level security lets a statement write for one",
                remedy="append directly, or install the store without row-level security",
            )
        checked_count(groups_at_a_time, "groups_at_a_time")
        checked_count(group_events_max, "group_events_max")
        self._store = store
        self._groups_at_a_time = groups_at_a_time
        self._group_events_max = group_events_max
        self._waiting: Rotation[_Append] = Rotation()
        self._streams_under_way: set[tuple[str, str]] = set()
        self._under_way: set[asyncio.Future[None]] = set()
        self._callers = 0  # lately
        self._crowded = False  # the last group held several appends, so that more can be expected at once
        self._closed = False

    async def __aenter__(self) -> GroupAppender:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no more appends, and wait for the outcomes of those that were taken."""
        self._closed = True
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        """Append as ``PostgresEventStore.append_events`` does, with the same errors.

        If the caller is cancelled, its events may be stored all the same.
        """
        if self._closed:
            raise StoreUnavailableError("the group appender is closed")
        batch = checked_batch(stream, events, expected_version)
        key = (stream.tenant_id, stream.aggregate_id)
        if not self._under_way and not self._waiting and not self._crowded:
            return await self._append_alone(stream, key, batch)
        outcome: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(stream.tenant_id, _Append(stream, key, batch, outcome))
        self._send_waiting()
        return await outcome

    async def _append_alone(
        self, stream: StreamId, key: tuple[str, str], batch: CheckedBatch
    ) -> AppendResult:
        """Nothing is under way and nobody waits: at once, as a direct append."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(ended)
        self._streams_under_way.add(key)
        try:
            return await self._store.append_encoded(stream, batch.arguments())
        except StoreUnavailableError as error:
            self._give_up_waiting(error)
            raise
        finally:
            self._streams_under_way.discard(key)
            self._under_way.discard(ended)
            ended.set_result(None)
            if self._waiting:
                self._send_waiting()

    def _send_waiting(self) -> None:
        if len(self._under_way) < self._groups_at_a_time:
            self._under_way.add(asyncio.get_running_loop().create_task(self._run()))

    async def _run(self) -> None:
        """Send groups until none is waiting that could go."""
        task = asyncio.current_task()
        try:
            while group := self._next_group():
                try:
                    await self._send(group)
                finally:
                    self._streams_under_way.difference_update(append.key for append in group)
                    _leave_unknown(group, "the group appender was stopped")
                # Who has its outcome now is about to append again: those go with the ones that wait already.
                await asyncio.sleep(0)
        finally:
            # Here and not when the loop gets to it: an append that comes meanwhile would wait for nobody.
            self._under_way.discard(task)

    def _next_group(self) -> list[_Append]:
        """The next appends, of tenants in turn and of streams apart, none of which is under way; sorted by stream."""
        group: list[_Append] = []
        left: list[_Append] = []
        count = 0
        busy = self._streams_under_way
        # Of all there are, not of those that wait: else a group that was large once stays so, and the other small.
        # Callers who are about to make their next append are seen in neither: so many as lately are expected.
        callers = len(self._waiting) + len(busy)
        self._callers = max(callers, (3 * self._callers + callers) // 4)
        share = max(-(-self._callers // self._groups_at_a_time), GROUP_SHARED_FROM)
        while self._waiting and count < self._group_events_max and len(group) < share:
            append = self._waiting.pop()
            if append.key in busy:
                left.append(append)
            else:
                busy.add(append.key)
                group.append(append)
                count += len(append.batch.events)
        for append in reversed(left):
            self._waiting.put_back(append.stream.tenant_id, append)
        if group:
            self._crowded = len(group) > 1
        group.sort(key=attrgetter("key"))
        return group

    async def _send(self, group: list[_Append]) -> None:
        if len(group) == 1:
            await self._send_one(group[0])
            return
        try:
            rows = await self._store.append_group([append.batch for append in group])
        except OutcomeUnknownError as error:
            _leave_unknown(group, error.message)
        except (InvalidEventError, DuplicateEventError):
            for append in group:  # refused for one append's sake, so nothing was written
                await self._send_one(append)
        except EventStoreError as error:
            for append in group:
                _set_error(append, copy(error))
            self._give_up_waiting(error)
        else:
            conflicts = [
                (append, conflict)
                for append, row in zip(group, rows, strict=True)
                if (conflict := _settle(append, row)) is not None
            ]
            # After the others have their outcomes: it takes another look.
            await asyncio.gather(*(self._settle_conflict(*conflict) for conflict in conflicts))

    async def _send_one(self, append: _Append) -> None:
        try:
            result = await self._store.append_encoded(append.stream, append.batch.arguments())
        except EventStoreError as error:
            _set_error(append, error)
            self._give_up_waiting(error)
        else:
            if not append.outcome.done():
                append.outcome.set_result(result)

    async def _settle_conflict(self, append: _Append, conflict: VersionConflictError) -> None:
        try:
            error = await self._store.explained_conflict(conflict, append.stream, append.batch.event_ids)
        except EventStoreError as failure:
            _set_error(append, failure)
        else:
            _set_error(append, error)

    def _give_up_waiting(self, error: EventStoreError) -> None:
        """Where the store is not to be had: who has waited long enough would but wait the same time again."""
        if not isinstance(error, StoreUnavailableError):
            return
        since_s = time.monotonic() - self._store.pool.acquire_timeout_s
        for append in [append for append in self._waiting if append.since_s <= since_s]:
            self._waiting.remove(append.stream.tenant_id, append)
            _set_error(append, copy(error))


def _settle(append: _Append, row: tuple[int | None, int, int]) -> VersionConflictError | None:
    """The append's outcome, from its row; a conflict is left to the caller."""
    try:
        result = append_result(row, append.stream, append.batch.expected_version, len(append.batch.events))
    except VersionConflictError as conflict:
        return conflict
    except EventStoreError as error:
        _set_error(append, error)
    else:
        if not append.outcome.done():
            append.outcome.set_result(result)
    return None


def _set_error(append: _Append, error: EventStoreError) -> None:
    if not append.outcome.done():
        append.outcome.set_exception(error)


def _leave_unknown(group: list[_Append], reason: str) -> None:
    """Whoever has no outcome yet: it may be stored, each whole or not at all."""
    for append in group:
        if not append.outcome.done():
            append.outcome.set_exception(OutcomeUnknownError(reason, event_ids=append.batch.event_ids))
