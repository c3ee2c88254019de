"""One worker process that generates its part of a load on libpq."""

from __future__ import annotations

import asyncio
import gc
import heapq
import time
from collections import deque
from dataclasses import replace

import numpy as np

from eventmark.errors import CannotRunError, EventStoreError
from eventmark.instruments.allocator import keep_memory
from eventmark.instruments.clock import GcPauses, now_ns
from eventmark.loadgen.beats import BEAT_S, Beats, health_of
from eventmark.loadgen.operations import mix_operations
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.records import Recorder, WorkerRecords
from eventmark.loadgen.task import WorkerTask
from eventmark.loadgen.wire.connection import conninfo_of
from eventmark.loadgen.wire.generator import Listen, WireGenerator
from eventmark.loadgen.wire.making import statements_of, wire_operation
from eventmark.loadgen.wire.poller import make_poller
from eventmark.loadgen.wire.pool import Connections
from eventmark.loadgen.wire.statements import describe
from eventmark.operations.operation import Operation
from eventmark.stores import StoreSessions, open_sessions
from eventmark.workers import WorkerLink


async def run_load_worker(task: WorkerTask, link: WorkerLink) -> WorkerRecords:
    """Run in a process of its own. Raises ``CannotRunError`` where the store cannot be opened."""
    try:
        sessions, operations = await _opened(task)
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    conninfo = conninfo_of(sessions.opening)
    statements = describe(sessions, conninfo, statements_of(operations))
    made = [wire_operation(operation, sessions, statements) for operation in operations]
    poller = make_poller()
    size = task.plan.part(task.plan.pool_max, task.number)
    connections = Connections(
        conninfo, {statement.key: statement.sql for statement in statements.values()}, size, poller
    )
    try:
        return await _generate(task, WireGenerator(task.plan, task.number, made, connections, poller), link)
    finally:
        connections.close()
        poller.close()


async def _opened(task: WorkerTask) -> tuple[StoreSessions, list[Operation]]:
    """The store looked at by its own client, and the operations of the mix, ready to draw."""
    sessions = await open_sessions(task.definition, task.dsn, schema=task.schema)
    operations = mix_operations(task.plan, task.sample, task.number, sessions.store)
    for operation in operations:
        await operation.prepare()
    return sessions, operations


async def _generate(task: WorkerTask, generator: WireGenerator, link: WorkerLink) -> WorkerRecords:
    generator.prepare(task.plan.warm_rounds)
    keep_memory()
    gc.collect()
    gc.disable()  # a call makes no rings, see tests/loadgen/test_garbage.py: there is nothing to collect
    try:
        return await _run(task, generator, await link.ready(), link)
    finally:
        gc.enable()


async def _run(task: WorkerTask, generator: WireGenerator, start_ns: int, link: WorkerLink) -> WorkerRecords:
    """Generate the load from ``start_ns`` on; return when the last call has ended or was given up."""
    plan, end_ns = task.plan, start_ns + int(task.plan.seconds * 1e9)
    due_ns: list[int] = []
    kinds: list[int] = []
    if plan.arrivals is not None:
        due, drawn = plan.schedule(task.number)
        due_ns, kinds = (due + start_ns).tolist(), drawn.tolist()
    recorder = Recorder(generator.recorder.kinds, len(due_ns))
    while now_ns() < start_ns:
        generator.turn(start_ns)
    generator.begin_measuring(recorder)
    parent = _Parent(task.number, generator, link, start_ns)
    began_s, cpu_began_s = time.monotonic(), time.process_time()
    with GcPauses() as pauses:
        if plan.arrivals is not None:
            await generator.arrive(due_ns, kinds, end_ns, parent.listen)
        else:
            await Users(plan, task.number, generator, start_ns, end_ns).serve(parent.listen)
        cpu_share = (time.process_time() - cpu_began_s) / (time.monotonic() - began_s)
        generator.lag.observe(now_ns())
        await generator.drain(parent.listen)
    parent.leave()
    health = health_of(cpu_share, generator.lag, pauses, generator.recorder, start_ns)
    return replace(generator.recorder.records(start_ns, health), transactions=generator.transactions)


class _Parent:
    """Told of the load while it runs, and heard, should it say ``STOP``. When it hangs up, this task is cancelled."""

    def __init__(self, number: int, generator: WireGenerator, link: WorkerLink, start_ns: int) -> None:
        self._beats = Beats(number, generator.recorder, start_ns)
        self._generator, self._link = generator, link
        self._beat_ns = start_ns + int(BEAT_S * 1e9)
        self._stopping = asyncio.create_task(link.receive(str))

    async def listen(self) -> None:
        now = now_ns()
        if now >= self._beat_ns:
            self._beat_ns += int(BEAT_S * 1e9)
            self._link.send(self._beats.next(self._generator.in_flight))
        await asyncio.sleep(0)
        if self._stopping.done():
            self._generator.is_stopped = True

    def leave(self) -> None:
        self._stopping.cancel()


class Users:
    """A closed loop: each user calls, waits for the answer, thinks, and calls again until ``end_ns``.

    The first thought sets the users apart.
    """

    def __init__(
        self, plan: LoadPlan, worker: int, generator: WireGenerator, start_ns: int, end_ns: int
    ) -> None:
        own = range(worker, plan.users, plan.worker_count)
        self._randoms = {user: np.random.default_rng([plan.seed, 12, user]) for user in own}
        self._kinds: dict[int, list[int]] = {user: [] for user in own}
        self._shares, self._think_ns = list(plan.mix.shares.values()), plan.think_s * 1e9
        self._generator, self._start_ns, self._end_ns = generator, start_ns, end_ns
        self._waiting: list[tuple[int, int]] = []  # when each that thinks will call, and who
        self._at_once: deque[int] = deque()  # who does not think

    async def serve(self, listen: Listen) -> None:
        """Until the end."""
        generator = self._generator
        generator.on_end = self._ended
        for user in self._randoms:
            self._ended(user, self._start_ns)
        while (now := now_ns()) < self._end_ns and not generator.is_stopped:
            if now >= generator.listen_ns:
                await generator.rest(listen)
            while self._waiting and self._waiting[0][0] <= now:
                due_ns, user = heapq.heappop(self._waiting)
                generator.recorder.pacing_ns.add(now - due_ns)
                generator.begin(self._kind(user), due_ns, user)
            for _ in range(
                len(self._at_once)
            ):  # no more: a call that asks no server has ended when it has begun
                user = self._at_once.popleft()
                generator.begin(self._kind(user), 0, user)
            next_ns = self._waiting[0][0] if self._waiting else self._end_ns
            generator.turn(0 if self._at_once else min(self._end_ns, next_ns))

    def _ended(self, user: int, at_ns: int) -> None:
        """What a user does after an answer: think, or call at once."""
        if self._generator.is_stopped:
            return
        if self._think_ns:
            due_ns = at_ns + int(self._randoms[user].exponential(self._think_ns))
            if due_ns < self._end_ns:
                heapq.heappush(self._waiting, (due_ns, user))
        elif at_ns < self._end_ns:
            self._at_once.append(user)

    def _kind(self, user: int) -> int:
        kinds = self._kinds[user]
        if not kinds:
            kinds += self._randoms[user].choice(len(self._shares), size=1000, p=self._shares).tolist()
        return kinds.pop()
