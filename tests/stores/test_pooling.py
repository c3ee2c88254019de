"""Tenants share the connections of every store alike: of the engine, and of a folder of SQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventmark.engine.turns import NO_TENANT
from eventmark.stores import find_store, make_scratch_store, open_store, write_template
from tests.engine.builders import new_event, stream_of


@pytest.mark.parametrize("name", ["eaf", "own"])
async def test_a_tenant_at_its_bound_waits_with_every_call_and_another_does_not(
    database: str, tmp_path: Path, name: str
) -> None:
    if name == "own":
        write_template(tmp_path / "own")
        name = str(tmp_path / "own")
    definition = find_store(name)
    await make_scratch_store(database, definition, "tried")
    async with await open_store(definition, database, schema="tried", pool_max=4, tenant_pool_max=1) as store:
        held = [await store.pool.acquire("flood"), await store.pool.acquire("quiet")]
        token = await store.create_tail_token()
        calls = [
            asyncio.ensure_future(call)
            for call in (
                store.append_events(stream_of("a", tenant_id="flood"), [new_event()], expected_version=0),
                store.load_aggregate("flood", "a"),
                store.read_snapshot("flood", "a"),
                store.stream_events(token, tenant_id="flood"),
            )
        ]
        await store.load_aggregate("another", "a")
        store.pool.release(await store.pool.acquire(NO_TENANT))
        assert not any(call.done() for call in calls)
        assert store.pool.in_use == len(held)
        for session in held:
            store.pool.release(session)
        await asyncio.gather(*calls)
        assert store.pool.in_use == 0
