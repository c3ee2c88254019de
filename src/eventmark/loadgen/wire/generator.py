"""The operations of one worker on libpq: sent when they are due, judged when they are answered, all written down.

One thread and one loop. What can be known of a call beforehand is drawn and encoded while nothing is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from eventmark.errors import CannotRunError, EventStoreError, StoreUnavailableError
from eventmark.instruments.clock import Lateness, now_ns
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.records import (
    CONFLICTED,
    CONFLICTS,
    DEADLINE,
    FAILED,
    NOT_KNOWN,
    SUCCEEDED,
    WRONG_ANSWER,
    Recorder,
)
from eventmark.loadgen.wire.connection import WireConnection
from eventmark.loadgen.wire.operations import Call, WireOperation
from eventmark.loadgen.wire.poller import Poller
from eventmark.loadgen.wire.pool import Connections

AHEAD = 32
"""Calls of each operation that are drawn before they are due, at most; each draws a block of them at once."""

SLACK_NS = 150_000
"""Nothing is drawn within so long of the next arrival."""

BURST = 16
"""Calls begun in a row by a worker that is behind, before it looks at the network again."""

SWEEP_NS = 20_000_000
"""How often calls past their deadline, and connections to be opened, are looked for."""

GRACE_NS = 5_000_000_000

LISTEN_NS = 100_000_000
"""How often the process may hear of its parent: the generator has an event loop of its own."""

Listen = Callable[[], Awaitable[None]]

OnEnd = Callable[[int, int], None]
"""Told of a user's call that has ended: whose, and when."""


class WireGenerator:
    """What is under way in one worker. ``turn`` is one look at everything that can happen."""

    def __init__(
        self, plan: LoadPlan, worker: int, operations: Sequence[WireOperation], connections: Connections, poller: Poller
    ) -> None:  # fmt: skip
        self._operations = operations
        self._connections = connections
        self._poller = poller
        self._deadline_ns = int(plan.deadline_s * 1e9)
        self._in_flight_max = plan.part(plan.in_flight_max, worker)
        self._in_flight: dict[Call, None] = {}  # in the order in which they began, which is that of deadlines
        self._queue: deque[Call] = deque()
        self._to_send: list[Call] = []
        self._ahead: list[deque[Call]] = [deque() for _ in operations]
        self._to_draw = deque(  # operations, once for each block of theirs that is missing
            kind for kind, operation in enumerate(operations) for _ in range(AHEAD // operation.block)
        )
        self._sweep_ns = 0
        self._observer = operations[0].sessions.observer if operations else None
        self.on_end: OnEnd | None = None
        self.is_stopped = False  # nothing is to be begun any more
        self.listen_ns = 0  # when the parent is to be heard next
        self.recorder = Recorder(len(operations))
        self.lag = Lateness()
        self.lag.begin()
        self.refusal = ""  # the reason of the last connection that was lost, or not let in

    @property
    def transactions(self) -> tuple[int, ...]:
        """The operations that send a statement for each event, in one transaction, by place in the mix."""
        return tuple(index for index, operation in enumerate(self._operations) if operation.is_transaction)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def prepare(self, warm_rounds: int) -> None:
        """Open every connection, draw ahead, and make each call on every connection. Raises ``CannotRunError``."""
        while len(self._connections.free) < self._connections.size:
            self.turn(self.lag.due_ns)
            if self.refusal:
                raise CannotRunError(self.refusal)
        while self.draw_ahead():
            pass
        for _ in range(warm_rounds):
            for kind in range(len(self._operations)):
                for _ in range(self._connections.size):
                    self.begin(kind, now_ns())
                while self._in_flight:
                    self.turn(self.lag.due_ns)

    def begin_measuring(self, recorder: Recorder) -> None:
        """Forget what was written down until now."""
        self.recorder = recorder
        self.lag = Lateness()
        self.lag.begin()

    def begin(self, kind: int, due_ns: int, user: int = -1) -> None:
        """Send a call that is due, or let it wait for a connection; one that finds too many under way is skipped."""
        self.recorder.offered[kind] += 1
        in_flight, ahead = self._in_flight, self._ahead[kind]
        if len(in_flight) >= self._in_flight_max:
            self.recorder.skipped[kind] += 1
            return
        if not ahead:
            self._to_draw.remove(kind)
            ahead.extend(self._operations[kind].drawn())
        call = ahead.popleft()
        operation = call.operation
        if not len(ahead) % operation.block:
            self._to_draw.append(kind)
        operation.complete(call)
        call.kind, call.user, call.due_ns = kind, user, due_ns or now_ns()
        in_flight[call] = None
        self._send_or_queue(call)

    def draw_ahead(self) -> bool:
        """Draw a block of calls; False where enough are drawn."""
        if not self._to_draw:
            return False
        kind = self._to_draw.popleft()
        self._ahead[kind].extend(self._operations[kind].drawn())
        return True

    def turn(self, until_ns: int) -> None:
        """Wait for the network until then, and do what it brings. Where that is long, some calls are drawn first."""
        if self._to_draw and until_ns - now_ns() > SLACK_NS:
            self.draw_ahead()
        if self._to_send:
            self._dispatch()
        owners, lag_ns = self._poller.owners, self.lag.due_ns
        ended: list[Any] = []  # connections: nothing else ends
        for fd, _ in self._poller.wait(until_ns if until_ns < lag_ns else lag_ns):
            ready = owners.get(fd)
            if ready is not None and ready.advance():
                ended.append(ready)
        for connection in ended:
            if (call := connection.call) is not None:
                self._answered(connection, call)
            elif connection.is_sound:
                self._next(connection)
            elif connection.fd >= 0:
                self._refused(connection)
        if self._to_send:
            self._dispatch()
        now = now_ns()
        if now >= self.lag.due_ns:
            self._tick(now)

    async def rest(self, listen: Listen) -> None:
        """Hear of the parent."""
        self.listen_ns = now_ns() + LISTEN_NS
        await listen()

    async def arrive(self, due_ns: Sequence[int], kinds: Sequence[int], end_ns: int, listen: Listen) -> None:
        """Begin each call when it is due, until ``end_ns``."""
        number, count, row, has_slept = 0, len(due_ns), 0, False
        while number < count and not self.is_stopped:
            due, now = due_ns[number], now_ns()
            if now >= self.listen_ns:
                await self.rest(listen)
            if now >= due:
                if has_slept:
                    self.recorder.pacing_ns.add(now - due)
                    has_slept = False
                self.begin(kinds[number], due)
                self._dispatch()
                number += 1
                row += 1
                if row % BURST == 0:
                    self.turn(0)
                continue
            row, has_slept = 0, True
            self.turn(due)
        while now_ns() < end_ns and not self.is_stopped:
            self.turn(end_ns)
            if now_ns() >= self.listen_ns:
                await self.rest(listen)

    async def drain(self, listen: Listen) -> None:
        """Wait for what is under way; what does not even end when it is given up has failed as well."""
        patience_ns = now_ns() + self._deadline_ns + GRACE_NS
        while self._in_flight and now_ns() < patience_ns:
            self.turn(self.lag.due_ns)
            if now_ns() >= self.listen_ns:
                await self.rest(listen)
        for call in list(self._in_flight):
            self._fail(call, DEADLINE, "did not end after it was cancelled", now_ns())

    def _send_or_queue(self, call: Call) -> None:
        free = self._connections.free
        if not call.prepared.key:
            self._answer_here(call)
        elif free:
            self._send(call, free.pop())
        else:
            call.started_ns = now_ns()
            self._queue.append(call)

    def _send(self, call: Call, connection: WireConnection) -> None:
        call.connection, connection.call = connection, call
        self._to_send.append(call)

    def _dispatch(self) -> None:
        """Send what is to be sent, one after the other: each wakes a server process, which may take this core."""
        calls, self._to_send = self._to_send, []
        for call in calls:
            connection, now = call.connection, now_ns()
            if connection is None:  # given up meanwhile
                continue
            if call.started_ns:
                call.waited_ns = now - call.started_ns
            else:
                call.started_ns = now
            if call.operation.is_transaction and call.kind >= 0:
                connection.send_transaction(call.prepared.key, call.prepared.formats, call.rows)
            else:
                connection.send(call.prepared.key, call.prepared.formats, call.rows[0])

    def _next(self, connection: WireConnection) -> None:
        """Give a connection to whoever has waited longest for one."""
        while self._queue:
            if (call := self._queue.popleft()) in self._in_flight:
                self._send(call, connection)
                return
        self._connections.free.append(connection)

    def _answered(self, connection: WireConnection, call: Call) -> None:
        call.ended_ns = now_ns()
        if not connection.arrived_ns:
            call.answer_lag_ns = NOT_KNOWN
        elif call.answer_lag_ns >= 0:
            call.answer_lag_ns += max(call.ended_ns - connection.arrived_ns, 0)
        operation, complaint, failure = call.operation, "", connection.failure
        if call.is_right is not None:
            self._check_commit(connection, call)
        elif failure is not None:
            call.error = operation.error(call, failure)
        elif call.kind >= 0:
            try:
                judged = operation.judged(
                    call, connection.answers if operation.is_transaction else connection.results
                )
            except EventStoreError as error:
                call.error = error.with_traceback(None)  # which would hold the call in a ring
            else:
                if judged is None:
                    connection.send(call.prepared.key, call.prepared.formats, call.rows[0])
                    return
                complaint = judged
        if operation.is_transaction and call.is_right is None and call.kind >= 0 and connection.is_sound:
            call.is_right = call.error is None
            connection.end_transaction(commit=call.is_right)
            return
        results, connection.results, connection.call = connection.results, [], None
        if failure is None or connection.is_sound:  # first: whoever waits for it waits no longer
            if self._queue:
                self._next(connection)
            else:
                self._connections.free.append(connection)
        else:
            self._refused(connection)
        self._end(call, results, complaint)

    def _check_commit(self, connection: WireConnection, call: Call) -> None:
        """Whether what was right is committed as well."""
        if connection.failure is not None:
            call.error = call.error or call.operation.error(call, connection.failure)
        elif call.is_right and connection.results[0].command_status != b"COMMIT":
            call.error = StoreUnavailableError("the server did not commit the transaction")

    def _answer_here(self, call: Call) -> None:
        """An operation that asks no server."""
        call.started_ns = now_ns()
        complaint = call.operation.judged(call, ())
        assert complaint is not None
        call.ended_ns = now_ns()
        self._end(call, (), complaint)

    def _end(self, call: Call, results: Sequence[Any], complaint: str = "") -> None:
        """Write down how a call went, and find out what has to be known after one that did not go well."""
        del self._in_flight[call]
        kind, error = call.kind, call.error
        if kind < 0:
            if error is None:
                call.operation.recovered(call, results)
            return
        recorder, outcome = self.recorder, SUCCEEDED
        if error is not None or complaint:
            outcome = CONFLICTED if isinstance(error, CONFLICTS) else FAILED
        recorder.add(
            kind, outcome, call.due_ns, call.started_ns, call.ended_ns, call.waited_ns, call.answer_lag_ns
        )
        if outcome == FAILED:
            name = WRONG_ANSWER if error is None else type(error).__name__
            recorder.fail(kind, name, str(error or complaint))
        if self._observer is not None:
            self._tell(call, results, error)
        if outcome != SUCCEEDED:
            self._recover(call, error)
        if self.on_end is not None and call.user >= 0:
            self.on_end(call.user, call.ended_ns)

    def _recover(self, call: Call, error: EventStoreError | None) -> None:
        own = call.operation.recovery(call, error)
        if own is not None:
            own.kind, own.user, own.due_ns = -1, -1, now_ns()
            self._in_flight[own] = None
            self._send_or_queue(own)

    def _fail(self, call: Call, name: str, message: str, at_ns: int) -> None:
        """Give a call up that has no answer."""
        del self._in_flight[call]
        connection, call.connection = call.connection, None
        if connection is not None:
            connection.call = None
            self._connections.give_up(connection)
        if call.kind < 0:
            return
        started_ns = call.started_ns or at_ns
        if connection is None:  # it has waited for one until now
            call.waited_ns = at_ns - started_ns
        self.recorder.add(call.kind, FAILED, call.due_ns, started_ns, at_ns, call.waited_ns)
        self.recorder.fail(call.kind, name, message)
        self._recover(call, None)
        if self.on_end is not None and call.user >= 0:
            self.on_end(call.user, at_ns)

    def _refused(self, connection: WireConnection) -> None:
        """A connection is gone, or was not let in: whoever has waited longest is told."""
        self.refusal = reason = f"no connection to the server: {connection.failure}"
        self._connections.reopen(connection)
        while self._queue:
            call = self._queue.popleft()
            if call in self._in_flight:
                call.error = StoreUnavailableError(reason)
                call.ended_ns = now_ns()
                call.waited_ns = call.ended_ns - call.started_ns
                self._end(call, ())
                return

    def _tick(self, now: int) -> None:
        self.lag.observe(now)
        if now >= self._sweep_ns:
            self._sweep_ns = now + SWEEP_NS
            self._give_up(now - self._deadline_ns)
            self._connections.tend(now)

    def _give_up(self, over_ns: int) -> None:
        """What was due before that has failed."""
        overdue = []
        for call in self._in_flight:
            if call.due_ns > over_ns:
                break
            overdue.append(call)
        for call in overdue:
            self._fail(call, DEADLINE, DEADLINE, now_ns())

    def _tell(self, call: Call, results: Sequence[Any], error: EventStoreError | None) -> None:
        """The metrics of the store's own client."""
        observer, events = self._observer, call.operation.events
        if observer is None or not call.prepared.key:
            return
        seconds = (call.ended_ns - call.started_ns - call.waited_ns) / 1e9
        if call.waited_ns:
            observer.waited(call.waited_ns / 1e9)
        if error is not None and not isinstance(error, CONFLICTS):
            observer.failed(call.prepared.name, seconds, error)
            return
        rows: Sequence[Any] = range(results[0].ntuples) if results else ()
        if events:
            rows = [{"last_global_sequence": None}] if error is not None else ()
        observer.answered(call.prepared.name, ([None] * events,), seconds, rows)
