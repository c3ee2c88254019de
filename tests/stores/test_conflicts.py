"""However a store refuses an append at another version, it is a conflict, and nothing else is."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from eventmark.errors import EventStoreError, StoreDefinitionError, VersionConflictError
from eventmark.seeding import try_store
from eventmark.stores import make_scratch_store, open_store, read_definition, write_template
from eventmark.stores.conflict import ConflictForm, form_of
from eventmark.verify.history import stream_id
from eventmark.verify.recording import events

HEAD = (
    "-- name: append_events\n-- index: none\n-- parameters: tenant_id text, aggregate_id text, expected_version bigint,"
    " event_ids uuid[], event_types text[], payloads jsonb[], metadatas jsonb[], timestamps timestamptz[]\n"
)
ROWS = (
    "select :tenant_id, :aggregate_id, :expected_version + place, id, type, data, meta, at from unnest(:event_ids::uuid[],"
    " :event_types::text[], :payloads::jsonb[], :metadatas::jsonb[], :timestamps::timestamptz[])"
    " with ordinality as batch (id, type, data, meta, at, place)"
)
INSERT = "insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at) " + ROWS
AT = " where :expected_version = (select coalesce(max(version), 0) from {schema}.events where tenant = :tenant_id and stream = :aggregate_id)"
FUNCTION = """
create function {schema}.put(
    whose text, name text, expected bigint, ids uuid[], kinds text[], bodies jsonb[], abouts jsonb[], instants timestamptz[]
) returns %s language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(whose || '/' || name, 0));
    if expected <> (select coalesce(max(version), 0) from {schema}.events where tenant = whose and stream = name) then
        %s;
    end if;
    insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at)
    select whose, name, expected + place, id, kind, body, about, at
    from unnest(ids, kinds, bodies, abouts, instants) with ordinality as batch (id, kind, body, about, at, place);
    %s;
end
$$;
"""
CALL = (
    "select {schema}.put(:tenant_id, :aggregate_id, :expected_version, :event_ids::uuid[], :event_types::text[],"
    " :payloads::jsonb[], :metadatas::jsonb[], :timestamps::timestamptz[]) as place"
)
RAISES = ("void", "raise exception 'asked for version %, the stream is elsewhere', expected", "return")
NAMED = '\n[conflict]\nsqlstate = "P0001"\nmessage = "asked for version *"\n'


def statement(sql: str) -> Callable[[Path], None]:
    def write(own: Path) -> None:
        (own / "append_events.sql").write_text(HEAD + sql)

    return write


def function(answer: str, refuses: str, ends: str, *, toml: str = "") -> Callable[[Path], None]:
    def write(own: Path) -> None:
        statement(CALL)(own)
        with (own / "schema.sql").open("a") as schema, (own / "store.toml").open("a") as settings:
            schema.write(FUNCTION % (answer, refuses, ends))
            settings.write(toml)

    return write


FORMS = {
    "a unique constraint": statement(INSERT),
    "no row inserted": statement(INSERT + AT),
    "no row answered": statement(INSERT + AT + " returning position"),
    "last_global_sequence null": statement(
        "with one as ("
        + INSERT
        + AT
        + " returning position) select max(position) as last_global_sequence from one"
    ),
    "a result of another name null": function("bigint", "return null", "return expected + cardinality(ids)"),
    "an exception that is named": function(*RAISES, toml=NAMED),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_refusal_is_a_conflict_and_an_append_at_the_version_is_stored(
    database: str, tmp_path: Path, form: str
) -> None:
    own = tmp_path / "own"
    write_template(own)
    FORMS[form](own)
    definition = read_definition(own)
    await make_scratch_store(database, definition, "tried")
    stream = stream_id(1)
    async with await open_store(definition, database, schema="tried", pool_max=1) as store:
        await store.append_events(stream, events(1, 2), expected_version=0)
        with pytest.raises(VersionConflictError, match="expected 0"):
            await store.append_events(stream, events(3, 2), expected_version=0)
        await store.append_events(stream, events(5, 1), expected_version=2)
        assert len(await store.load_aggregate(stream.tenant_id, stream.aggregate_id)) == 3


@pytest.mark.parametrize("toml", ["", NAMED.replace("asked", "told"), NAMED.replace("P0001", "P0002")])
async def test_an_exception_that_is_not_named_is_a_failure(database: str, tmp_path: Path, toml: str) -> None:
    own = tmp_path / "own"
    write_template(own)
    function(*RAISES, toml=toml)(own)
    definition = read_definition(own)
    await make_scratch_store(database, definition, "tried")
    async with await open_store(definition, database, schema="tried", pool_max=1) as store:
        with pytest.raises(EventStoreError, match="asked for version 7") as failed:
            await store.append_events(stream_id(1), events(1, 2), expected_version=7)
        assert not isinstance(failed.value, VersionConflictError)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[conflict]\nmessage = "x*"\n', "sqlstate"),
        ('[conflict]\nsqlstate = "P1"\n', "P1"),
        ('[conflict]\nsqlstat = "P0001"\n', "unknown key"),
    ],
)
def test_a_conflict_that_is_named_wrongly_is_refused_by_its_line(
    tmp_path: Path, toml: str, said: str
) -> None:
    own = tmp_path / "own"
    write_template(own)
    lines = (own / "store.toml").read_text().count("\n")
    with (own / "store.toml").open("a") as settings:
        settings.write(toml)
    with pytest.raises(StoreDefinitionError, match=said) as refused:
        read_definition(own)
    assert refused.value.line > lines


def test_the_line_that_would_name_an_exception_match_the_next_one_of_its_kind() -> None:
    def raised(stream: str, at: int) -> asyncpg.RaiseError:
        error = asyncpg.RaiseError()
        error.sqlstate, error.message = "P0001", f'stream "{stream}" [main] is at {at}'
        return error

    first, next_one = raised("acme-7", 3), raised("bolt-9", 12)
    line = form_of(first, "acme-7")
    assert line == 'conflict = { sqlstate = "P0001", message = "stream ?*? ?main? is at *" }'
    told = tomllib.loads(line)["conflict"]
    assert ConflictForm(**told).names(first) and ConflictForm(**told).names(next_one)
    assert form_of(OSError("gone")) == form_of(None) == ""


async def test_the_check_refuses_a_conflict_that_it_does_not_know_and_names_the_line_to_write(
    database: str, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    write_template(own)
    function(*RAISES)(own)
    with pytest.raises(StoreDefinitionError, match=r"append_events.sql:\d+: .*not as a conflict") as refused:
        await try_store(database, read_definition(own), "tried")
    line = refused.value.remedy.partition("in store.toml: ")[2]
    assert (
        line == 'conflict = { sqlstate = "P0001", message = "asked for version *, the stream is elsewhere" }'
    )
    settings = own / "store.toml"
    settings.write_text(settings.read_text().replace("[tables]", f"{line}\n\n[tables]", 1))
    assert await try_store(database, read_definition(own), "tried") == []


async def test_the_check_refuses_a_refusal_that_looks_like_an_append(database: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_template(own)
    function("bigint", "return 7", "return expected + cardinality(ids)")(own)
    with pytest.raises(StoreDefinitionError, match="stores nothing, and answers as if it had") as refused:
        await try_store(database, read_definition(own), "tried")
    assert "a conflict is a broken unique constraint" in refused.value.remedy
