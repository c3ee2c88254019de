"""A dump restored into a younger cluster: refused until it is rebased, then whole, in its old order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from eventmark.domain import StoredEvent
from eventmark.engine import ORDERINGS, EventProcessor, PostgresEventStore
from eventmark.engine.processor import Handler
from eventmark.engine.rebase import rebase_store
from eventmark.errors import CannotRunError, TokenRefusedError
from eventmark.server import Server
from tests.engine.builders import SCHEMA, new_event, new_events, opened, read_on, stream_of, until
from tests.faults.clusters import OwnCluster, own_cluster

USE_IDS = "do $$ begin for one in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$"


by_transaction_and_by_number = pytest.mark.parametrize(
    "ordering",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name not in ("horizon", "gap_aware")))
        for name in ORDERINGS
    ],
)


@pytest.fixture(scope="module")
def younger(server: Server) -> Iterator[OwnCluster]:
    """A cluster that has given out few transaction ids so far."""
    with own_cluster(server) as cluster:
        yield cluster


def run(server: Server, program: str, *arguments: Any) -> None:
    assert server.bin_directory is not None
    done = subprocess.run(
        [server.bin_directory / program, *arguments], env=os.environ | server.program_environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


async def restored(server: Server, source: str, younger: OwnCluster, tmp_path: Path, name: str) -> str:
    """The DSN of a new database of the younger cluster that holds what was dumped from ``source``."""
    await asyncio.to_thread(run, server, "pg_dump", "-Fc", "-n", SCHEMA, "-f", tmp_path / "dump", source)
    connection = await asyncpg.connect(younger.dsn)
    await connection.execute(f"create database {name}")
    await connection.close()
    target = younger.dsn.rpartition("/")[0] + f"/{name}"
    await asyncio.to_thread(run, server, "pg_restore", "--exit-on-error", "-d", target, tmp_path / "dump")
    return target


@by_transaction_and_by_number
async def test_processors_go_on_exactly_where_they_were_after_a_restore_and_a_rebase(
    server: Server, database: str, younger: OwnCluster, tmp_path: Path, ordering: str
) -> None:
    """One that had read nothing, one in the midst of the log, one at its end, one token from another epoch."""
    tenant = {"tenant_id": "acme"}
    async with opened(database, ordering) as store:
        connection = await asyncpg.connect(database)
        await connection.execute(USE_IDS)
        sent = []
        for number in range(9):
            batch = new_events(2)
            await store.append_events(stream_of(f"s-{number % 3}"), batch, expected_version=number // 3 * 2)
            sent += [event.event_id for event in batch]
        tail = await store.create_tail_token()
        middle = (await read_on(store, tail, 7, limit=7, **tenant)).token
        end = (await read_on(store, middle, 11, **tenant)).token
        for name, token in {"none": tail, "middle": middle, "end": end, "old": replace(end, epoch=9)}.items():
            await store.run_statement("create_processor", name, 1, str(token))
        await connection.close()
    target = await restored(server, database, younger, tmp_path, f"carried_{ordering}")
    connection = await asyncpg.connect(target)
    done = await rebase_store(connection, SCHEMA)
    assert done.events_moved == (18 if ordering == "horizon" else 0)
    assert (done.segments_carried, done.refused_processors) == (3, ("old",))
    async with await PostgresEventStore.connect(target, schema=SCHEMA, notify=False) as store:
        sent.append((late := new_event()).event_id)
        await store.append_events(stream_of("s-0"), [late], expected_version=6)
        for name, rest in {"none": sent, "middle": sent[7:], "end": [late.event_id]}.items():
            handled: list[object] = []
            processor = EventProcessor(store, name, keep_in(handled), transactional=False, **tenant)
            running = asyncio.create_task(processor.run())
            await until(lambda handled=handled, rest=rest: reached(handled, len(rest)))  # type: ignore[misc]
            processor.stop()
            await running
            assert handled == rest
        with pytest.raises(TokenRefusedError, match="another epoch"):
            await EventProcessor(store, "old", keep_in([]), **tenant).run()
        await EventProcessor.reset(store, "old", "tail", **tenant)
        assert await store.run_statement("claim_segment", "old", "me", timedelta(seconds=1))
    await connection.close()


def keep_in(handled: list[object]) -> Handler:
    async def keep(events: Sequence[StoredEvent], _: object) -> None:
        handled.extend(event.event_id for event in events)

    return keep


async def reached(handled: Sequence[object], count: int) -> bool:
    return len(handled) >= count


async def test_a_dump_restored_twice_makes_two_stores_whose_tokens_are_each_others_strangers(
    server: Server, database: str, younger: OwnCluster, tmp_path: Path
) -> None:
    """A number that counts epochs is the same after each restore, and a place of the first life hides the second."""
    async with opened(database, "horizon") as store:
        await store.append_events(stream_of(), new_events(4), expected_version=0)
    tokens = []
    for name in ("first_life", "second_life"):
        target = await restored(server, database, younger, tmp_path, name)
        connection = await asyncpg.connect(target)
        await rebase_store(connection, SCHEMA)
        await connection.close()
        async with await PostgresEventStore.connect(target, schema=SCHEMA, notify=False) as store:
            await store.append_events(stream_of(), new_events(8), expected_version=4)
            for token in tokens:
                with pytest.raises(TokenRefusedError, match="another store"):
                    await store.stream_events(token)
            tokens.append((await read_on(store, await store.create_tail_token(), 12)).token)
    assert tokens[0].epoch == tokens[1].epoch


@by_transaction_and_by_number
async def test_a_dump_restored_into_a_younger_cluster_hides_no_event_behind_an_old_token(
    server: Server, database: str, younger: OwnCluster, tmp_path: Path, ordering: str
) -> None:
    async with opened(database, ordering) as store:
        connection = await asyncpg.connect(database)
        await connection.execute(USE_IDS)
        await connection.close()
        sent = []
        for number in range(9):
            batch = new_events(2)
            await store.append_events(stream_of(f"s-{number % 3}"), batch, expected_version=number // 3 * 2)
            sent += [event.event_id for event in batch]
        token = (await read_on(store, await store.create_tail_token(), 18, tenant_id="acme")).token
    target = await restored(server, database, younger, tmp_path, f"restored_{ordering}")
    if ordering == "horizon":
        with pytest.raises(CannotRunError, match="eventmark admin rebase"):
            await PostgresEventStore.connect(target, schema=SCHEMA)
        done = await asyncio.to_thread(rebase, target, tmp_path)
        assert "epoch 2, 18 events moved" in " ".join(done.split())
    async with await PostgresEventStore.connect(target, schema=SCHEMA, notify=False) as store:
        sent.append((late := new_event()).event_id)
        await store.append_events(stream_of("s-0"), [late], expected_version=6)
        if ordering == "horizon":
            with pytest.raises(TokenRefusedError, match="another epoch"):
                await store.stream_events(token, tenant_id="acme")
        else:  # by number, a place means the same on any server
            batch = await read_on(store, token, 1, tenant_id="acme")
            assert [event.event_id for event in batch.events] == [late.event_id]
        batch = await read_on(store, await store.create_tail_token(), 19, tenant_id="acme")
        assert [event.event_id for event in batch.events] == sent
    connection = await asyncpg.connect(target)
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(f"delete from {SCHEMA}.domain_events")
    await connection.close()


def rebase(dsn: str, at: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "eventmark.cli.main", "admin", "rebase", "--dsn", dsn], cwd=at, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
