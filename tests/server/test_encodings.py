"""Databases that are not of UTF-8: what fits is kept, and what does not is refused by the character."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventmark.cli.main import run_command
from eventmark.domain import StreamId
from eventmark.engine import PostgresEventStore, install_schema
from eventmark.errors import InvalidEventError
from eventmark.server import Server
from tests.database import drop_database, execute
from tests.engine.builders import new_event


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def encoded(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a database of this encoding."""
    name = f"encoded_{request.param.lower()}"
    execute(
        server.dsn,
        f"create database {name} encoding '{request.param}' template template0 lc_collate 'C' lc_ctype 'C'",
    )
    yield server.dsn.rsplit("/", 1)[0] + f"/{name}"
    drop_database(server.dsn, name)


async def test_what_fits_is_kept_and_what_does_not_is_refused_by_the_character(encoded: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(encoded)
    await install_schema(connection, "kept")
    await connection.close()
    async with await PostgresEventStore.connect(encoded, schema="kept", pool_max=1) as store:
        for place, text in enumerate(("plain", "caf\u00e9")):
            stream = StreamId(tenant_id="acme", aggregate_type="Order", aggregate_id=text)
            await store.append_events(stream, [new_event(payload={"text": text})], expected_version=0)
            [event] = await store.load_aggregate("acme", text)
            assert event.payload() == {"text": text}, place
        stream = StreamId(tenant_id="acme", aggregate_type="Order", aggregate_id="other")
        event = new_event(payload={"text": "\u65e5\u672c"})
        if "latin1" in encoded:
            with pytest.raises(InvalidEventError, match='has no equivalent in encoding "LATIN1"'):
                await store.append_events(stream, [event], expected_version=0)
        else:  # bytes, as they come
            await store.append_events(stream, [event], expected_version=0)
            [kept] = await store.load_aggregate("acme", "other")
            assert kept.payload() == {"text": "\u65e5\u672c"}


@pytest.mark.parametrize(
    "encoded", ["LATIN1", pytest.param("SQL_ASCII", marks=pytest.mark.long)], indirect=True
)
def test_a_store_is_tried_and_a_corpus_is_seeded_in_it(
    encoded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["stores", "new", "own"]) == 0
    for store in ("own", "eaf"):
        asked = ["--store", store if store == "eaf" else "./own", "--server", encoded]
        assert run_command(["stores", "check", *asked]) == 0
        assert run_command(["seed", "--events", "300", "--schema", f"of_{store}", *asked]) == 0
