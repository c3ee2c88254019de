"""What the indexes of ``create_token_at`` must hold (docs/adr/0033): keys alone, or what the answer needs as well.

``python -m tools.studies.token_indexes docs/adr/0033-a-token-from-the-index-alone.json 1000000 5000000``: for each
volume a corpus on a server of its own, with the indexes of every choice. In every round each choice is measured once,
in an order that turns, in a transaction that drops the others' indexes and is rolled back. Before its look-ups, no page
of the table and its indexes is in shared buffers. Ratios are of one round's measurements.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.orderings import HORIZON
from eventmark.seeding import seed
from eventmark.server import provision
from eventmark.stats.ratios import Ratio, paired_ratio
from eventmark.stores import engine_store
from eventmark.workers import loop_factory
from eventmark.workload import CorpusPlan
from tools.studies.payload_types import Arguments, Choice, Statements, arguments, milliseconds

SCHEMA = "corpus"  # as in the study that the appends are of
TABLE = f"{SCHEMA}.domain_events"
ROUNDS = 12
LOOK_UPS, APPENDS = 400, 40  # of a round
KEYS_ALONE, TIME_COVERS, BOTH_COVER = "keys alone", "the time's covers", "both cover"

# The names of each choice's indexes, the log's and the time's.
CHOICES = {
    KEYS_ALONE: ("plain_position", "plain_timestamp"),
    TIME_COVERS: ("plain_position", "domain_events_timestamp"),
    BOTH_COVER: ("domain_events_position", "domain_events_timestamp"),
}
PLAIN = f"""
    create unique index plain_position on {TABLE} (transaction_id, global_sequence_id);
    create index plain_timestamp on {TABLE} (timestamp_utc);
    alter table {TABLE} drop constraint domain_events_position;
    create unique index domain_events_position on {TABLE} (transaction_id, global_sequence_id) include (timestamp_utc);
    create extension if not exists pg_buffercache;
    vacuum (analyze) {TABLE};
"""


def unused(choice: str) -> Iterator[str]:
    """The indexes that this choice would not have."""
    return (name for names in CHOICES.values() for name in names if name not in CHOICES[choice])


class Study:
    """One volume's corpus, on a connection of its own."""

    def __init__(self, connection: asyncpg.Connection[Any], given: Arguments) -> None:
        self._connection, self._given = connection, given
        self._text = HORIZON.statements("json")["create_token_at"].typed_sql(SCHEMA)
        self._random = np.random.default_rng(1)

    async def prepare(self) -> None:
        for script in filter(str.strip, PLAIN.split(";")):
            await self._connection.execute(script)
        first, last = await self._connection.fetchrow(
            f"select min(timestamp_utc), max(timestamp_utc) from {TABLE}"
        )
        self._first, self._seconds = first, (last - first).total_seconds()

    async def sizes_mib(self) -> dict[str, list[float]]:
        size = "select pg_relation_size($1::text::regclass) / 1048576.0"
        return {
            choice: [
                round(float(await self._connection.fetchval(size, f"{SCHEMA}.{name}")), 1) for name in names
            ]
            for choice, names in CHOICES.items()
        }

    async def round(self, choice: str) -> dict[str, float]:
        """Milliseconds, and WAL bytes of an append of one event."""
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            for name in set(unused(choice)):
                await self._connection.execute(f"drop index {SCHEMA}.{name}")
            for name in ("domain_events", *CHOICES[choice]):
                await self._connection.execute(
                    "select pg_buffercache_evict_relation($1::text::regclass)", f"{SCHEMA}.{name}"
                )
            appends = Statements(Choice("json", schema=SCHEMA), self._given)  # the same documents every time
            await appends.prepare(self._connection)
            look_up = await self._connection.prepare(self._text)
            taken = [await milliseconds(look_up.fetch, (self._instant(),)) for _ in range(LOOK_UPS)]
            return {
                "create_token_at p50": float(np.quantile(taken, 0.5)),
                "create_token_at p95": float(np.quantile(taken, 0.95)),
                "append_events[1] p50": median([await appends.append_ms(1) for _ in range(APPENDS)]),
                # a median: what a full page takes is not an index's
                "WAL bytes of append_events[1]": median([await appends.wal_bytes(1) for _ in range(APPENDS)]),
            }
        finally:
            await transaction.rollback()

    def _instant(self) -> Any:
        return self._first + timedelta(seconds=self._random.uniform(0, self._seconds))


async def measure(dsn: str) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn, command_timeout=600)
    study = Study(connection, await arguments(connection))
    await study.prepare()
    rounds: dict[str, list[dict[str, float]]] = {choice: [] for choice in CHOICES}
    for number in range(-1, ROUNDS):  # the first is to warm up
        turn = number % len(CHOICES)
        for choice in [*CHOICES][turn:] + [*CHOICES][:turn]:
            taken = await study.round(choice)
            if number >= 0:
                rounds[choice].append(taken)
    sizes = await study.sizes_mib()
    return {
        choice: {"MiB of the log's index and the time's": sizes[choice]} | compared(taken, rounds[KEYS_ALONE])
        for choice, taken in rounds.items()
    }


def compared(taken: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    described = {}
    for name in taken[0]:
        own, others = [one[name] for one in taken], [one[name] for one in base]
        described[name] = {
            "median": round(median(own), 3),
            "to keys alone": _rounded(paired_ratio(own, others)),
        }
    return described


def _rounded(ratio: Ratio) -> list[float]:
    return [round(value, 3) for value in (ratio.value, ratio.low, ratio.high)]


def main(path: Path, volumes: list[int]) -> None:
    measured = {}
    for events in volumes:
        with provision("embedded", durable=False) as server:
            asyncio.run(seed(server.dsn, engine_store(), CorpusPlan(events), schema=SCHEMA, workers=2))
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                measured[f"{events:,} events"] = runner.run(measure(server.admin_dsn))
            document = {"server": server.version, "rounds": ROUNDS, "fsync": "off", "volumes": measured}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(volume) for volume in sys.argv[2:]])
