"""One worker process: operations begun when they are due, each a task of its own, everything written down.

One coroutine sleeps until the next arrival and begins whatever is due. The arguments of the next operation
are drawn before that, while nothing else is to be done. Nothing waits for anything but its own answer.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from eventmark.errors import CannotRunError, EventStoreError
from eventmark.instruments.alarm import Alarm
from eventmark.instruments.clock import GcPauses, LoopLag, now_ns
from eventmark.loadgen.beats import BEAT_S, Beats, health_of
from eventmark.loadgen.operations import mix_operations
from eventmark.loadgen.records import (
    CONFLICTED,
    CONFLICTS,
    DEADLINE,
    FAILED,
    SUCCEEDED,
    WRONG_ANSWER,
    Recorder,
    WorkerRecords,
)
from eventmark.loadgen.task import WorkerTask
from eventmark.stores import PooledStore, open_store
from eventmark.workers import WorkerLink

BURST = 32
"""Arrivals begun in a row by a worker that is behind, before it looks at the network again."""

SWEEP_S = 0.02
"""How often operations past their deadline are looked for."""

GRACE_S = 5.0
"""How long operations that were given up may take to end."""


async def run_load_worker(task: WorkerTask, link: WorkerLink) -> WorkerRecords:
    """Run in a process of its own. Raises ``CannotRunError`` where the store cannot be opened."""
    size = task.plan.part(task.plan.pool_max, task.number)
    try:
        store = await open_store(
            task.definition, task.dsn, schema=task.schema, pool_min=size, pool_max=size,
            tenant_pool_max=task.plan.tenant_pool_max,
        )  # fmt: skip
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    try:
        return await _generate(task, store, size, link)
    finally:
        await store.close()


async def _generate(task: WorkerTask, store: PooledStore, size: int, link: WorkerLink) -> WorkerRecords:
    async with Alarm() as alarm:
        generator = _Generator(task, store, alarm)
        await generator.prepare(size)
        # What was made until now lives as long as the load: no collection has to look at it again.
        gc.collect()
        gc.freeze()
        beside = nullcontext() if task.companion is None else task.companion.at_work(store)
        try:
            async with beside as companion:
                records = await generator.run(await link.ready(), link)
        finally:
            gc.unfreeze()
    return replace(records, companion=companion)


class _Generator:
    """The operations of one worker, and what is under way."""

    def __init__(self, task: WorkerTask, store: PooledStore, alarm: Alarm) -> None:
        self._plan = task.plan
        self._number = task.number
        self._store = store
        self._alarm = alarm
        self._operations = mix_operations(task.plan, task.sample, task.number, store)
        self._recorder = Recorder(len(self._operations))
        # In the order in which they began, which is the order of their deadlines.
        self._in_flight: dict[asyncio.Task[Any], tuple[int, int]] = {}  # due_ns, kind
        self._in_flight_max = task.plan.part(task.plan.in_flight_max, task.number)
        self._overdue: set[asyncio.Task[Any]] = set()
        self._recovering: set[asyncio.Task[Any]] = set()
        self._waits_ns: dict[asyncio.Task[Any], int] = {}
        store.pool.on_wait = self._note_wait

    async def prepare(self, connections: int) -> None:
        """Make the operations ready, and call each on every connection, so that nothing is met for the first time."""
        for operation in self._operations:
            await operation.prepare()
        sweeper = asyncio.create_task(self._sweep())
        for _ in range(self._plan.warm_rounds):
            for kind in range(len(self._operations)):
                await asyncio.gather(*(self._call_once(kind) for _ in range(connections)))
        sweeper.cancel()

    async def run(self, start_ns: int, link: WorkerLink) -> WorkerRecords:
        """Generate the load from ``start_ns`` on; return when the last operation has ended or was given up.

        It ends before its time when the parent says ``STOP``.
        """
        offers = self._offers(start_ns)
        recorder = self._recorder
        await self._alarm.until(start_ns)
        beside = [asyncio.create_task(self._sweep()), asyncio.create_task(self._beat(start_ns, link))]
        began_s, cpu_began_s = time.monotonic(), time.process_time()
        with GcPauses() as pauses:
            async with LoopLag(until=self._alarm.until) as lag:
                await self._until_stopped(offers, link)
                cpu_share = (time.process_time() - cpu_began_s) / (time.monotonic() - began_s)
                await self._drain()
        for task in beside:
            task.cancel()
        return recorder.records(start_ns, health_of(cpu_share, lag, pauses, recorder, start_ns))

    def _offers(self, start_ns: int) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What offers operations for the plan's time: one that lets them arrive, or each user. What was written
        down until now is forgotten.
        """
        plan = self._plan
        self._end_ns = start_ns + int(plan.seconds * 1e9)
        if plan.arrivals is None:
            self._recorder = Recorder(len(self._operations))
            own = range(self._number, plan.users, plan.worker_count)
            return [partial(self._user, number, start_ns) for number in own]
        due_ns, kinds = plan.schedule(self._number)
        self._recorder = Recorder(len(self._operations), len(due_ns))
        return [partial(self._arrive, (due_ns + start_ns).tolist(), kinds.tolist())]

    async def _until_stopped(
        self, offers: list[Callable[[], Coroutine[Any, Any, None]]], link: WorkerLink
    ) -> None:
        """Run all of ``offers`` to their end, or until the parent says ``STOP``; calls under way are still answered."""
        tasks = [asyncio.create_task(offer()) for offer in offers]
        offering, stopping = asyncio.gather(*tasks), asyncio.create_task(link.receive(str))
        offering.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            await asyncio.wait((offering, stopping), return_when=asyncio.FIRST_COMPLETED)
            if offering.done():
                offering.result()
                return
            self._end_ns = now_ns()
            for task in tasks:
                if task not in self._in_flight and task not in self._recovering:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            stopping.cancel()
            offering.cancel()

    async def _arrive(self, due_ns: list[int], kinds: list[int]) -> None:
        """Begin each operation when it is due; one that finds too many under way is skipped, and counted."""
        loop, recorder, in_flight = asyncio.get_running_loop(), self._recorder, self._in_flight
        behind = 0
        for due, kind in zip(due_ns, kinds, strict=True):
            operation = self._operations[kind]
            arguments = operation.draw()
            if now_ns() < due:
                await self._alarm.until(due)
                recorder.pacing_ns.add(now_ns() - due)
            else:
                behind += 1
                if behind % BURST == 0:
                    await asyncio.sleep(0)
            recorder.offered[kind] += 1
            if len(in_flight) >= self._in_flight_max:
                recorder.skipped[kind] += 1
                operation.release(arguments)
                continue
            in_flight[loop.create_task(self._call(kind, arguments, due))] = due, kind
        await self._alarm.until(self._end_ns)

    async def _user(self, number: int, start_ns: int) -> None:
        """Call, wait for the answer, think, and again. The first thought sets the users apart."""
        random = np.random.default_rng([self._plan.seed, 12, number])
        shares, think_ns = list(self._plan.mix.shares.values()), self._plan.think_s * 1e9
        kinds: list[int] = []
        ready_ns = start_ns
        while True:
            if not kinds:
                kinds = random.choice(len(shares), size=1000, p=shares).tolist()
            kind = kinds.pop()
            arguments = self._operations[kind].draw()
            due_ns = ready_ns + int(random.exponential(think_ns)) if think_ns else now_ns()
            if due_ns >= self._end_ns:
                self._operations[kind].release(arguments)
                return
            if now_ns() < due_ns:
                await self._alarm.until(due_ns)
                self._recorder.pacing_ns.add(now_ns() - due_ns)
            await self._in_task(kind, arguments, due_ns)
            ready_ns = now_ns()

    async def _call_once(self, kind: int) -> None:
        await self._in_task(kind, self._operations[kind].draw(), now_ns())

    async def _in_task(self, kind: int, arguments: Any, due_ns: int) -> None:
        """Within the task that is running, which is under way meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        self._recorder.offered[kind] += 1
        self._in_flight[task] = due_ns, kind
        await self._call(kind, arguments, due_ns)

    async def _call(self, kind: int, arguments: Any, due_ns: int) -> None:
        """Call, and write down how it went. What is measured ends with the answer; then it is looked at."""
        operation = self._operations[kind]
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        outcome, name = SUCCEEDED, ""
        ended_ns, started_ns = 0, now_ns()
        try:
            answer = await operation.call(arguments)
            ended_ns = now_ns()
            if not operation.is_right(arguments, answer):
                outcome, name = FAILED, WRONG_ANSWER
        except CONFLICTS as found:
            outcome, error = CONFLICTED, found
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            task.uncancel()
            outcome, name = FAILED, DEADLINE
        except Exception as found:  # what a store may not raise is counted by its class like what it may
            outcome, name, error = FAILED, type(found).__name__, found
        finally:
            ended_ns = ended_ns or now_ns()
            del self._in_flight[task]
        waited_ns = self._waits_ns.pop(task, 0) if self._waits_ns else 0
        self._recorder.add(kind, outcome, due_ns, started_ns, ended_ns, waited_ns)
        if outcome == SUCCEEDED:
            return
        if outcome == FAILED:
            self._overdue.discard(task)
            self._recorder.fail(kind, name, str(error or name))
        self._recovering.add(task)
        await operation.recover(arguments, error if isinstance(error, EventStoreError) else None)
        self._recovering.discard(task)

    async def _sweep(self) -> None:
        """Give up what is past its deadline, over and over."""
        deadline_ns = int(self._plan.deadline_s * 1e9)
        while True:
            await asyncio.sleep(SWEEP_S)
            over_ns = now_ns() - deadline_ns
            for task, (due_ns, _) in self._in_flight.items():
                if due_ns > over_ns:
                    break
                if task not in self._overdue:
                    self._overdue.add(task)
                    task.cancel()

    async def _drain(self) -> None:
        """Wait for what is under way; what does not even end when it is given up has failed as well."""
        patience_s = time.monotonic() + self._plan.deadline_s + GRACE_S
        while (self._in_flight or self._recovering) and time.monotonic() < patience_s:
            pending = [*self._in_flight, *self._recovering]
            await asyncio.wait(pending, timeout=patience_s - time.monotonic())
        for task in [*self._in_flight, *self._recovering]:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await asyncio.gather(*self._in_flight, *self._recovering, return_exceptions=True)
        for due_ns, kind in self._in_flight.values():
            self._recorder.add(kind, FAILED, due_ns, due_ns, now_ns(), 0)
            self._recorder.fail(kind, DEADLINE, "did not end after it was cancelled")

    def _note_wait(self, seconds: float) -> None:
        """Told by the pool, within the task that waited for a connection."""
        task = asyncio.current_task()
        if task in self._in_flight:
            self._waits_ns[task] = self._waits_ns.get(task, 0) + int(seconds * 1e9)

    async def _beat(self, start_ns: int, link: WorkerLink) -> None:
        """Say twice a second what was done since."""
        beats = Beats(self._number, self._recorder, start_ns)
        while True:
            await asyncio.sleep(BEAT_S)
            link.send(beats.next(len(self._in_flight)))
