"""Symptoms of what can limit a run: shares read from evidence, each with the limit beyond which it tells.

A share that was sampled comes with a 95% interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from eventmark.judgement.evidence import Evidence, Spent, StatementTime, Wait, spent_on
from eventmark.judgement.machine import BUSY_SHARE

MOST = 0.5
"""More than all else together: taking anything else away would change less."""

CORE_FULL = 0.9
"""One event loop is one core. From here on what it waits for is itself; the rest is the clock's granularity."""

MACHINE_FULL = 0.9
"""A queue for the cores is longer than the work from about here on, however the load comes."""

CROWDED = 0.75
"""Of the cores, busy on average while something was measured, pauses between calls included: there was no room left."""

PAGES_PER_ROW_MAX = 300.0
"""The dearest of healthy statements touch about 100 pages for a row: the events around an instant, each on a
page of its own, or an insert into a dozen indexes. Three times that is no search by an index any more."""

LOOKS_MIN = 30
"""Fewer looks at the sessions say nothing: a share of one half would be known to within 18%."""

_Z = 1.96


class Limit(StrEnum):
    """What can limit a run."""

    CLIENT = "client"
    STATEMENT = "a statement"
    LOCKS = "locks"
    SERVER_CPU = "server CPU"
    POOL = "pool"
    WAL_FLUSH = "WAL flush"
    READS = "reads"
    WRITES = "writes"
    LATCHES = "internal locks"
    OTHERS = "other processes"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A symptom's share as it was seen, with its interval; ``what`` was seen in words."""

    value: float
    low: float
    high: float
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One row of the table. ``read`` gives None where the evidence does not show it."""

    limit: Limit
    of: str
    beyond: float
    read: Callable[[Evidence], Reading | None]


def _exact(value: float, what: str) -> Reading:
    return Reading(value=value, low=value, high=value, what=what)


def _sampled(evidence: Evidence, sessions: float, what: str, *, of: float | None = None) -> Reading | None:
    """The share of connected time, or of so many sessions, that ``sessions`` are, with Wilson's interval.

    Sessions seen in one look are not independent, they wait for one another: each look counts once.
    """
    if evidence.looks < LOOKS_MIN:
        return None
    whole = evidence.connected_sessions if of is None else of
    if whole <= 0:
        return _exact(0.0, "no session was at work")
    share, n = min(sessions / whole, 1.0), evidence.looks
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Reading(value=share, low=max(centre - half, 0.0), high=min(centre + half, 1.0), what=what)


def _on(spent: Spent) -> Callable[[Evidence], Reading | None]:
    """How much of the time with a connection is spent so, with the wait events and the statement behind it."""

    def read(evidence: Evidence) -> Reading | None:
        sessions = evidence.sessions_on(spent)
        share = sessions / evidence.connected_sessions if evidence.connected_sessions else 0.0
        what = f"{share:.0%} of the time with a connection went to {spent.value}"
        waits = [wait for wait in evidence.waits if spent_on(wait) is spent and wait.kind]
        waits.sort(key=lambda wait: -evidence.waits[wait])
        named = f" ({', '.join(map(str, waits[:3]))})" if waits else ""
        return _sampled(evidence, sessions, what + named + _in_statement(evidence, set(waits)))

    return read


def _in_statement(evidence: Evidence, waits: set[Wait]) -> str:
    """The statement that has most of these waits."""
    of = {
        statement.text: sum(sessions for wait, sessions in statement.sessions.items() if wait in waits)
        for statement in evidence.statements
    }
    text = max(of, key=lambda word: of[word], default="")
    return f", most of it in: {text}" if text and of[text] > 0 else ""


def _excessive(evidence: Evidence) -> Reading | None:
    """Time in statements whose pages per row no search by an index needs.

    Of the time at work: such a statement is a fault however much of a call's time the machine lets it have.
    """
    if not evidence.statements:
        working = evidence.sessions_on(Spent.RUNNING) + evidence.sessions_on(Spent.READ)
        return _sampled_within(
            evidence, working, "statements were not seen, and sessions worked too little for one"
        )
    statements = [
        statement for statement in evidence.statements if statement.pages_per_row > PAGES_PER_ROW_MAX
    ]
    if not statements:
        return _exact(0.0, f"no statement touched more than {PAGES_PER_ROW_MAX:g} pages per row")
    sessions, at_work = sum(statement.sessions_at_work for statement in statements), evidence.sessions_at_work
    worst = max(statements, key=lambda statement: statement.sessions_at_work)
    what = (
        f"{sessions / at_work if at_work else 0:.0%} of the time at work went to what no index search needs: "
        f"{worst.pages_per_row:,.0f} pages per row and {_per_call_ms(worst):.3g} ms per call of: {worst.text}"
    )
    return _sampled(evidence, sessions, what, of=at_work)


def _sampled_within(evidence: Evidence, sessions: float, what: str) -> Reading | None:
    """A share that bounds the one asked for: it tells something only where it is itself within the limit."""
    reading = _sampled(evidence, sessions, what)
    return reading if reading is not None and reading.high < MOST else None


def _at_rest(evidence: Evidence) -> Reading | None:
    """Sessions that run, as they say, and use no core: they wait where the server does not see it."""
    running, server = evidence.sessions_on(Spent.RUNNING), evidence.server
    share = max(running - (server.cores if server else 0.0), 0.0)
    what = f"{running:.2f} sessions ran on average, without a wait event"
    if server is None:
        return _sampled_within(evidence, share, what)
    if evidence.machine_cores is None or evidence.machine_cores >= MACHINE_FULL * evidence.cores:
        return _sampled_within(evidence, share, what) or _exact(
            0.0, what + ", on a machine whose cores were full"
        )
    return _sampled(
        evidence, share, f"{what}, and the server used {server.cores:.2f} cores" + _costliest(evidence)
    )


def _per_call_ms(statement: StatementTime) -> float:
    return statement.execution_ms / max(statement.calls, 1)


def _client_core(evidence: Evidence) -> Reading | None:
    busiest = evidence.client.busiest if evidence.client else None
    if busiest is None:
        return None
    demand = max(evidence.client.demand or 0.0, busiest) if evidence.client else busiest
    what = f"the busiest client process ran {busiest:.0%} of the time it had a core"
    return Reading(value=busiest, low=busiest, high=demand, what=what)


def _client_machine(evidence: Evidence) -> Reading | None:
    client, server = evidence.client, evidence.server
    if client is None or server is None:  # a server elsewhere shares no core with the client
        return (
            None
            if client is None
            else _exact(client.cores / evidence.cores, _cores("the client", client.cores))
        )
    if client.cores <= server.cores:
        return _exact(
            client.cores / evidence.cores, f"the server used more cores than the client ({client.cores:.2f})"
        )
    full = _full(evidence, client.cores + server.cores)
    return _exact(full, f"client and server used {full:.0%} of the machine's cores, the client most of it")


def _late(evidence: Evidence) -> Reading | None:
    calls = evidence.calls
    if calls is None or calls.total_s <= 0:
        return _exact(0.0, "no call was late")
    what = "{share:.0%} of the call time passed before the client sent the call"
    return _of_the_client(evidence, calls.late_s / calls.total_s, what)


def _loop_lag(evidence: Evidence) -> Reading | None:
    calls = evidence.calls
    if calls is None or calls.total_s <= 0:
        return _exact(0.0, "no call waited for the client's event loop")
    what = "{share:.0%} of the call time passed while the client's event loop was busy with other calls"
    return _of_the_client(evidence, calls.loop_lag_s / calls.total_s, what)


def _of_the_client(evidence: Evidence, share: float, what: str) -> Reading:
    """What the client is to blame for of such a share: not what its process was kept waiting for a core."""
    waited = evidence.client.kept_waiting if evidence.client else 0.0
    own = share * (1 - waited)
    left_out = f", its waiting for a core left out ({share - own:.0%})" if share - own >= 0.005 else ""
    return _exact(own, what.format(share=own) + left_out)


def _server_cpu(evidence: Evidence) -> Reading | None:
    client, server = evidence.client, evidence.server
    if server is None:
        running = evidence.sessions_on(Spent.RUNNING)
        few = evidence.looks >= LOOKS_MIN and running < CORE_FULL  # not even one core, however many there are
        return _exact(0.0, f"{running:.2f} sessions ran at a time, less than one core") if few else None
    own = client.cores if client else 0.0
    if server.cores < own:
        return _exact(
            server.cores / evidence.cores, f"the client used more cores than the server ({server.cores:.2f})"
        )
    full = _full(evidence, own + server.cores)
    return _exact(
        full,
        f"{full:.0%} of the machine's {evidence.cores} cores were used, {server.cores:.2f} of them by the server"
        + _costliest(evidence),
    )


def _full(evidence: Evidence, own: float) -> float:
    """The share of the machine's cores that client and server used, with what the system did for them.

    Sending, receiving and writing back are done by nobody's process: what is left over is theirs, unless it is so
    much that other processes must have had it.
    """
    machine = evidence.machine_cores or 0.0
    return (machine if own < machine < own + BUSY_SHARE * evidence.cores else own) / evidence.cores


def _costliest(evidence: Evidence) -> str:
    if not evidence.statements:
        return ""
    most = max(evidence.statements, key=lambda statement: statement.execution_ms)
    return f", most of it in: {most.text}"


def _pool(evidence: Evidence) -> Reading | None:
    calls = evidence.calls
    if calls is None:
        return None
    share = calls.pool_wait_s / calls.total_s if calls.total_s > 0 else 0.0
    return _exact(
        share,
        f"{share:.0%} of the call time was spent waiting for a connection, "
        f"{calls.pool_wait_s / max(calls.calls, 1) * 1e3:.3g} ms of each",
    )


def _others(evidence: Evidence) -> Reading | None:
    if evidence.machine_cores is None or evidence.client is None:
        return _exact(0.0, "the machine's other processes were not sampled")
    own = evidence.client.cores + (evidence.server.cores if evidence.server else 0.0)
    others, full = max(evidence.machine_cores - own, 0.0), evidence.machine_cores / evidence.cores
    large = others >= BUSY_SHARE * evidence.cores
    return _exact(
        full if large else others / evidence.cores,
        f"the machine's cores were {full:.0%} busy, {others:.2f} of {evidence.cores} with other processes",
    )


def _cores(who: str, cores: float) -> str:
    return f"{who} used {cores:.2f} cores"


# In the order in which a cause comes before what it causes: a client that is late, a statement that sleeps and
# sessions that wait for each other's locks keep connections busy, and so does a full machine; then callers queue
# for connections, which a larger pool would not change. WAL flushes come after the pool: commits of more
# connections share one flush. What other processes take is asked last, for it makes everything else slower.
SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(limit=Limit.CLIENT, of="one core, used by the busiest client process", beyond=CORE_FULL, read=_client_core),
    Symptom(limit=Limit.CLIENT, of="call time, before the call was sent", beyond=MOST, read=_late),
    Symptom(limit=Limit.CLIENT, of="call time, waiting for the client's event loop", beyond=MOST, read=_loop_lag),
    Symptom(limit=Limit.CLIENT, of="session time, waiting for the client", beyond=MOST, read=_on(Spent.CLIENT)),
    Symptom(limit=Limit.STATEMENT, of="session time, sleeping (pg_sleep)", beyond=MOST, read=_on(Spent.SLEEP)),
    Symptom(limit=Limit.STATEMENT, of="session time, waiting for a core", beyond=MOST, read=_at_rest),
    Symptom(limit=Limit.STATEMENT, of="working time, in a statement that touches too many pages", beyond=MOST,
            read=_excessive),
    Symptom(limit=Limit.LOCKS, of="session time, waiting for locks", beyond=MOST, read=_on(Spent.LOCK)),
    Symptom(limit=Limit.CLIENT, of="the machine's cores, mostly used by the client", beyond=MACHINE_FULL,
            read=_client_machine),
    Symptom(limit=Limit.SERVER_CPU, of="the machine's cores, mostly used by the server", beyond=MACHINE_FULL,
            read=_server_cpu),
    Symptom(limit=Limit.POOL, of="call time, waiting for a connection", beyond=MOST, read=_pool),
    Symptom(limit=Limit.WAL_FLUSH, of="session time, writing and flushing WAL", beyond=MOST,
            read=_on(Spent.WAL)),
    Symptom(limit=Limit.READS, of="session time, reading data files", beyond=MOST, read=_on(Spent.READ)),
    Symptom(limit=Limit.WRITES, of="session time, writing data files", beyond=MOST, read=_on(Spent.WRITE)),
    Symptom(limit=Limit.LATCHES, of="session time, waiting for internal locks", beyond=MOST,
            read=_on(Spent.LATCH)),
    Symptom(limit=Limit.OTHERS, of="the machine's cores, largely used by other processes", beyond=CROWDED,
            read=_others),
)  # fmt: skip
