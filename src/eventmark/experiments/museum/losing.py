"""How events get lost: a token that is a number, a conflict that is passed over, a look that keeps nobody out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.errors import VersionConflictError
from eventmark.experiments.museum.exhibit import STATEMENTS, Exhibit, Room, Trial
from eventmark.experiments.museum.log import empty_log
from eventmark.results.results import Verdict
from eventmark.server.loop import on_loop
from eventmark.stores import engine_store, open_store, scratch_name
from eventmark.verify import Fault, HuntPlan, Outcome, engine_subject, hunt
from eventmark.verify.history import stream_id
from eventmark.verify.recording import Recording

STREAMS = 20
SETTLED_WITHIN_S = 10.0
HUNT_SECONDS_MAX = 60.0
PAUSE_S = 0.5  # of appends at a steady rate before a hunt, and of the transaction that is held open in it


def _tailing(room: Room) -> Sequence[Trial]:
    """A hunt, or, where there is no time for one, the same interleaving of two transactions again and again."""
    trials = []
    for ordering, variant, good in (
        ("naive", "the token is the last number seen", False),
        ("horizon", "the engine's: below the oldest transaction still running", True),
    ):
        if room.hunted_events:
            trials.append(_hunted(room, ordering, variant, good=good))
        else:
            trials.append(on_loop(_interleaved(room, ordering, variant, good=good)))
    return trials


def _hunted(room: Room, ordering: str, variant: str, *, good: bool) -> Trial:
    plan = HuntPlan(
        subject=engine_subject(ordering), events=room.hunted_events, seconds=HUNT_SECONDS_MAX, seed=room.seed,
        paced_s=PAUSE_S, held_s=PAUSE_S,
    )  # fmt: skip
    hunted = hunt(room.server.dsn, scratch_name(room.schema, "_museum"), plan, progress=room.progress)
    return Trial(
        variant=variant, good=good, verdict=hunted.verdict, reason=hunted.reason or "every invariant holds",
        counters={"events committed": hunted.committed, "lost to a consumer": hunted.lost},
    )  # fmt: skip


async def _interleaved(room: Room, ordering: str, variant: str, *, good: bool) -> Trial:
    """Of each two appends the second commits first, and the consumer reads in between."""
    async with _recording(room, ordering) as (record, connection):
        token = await record.store.create_tail_token()
        for number in range(STREAMS):
            held, quick = 2 * number, 2 * number + 1
            async with record.store.transaction() as transaction:
                first = await record.append_in(transaction, held)
                await record.append(quick)
                token = await record.consume(record.store.stream_events, token)
            record.note(Outcome.OK, held, first, 1, 1)
        settled = await _all_ended(connection)
        await record.consume(record.store.stream_events, token, polls=2)
        faults = await record.faults(connection)
    lost = sum(fault.count for fault in faults if fault.what.startswith("lost"))
    trial = Trial(
        variant=variant, good=good, verdict=Verdict.BROKEN if faults else Verdict.MET, reason=_told(faults),
        counters={"events committed": 2.0 * STREAMS, "lost to a consumer": float(lost)},
    )  # fmt: skip
    if settled:
        return trial
    return replace(
        trial,
        verdict=Verdict.INCONCLUSIVE,
        reason="a transaction of somebody else's holds consumers up: doctor names it",
    )


async def _all_ended(connection: asyncpg.Connection[Any]) -> bool:
    """Whether every transaction that was running by now has ended within ``SETTLED_WITHIN_S``."""
    bound = await connection.fetchval("select pg_current_xact_id()")
    until_s = time.monotonic() + SETTLED_WITHIN_S
    while time.monotonic() < until_s:
        if await connection.fetchval("select pg_snapshot_xmin(pg_current_snapshot()) > $1", bound):
            return True
        await asyncio.sleep(0.005)
    return False


async def _ignored_conflict(room: Room) -> Sequence[Trial]:
    """Two appends to each of a few streams, both at the version before."""
    trials = []
    async with _recording(room) as (record, connection):
        for stream in range(STREAMS):
            for _ in range(2):
                await _append(record, connection, STATEMENTS["append_ignoring_conflicts"], stream)
        trials.append(
            await _checked(
                record, connection, "ON CONFLICT DO NOTHING: no error, so it is stored", good=False
            )
        )
    async with _recording(room) as (record, connection):
        for stream in range(STREAMS):
            for _ in range(2):
                await _append_by_engine(record, stream)
        trials.append(
            await _checked(
                record, connection, "the engine's: a conflict is an error with both versions", good=True
            )
        )
    return trials


async def _position_check(room: Room) -> Sequence[Trial]:
    """Two transactions that look at a stream's end before either has committed."""
    trials = []
    for variant, unique, good in (
        ("the stream's end is looked at, and nothing else", False, False),
        ("the same look, and a unique index on the version", True, True),
    ):
        async with _recording(room) as (record, connection):
            if not unique:
                await connection.execute(f'drop index "{record.schema}".domain_events_stream')
            for stream in range(STREAMS):
                await _race(room, record, connection, stream)
            trials.append(await _checked(record, connection, variant, good=good))
    return trials


async def _race(room: Room, record: Recording, connection: asyncpg.Connection[Any], stream: int) -> None:
    """Both look, then both commit; the one that has to wait for the other ends with an error or a second winner."""
    other = await asyncpg.connect(room.server.dsn)
    try:
        first = connection.transaction()
        await first.start()
        await _append(record, connection, STATEMENTS["append_checking_first"], stream)
        second = asyncio.create_task(_append(record, other, STATEMENTS["append_checking_first"], stream))
        await _settled(connection, second, other)
        await first.commit()
        await second
    finally:
        await other.close()


async def _settled(
    connection: asyncpg.Connection[Any], task: asyncio.Task[None], other: asyncpg.Connection[Any]
) -> None:
    """Until the other's append has gone through, or waits for this transaction."""
    while not task.done():
        if await connection.fetchval("select cardinality(pg_blocking_pids($1)) > 0", other.get_server_pid()):
            return
        await asyncio.sleep(0.001)


async def _append(
    record: Recording, connection: asyncpg.Connection[Any], statement: Statement, stream: int
) -> None:
    """As an application that takes no error for success."""
    first, (event,) = record.new(1)
    name = stream_id(stream)
    try:
        await connection.execute(
            statement.sql(record.schema), name.tenant_id, name.aggregate_id, 1, event.event_id,
            json.dumps(event.payload),
        )  # fmt: skip
        outcome = Outcome.OK
    except asyncpg.UniqueViolationError:
        outcome = Outcome.CONFLICT
    record.note(outcome, stream, first, 1, 1)


async def _append_by_engine(record: Recording, stream: int) -> None:
    first, events = record.new(1)
    try:
        await record.store.append_events(stream_id(stream), events, expected_version=0)
        outcome = Outcome.OK
    except VersionConflictError:
        outcome = Outcome.CONFLICT
    record.note(outcome, stream, first, 1, 1)


async def _checked(
    record: Recording, connection: asyncpg.Connection[Any], variant: str, *, good: bool
) -> Trial:
    faults = await record.faults(connection)
    outcomes = [outcome for outcome, *_ in record.attempts]
    stored = await connection.fetchval(f'select count(*) from "{record.schema}".domain_events')
    return Trial(
        variant=variant, good=good, verdict=Verdict.BROKEN if faults else Verdict.MET, reason=_told(faults),
        counters={
            "appends said to have succeeded": float(outcomes.count(Outcome.OK)), "events stored": float(stored),
            "conflicts told": float(outcomes.count(Outcome.CONFLICT)),
        },
    )  # fmt: skip


def _told(faults: Sequence[Fault]) -> str:
    text = "; ".join(f"{fault.invariant}: {fault.count} {fault.what}" for fault in faults)
    return text or "every invariant holds"


@asynccontextmanager
async def _recording(
    room: Room, ordering: str = "horizon"
) -> AsyncIterator[tuple[Recording, asyncpg.Connection[Any]]]:
    async with (
        empty_log(room, ordering=ordering) as (connection, schema),
        await open_store(engine_store(), room.server.dsn, schema=schema, notify=False) as store,
    ):
        yield Recording(store, schema), connection


TAILING_READERS = Exhibit(
    name="tailing-readers",
    title="Tailing readers silently skip committed events",
    sources=(
        "AxonIQ/AxonFramework#4829", "JasperFx/marten#4964", "JasperFx/marten#4977", "JasperFx/marten#1629",
        "Eventuous/eventuous#222", "event-driven-io/emmett#336", "commanded/eventstore#3",
    ),
    story="Number 42 commits before 41. A consumer whose token is the last number seen has passed 41 when it appears.",
    lesson="Read below the oldest transaction still running, or come back for the gaps.",
    judged_by="checker of histories, invariant I7: of a hunt by writers and consumers in processes; in the quick "
    "profile, of two transactions interleaved by hand",
    run=_tailing,
)  # fmt: skip
IGNORED_CONFLICT = Exhibit(
    name="ignored-conflict",
    title="The append reports success, and the event is lost",
    sources=("Eventuous/eventuous#582",),
    story="When the version is already taken, ON CONFLICT DO NOTHING stores nothing and raises no error.",
    lesson="Let the constraint raise, or check the number of rows, and report the conflict to the caller.",
    judged_by="checker of histories, invariants I1 and I5",
    run=_ignored_conflict,
)
POSITION_CHECK = Exhibit(
    name="position-check",
    title="An optimistic check that checks the position alone",
    sources=("sliceworkz/eventstore#99",),
    story="Whether the stream is where it is expected is looked at by the inserting statement. Two that look at the "
    "same time both find it there, and both append.",
    lesson="A unique index on stream and version: one of the two waits, and is refused.",
    judged_by="checker of histories, invariants I4 and I5",
    run=_position_check,
)
