"""A dump restored into a younger cluster: refused until it is rebased, then whole, in its old order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from eventmark.engine import ORDERINGS, PostgresEventStore
from eventmark.errors import CannotRunError, TokenRefusedError
from eventmark.server import Server
from tests.engine.builders import SCHEMA, new_event, new_events, opened, read_on, stream_of
from tests.faults.clusters import OwnCluster, own_cluster

USE_IDS = "do $$ begin for one in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$"


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


@pytest.mark.parametrize("ordering", ORDERINGS)
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
        with pytest.raises(CannotRunError, match="eventmark store rebase"):
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
        [sys.executable, "-m", "eventmark.cli.main", "store", "rebase", "--dsn", dsn], cwd=at, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
