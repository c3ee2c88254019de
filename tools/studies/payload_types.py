"""What payloads are best stored as: types and storage options of one table, beside each other (docs/adr/0026).

``python -m tools.studies.payload_types docs/adr/0026-payloads-are-json.json 200000``: the same events in a schema for
each choice, on a server of its own; in every round each choice is measured once, in an order that turns. Ratios are of
one round's measurements, so that other work on the machine meets all of them. Everything is read from memory.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg

from eventmark.engine import install_schema
from eventmark.engine.orderings import HORIZON
from eventmark.engine.schema import Purpose
from eventmark.seeding import seed
from eventmark.server import provision
from eventmark.stats.ratios import paired_ratio
from eventmark.stores import engine_store
from eventmark.workers import loop_factory
from eventmark.workload import CorpusPlan

SOURCE = "corpus"
ROUNDS = 12
READS, PLANS = 12, 9  # of a round; of a choice
APPENDS = {1: 40, 10: 15, 100: 8}
BASE = "jsonb"


@dataclass(frozen=True, slots=True)
class Choice:
    """A type of payload and metadata, and where compression begins (bytes of a row; 0: the server's default, 2 KB)."""

    type: str
    target: int = 0
    schema: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.schema or f"{self.type}_{self.target}")

    @property
    def name(self) -> str:
        return f"{self.type}, {self.target}" if self.target else self.type


CHOICES = (
    Choice("jsonb"), Choice("jsonb", 8160), Choice("json"), Choice("json", 4096), Choice("json", 6144),
    Choice("json", 8160), Choice("text"), Choice("text", 8160),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What every choice is asked: long streams, places in the log, and events' documents."""

    streams: list[tuple[str, str]]
    places: list[tuple[int, int]]
    documents: list[tuple[str, str]]


async def fill(connection: asyncpg.Connection[Any], choice: Choice) -> dict[str, Any]:
    """The corpus' events in a table of this choice; its size per event."""
    table = f"{choice.schema}.domain_events"
    await install_schema(
        connection, choice.schema, payload="json", with_indexes=False, purpose=Purpose.SCRATCH
    )
    await connection.execute(
        f"alter table {table} alter column payload type {choice.type} using payload::text::{choice.type},"
        f" alter column metadata type {choice.type} using metadata::text::{choice.type};"
        f" alter table {table} reset (toast_tuple_target)"
    )
    if choice.target:
        await connection.execute(f"alter table {table} set (toast_tuple_target = {choice.target})")
    columns = await connection.fetchval(
        "select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = $1::text::regclass"
        " and attnum > 0 and attname not in ('payload', 'metadata')",
        table,
    )
    await connection.execute(
        f"insert into {table} ({columns}, payload, metadata) overriding system value"
        f" select {columns}, payload::text::{choice.type}, metadata::text::{choice.type} from {SOURCE}.domain_events"
        " order by transaction_id, global_sequence_id"
    )
    await connection.execute(HORIZON.indexes_path.read_text().replace("{schema}", choice.schema))
    await connection.execute(
        "select setval(pg_get_serial_sequence($1, 'global_sequence_id'), 100000000)".replace(
            "$1", f"'{table}'"
        )
    )
    await connection.execute(f"vacuum (analyze) {table}")
    heap, toast, events = await connection.fetchrow(
        f"select pg_relation_size(c.oid), pg_total_relation_size(c.reltoastrelid), (select count(*) from {table})"
        " from pg_class c where c.oid = $1::text::regclass",
        table,
    )
    return {
        "heap": round(heap / events),
        "toast": round(toast / events),
        "both": round((heap + toast) / events),
    }


async def arguments(connection: asyncpg.Connection[Any]) -> Arguments:
    streams = await connection.fetch(
        f"select tenant_id, aggregate_id from {SOURCE}.domain_events where sequence_number = 1000 order by 1, 2"
    )
    places = await connection.fetch(
        "select transaction_id::text::bigint, global_sequence_id from (select *, count(*) over () as all_events,"
        f" row_number() over (order by transaction_id, global_sequence_id) as n from {SOURCE}.domain_events)"
        " as event where n % 1000 = 500 and n < all_events - 1000"
    )
    documents = await connection.fetch(
        f"select payload::text, metadata::text from {SOURCE}.domain_events where global_sequence_id % 97 = 0 limit 2000"
    )
    return Arguments(
        streams=[tuple(row) for row in streams],
        places=[tuple(row) for row in places],
        documents=[tuple(row) for row in documents],
    )


Call = Callable[[int], Awaitable[object]]


class Statements:
    """One choice's statements, prepared on a connection."""

    def __init__(self, choice: Choice, given: Arguments) -> None:
        self.choice = choice
        self._given = given
        self._texts = {n: s.typed_sql(choice.schema) for n, s in HORIZON.statements(choice.type).items()}
        self._appended = 0

    async def prepare(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        await connection.execute("set plan_cache_mode to force_generic_plan")
        self._load, self._stream, self._append = [
            await connection.prepare(self._texts[name])
            for name in ("load_aggregate", "stream_events", "append_events")
        ]

    def load_arguments(self, number: int) -> tuple[Any, ...]:
        return (*self._given.streams[number % len(self._given.streams)], 1)

    def stream_arguments(self, number: int) -> tuple[Any, ...]:
        return (*self._given.places[number * 7 % len(self._given.places)], 1000)

    def append_arguments(self, count: int) -> tuple[Any, ...]:
        self._appended += count
        documents = [
            self._given.documents[(self._appended + n) % len(self._given.documents)] for n in range(count)
        ]
        payloads, metadatas = map(list, zip(*documents, strict=True))
        return (
            "tenant-1", uuid4().hex, "Order", 0, [uuid4() for _ in range(count)], ["OrderPlaced"] * count,
            payloads, metadatas, [datetime.now(UTC)] * count, ["OrderPlaced"] * count, ["1.0"] * count,
        )  # fmt: skip

    async def timed_ms(self, number: int) -> dict[str, float]:
        """The median of each operation in one round."""
        numbers = range(number * READS, (number + 1) * READS)
        found = {
            "load_aggregate[1000]": [
                await milliseconds(self._load.fetch, self.load_arguments(n)) for n in numbers
            ],
            "stream_events[1000]": [
                await milliseconds(self._stream.fetch, self.stream_arguments(n)) for n in numbers
            ],
        }
        for count, calls in APPENDS.items():
            found[f"append_events[{count}]"] = [await self.append_ms(count) for _ in range(calls)]
        return {name: median(values) for name, values in found.items()}

    async def append_ms(self, count: int) -> float:
        return await milliseconds(self._append.fetch, self.append_arguments(count))

    async def wal_bytes(self, count: int, calls: int = 1) -> int:
        """WAL of an event in appends of ``count``."""
        place = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        before = await self._connection.fetchval(place)
        for _ in range(calls):
            await self._append.fetch(*self.append_arguments(count))
        after = await self._connection.fetchval(place)
        return round(float(after - before) / (count * calls))

    async def planned(self) -> dict[str, Any]:
        """By EXPLAIN: what execution and serialization take of the server's time, and pages looked at."""
        found = {}
        for name, make in (("load_aggregate", self.load_arguments), ("stream_events", self.stream_arguments)):
            plans = [await self._explained(name, make(n)) for n in range(PLANS)]
            found[name] = {key: round(median(plan[key] for plan in plans), 2) for key in plans[0]}
        return found

    async def _explained(self, name: str, arguments: tuple[Any, ...]) -> dict[str, float]:
        text = await self._connection.fetchval(
            "explain (analyze, buffers, serialize binary, format json) " + self._texts[name],
            *arguments,
        )
        plan = json.loads(text)[0]
        buffers = (plan["Plan"], plan["Serialization"])
        pages = [sum(one[f"Shared {kind} Blocks"] for kind in ("Hit", "Read")) for one in buffers]
        return {
            "execution_ms": plan["Execution Time"] - plan["Serialization"]["Time"],
            "serialization_ms": plan["Serialization"]["Time"],
            "pages": pages[0],
            "pages_serializing": pages[1],
        }


async def milliseconds(fetch: Callable[..., Awaitable[object]], arguments: tuple[Any, ...]) -> float:
    began = time.perf_counter_ns()
    await fetch(*arguments)
    return (time.perf_counter_ns() - began) / 1e6


async def measure(dsn: str) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn, command_timeout=600)
    sizes = {choice.name: await fill(connection, choice) for choice in CHOICES}
    given = await arguments(connection)
    prepared = [Statements(choice, given) for choice in CHOICES]
    for one in prepared:
        await one.prepare(await asyncpg.connect(dsn, command_timeout=600))
    await connection.execute("checkpoint")
    plans = {one.choice.name: await one.planned() for one in prepared}
    rounds: dict[str, list[dict[str, float]]] = {choice.name: [] for choice in CHOICES}
    for number in range(-1, ROUNDS):  # the first is to warm up
        turn = number % len(prepared)
        for one in prepared[turn:] + prepared[:turn]:
            timed = await one.timed_ms(number)
            if number >= 0:
                rounds[one.choice.name].append(timed)
    wal = {one.choice.name: await one.wal_bytes(100, calls=20) for one in prepared}
    return {
        choice.name: {
            "bytes_of_an_event": sizes[choice.name], "wal_bytes_of_an_appended_event": wal[choice.name],
            "plans": plans[choice.name], "operations": described(rounds[choice.name], rounds[BASE]),
        }
        for choice in CHOICES
    }  # fmt: skip


def described(timed: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    found = {}
    for name in timed[0]:
        own, others = [one[name] for one in timed], [one[name] for one in base]
        ratio = paired_ratio(others, own)
        found[name] = {
            "p50_ms": round(median(own), 2),
            "times_as_fast_as_jsonb": [round(one, 2) for one in (ratio.value, ratio.low, ratio.high)],
        }
    return found


def main(path: Path, events: int) -> None:
    with provision("embedded", durable=False) as server:
        asyncio.run(seed(server.dsn, engine_store(), CorpusPlan(events), schema=SOURCE, workers=2))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            found = runner.run(measure(server.dsn))
        document = {
            "server": server.version, "asyncpg": asyncpg.__version__, "events": events, "rounds": ROUNDS,
            "fsync": "off", "choices": found,
        }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
