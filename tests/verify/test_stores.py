"""Stores of SQL files are hunted as the engine is: the naive one loses events, the example does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventmark.errors import VersionConflictError
from eventmark.results.results import OrderingResult, Verdict
from eventmark.stores import make_scratch_store, open_store, read_definition, write_template
from eventmark.verify import HuntPlan, hunt, store_subject
from eventmark.verify.checker import INVARIANTS
from eventmark.verify.concurrency import OVERTAKEN_MIN
from eventmark.verify.history import stream_id
from eventmark.verify.recording import events
from tests.stores.test_conflicts import FORMS


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


def hunted(dsn: str, store: str, *, events: int = 2000) -> OrderingResult:
    plan = HuntPlan(subject=store_subject(store), events=events, seconds=120, paced_s=0.5, held_s=0.5)
    return hunt(dsn, "hunted", plan)


def broken(result: OrderingResult) -> set[str]:
    return {one.name for one in result.findings if one.verdict is Verdict.BROKEN}


def rewrite(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def test_a_store_that_goes_by_the_last_number_loses_events(database: str) -> None:
    result = hunted(database, "eaf-v3")
    assert result.verdict is Verdict.BROKEN
    assert result.lost > 0
    assert "Cause: `stream_events.sql` reads by number" in result.reason
    assert broken(result) == {"I4", "I7"}  # a version that nobody has come to is taken, and leaves a gap


def test_the_example_loses_nothing_and_every_invariant_is_checked(database: str, own: Path) -> None:
    result = hunted(database, str(own))
    assert result.verdict is Verdict.MET, result.findings
    assert (result.ordering, result.consumers) == ("own", 4)
    assert result.committed >= 2000
    assert result.delivered > 0
    assert result.conflicts > 0
    assert result.rolled_back > 0
    assert result.raced > 0
    assert result.overtaken >= OVERTAKEN_MIN
    assert result.not_asked == {}
    assert {one.name: one.verdict for one in result.findings} == dict.fromkeys(INVARIANTS, Verdict.MET)
    assert result.client_cpu_share <= (os.cpu_count() or 1) * 1.1


def test_a_store_that_takes_no_append_is_given_up_with_its_error(database: str, own: Path) -> None:
    rewrite(
        own / "schema.sql", ("    id uuid not null,\n", "    id uuid not null,\n    unknown text not null,\n")
    )
    plan = HuntPlan(
        subject=store_subject(str(own)), events=2000, seconds=3600, paced_s=0.2, held_s=0.2, gives_up_s=0.2
    )
    result = hunt(database, "hunted", plan)  # would take an hour otherwise
    assert result.committed == 0
    assert result.verdict is not Verdict.MET
    assert "unknown" in str(result.findings) + result.reason


def by_event(own: Path) -> None:
    """No event ids, payloads kept as text, a statement for each event."""
    rewrite(own / "store.toml", ('event_id = "id"\n', ""))
    rewrite(own / "schema.sql", ("    id uuid not null,\n", ""), ("data jsonb", "data text"))
    rewrite(own / "indexes.sql", ("create unique index events_id on {schema}.events (tenant, id);", ""))
    for name in ("load_aggregate", "stream_events", "stream_tenant_events"):
        rewrite(own / f"{name}.sql", (" id as event_id,", ""))
    (own / "append_events.sql").write_text(
        "-- name: append_events\n"
        "-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_type text, payload text,"
        " metadata jsonb, timestamp timestamptz\n"
        "with last_event as (select version, written_by from {schema}.events"
        " where tenant = :tenant_id and stream = :aggregate_id order by version desc limit 1), appended as ("
        "insert into {schema}.events (tenant, stream, version, type, data, meta, recorded_at)"
        " select :tenant_id, :aggregate_id, :sequence_number::bigint, :event_type, :payload, :metadata::jsonb,"
        " :timestamp::timestamptz"
        " where coalesce((select version from last_event), 0) = :sequence_number::bigint - 1"
        " and coalesce((select written_by <= pg_current_xact_id() from last_event), true) returning position)"
        " select (select max(position) from appended) as last_global_sequence"
    )


def test_a_store_without_event_ids_that_appends_one_by_one_is_hunted_by_its_payloads(
    database: str, own: Path
) -> None:
    by_event(own)
    result = hunted(database, str(own), events=1000)
    assert result.verdict is Verdict.MET, result.findings
    assert result.committed >= 1000
    assert result.not_asked == {"I3": "the store keeps no event ids, or makes them itself"}
    assert "I3" not in {one.name for one in result.findings}


def test_a_payload_that_is_not_stored_as_sent_is_found(database: str, own: Path) -> None:
    rewrite(
        own / "append_events.sql",
        ("select :tenant_id, :aggregate_id, :expected_version + place, id, type, data",
         "select :tenant_id, :aggregate_id, :expected_version + place, id, type, data - 'text'"),
    )  # fmt: skip
    result = hunted(database, str(own), events=1000)
    assert result.verdict is Verdict.BROKEN
    assert "stored with other content than was sent" in result.reason


def test_a_store_that_nobody_can_consume_is_not_said_to_hold(database: str, own: Path) -> None:
    for name in ("stream_events", "stream_tenant_events"):
        (own / f"{name}.sql").unlink()
    assert "consumers" in dict(store_subject(str(own)).absent)
    result = hunted(database, str(own), events=1000)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert set(result.not_asked) == {"I7", "I8", "I9", "I12"}
    assert not set(result.not_asked) & {one.name for one in result.findings}


def test_a_reader_of_several_snapshots_loses_events(database: str, own: Path) -> None:
    """Reads the rows first, and asks afterwards which transactions have ended.

    It asks when those of that moment have, the one that the hunt holds among them: so what it overtook is passed over.
    """
    with (own / "schema.sql").open("a") as script:
        script.write(
            "\ncreate function {schema}.after(tid xid8, number bigint, count bigint)"
            " returns setof {schema}.events language plpgsql volatile as $$\n"
            "declare seen {schema}.events[]; newest xid8;\nbegin\n"
            "    seen := array(select event from {schema}.events as event"
            " where (written_by, position) > (tid, number) order by written_by, position limit count);\n"
            "    newest := pg_snapshot_xmax(pg_current_snapshot());\n"
            "    for look in 1..100 loop\n"
            "        exit when pg_snapshot_xmin(pg_current_snapshot()) >= newest;\n"
            "        perform pg_sleep(0.01);\n"
            "    end loop;\n"
            "    return query select * from unnest(seen) where written_by < pg_snapshot_xmin(pg_current_snapshot());\n"
            "end $$;\n"
        )
    rewrite(
        own / "stream_events.sql",
        ("from {schema}.events\nwhere (written_by, position) > (:transaction_id, :global_sequence)\n"
         "    and written_by < pg_snapshot_xmin(pg_current_snapshot())\n",
         "from {schema}.after(:transaction_id, :global_sequence, :batch_size)\n"),
    )  # fmt: skip
    result = hunted(database, str(own), events=2000)
    assert result.lost > 0
    assert broken(result) == {"I7"}


@pytest.mark.parametrize(
    "foreign",
    [
        "null",
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in ("gen_random_uuid()", "'ffffffff-ffff-ffff-ffff-ffffffffffff'")
        ),
    ],
)
def test_an_event_that_the_hunt_did_not_write_is_counted_and_ends_nothing(
    database: str, own: Path, foreign: str
) -> None:
    rewrite(
        own / "schema.sql",
        ("    id uuid not null,", "    id uuid,"),
        ("version bigint not", "version numeric not"),
    )
    rewrite(own / "load_aggregate.sql", ("version as sequence_number", "version::bigint as sequence_number"))
    for name in ("stream_events", "stream_tenant_events"):
        rewrite(own / f"{name}.sql", ("version as sequence_number", "version::bigint as sequence_number"))
    with (own / "schema.sql").open("a") as script:
        script.write(
            "\ninsert into {schema}.events (id, tenant, stream, version, type, data, meta, recorded_at) values"
            f" ({foreign}, 'tenant-0', 'somebody''s', 3, 'Other', '[]', '{{}}', now() - interval '1 day');\n"
        )
    result = hunted(database, str(own), events=500)
    assert result.verdict is Verdict.BROKEN
    assert broken(result) == {"I2", "I7"}
    assert "1 stored and never sent" in result.reason
    assert result.lost == 0


async def test_an_append_event_by_event_is_refused_whole_where_its_first_event_is_stale(
    database: str, own: Path
) -> None:
    """The second one would follow what somebody else has appended."""
    by_event(own)
    definition = read_definition(own)
    await make_scratch_store(database, definition, "hunted")
    async with await open_store(definition, database, schema="hunted") as store:
        stream = stream_id(8)
        await store.append_events(stream, events(1, 1), expected_version=0)
        with pytest.raises(VersionConflictError):
            await store.append_events(stream, events(2, 2), expected_version=0)
        loaded = await store.load_aggregate(stream.tenant_id, stream.aggregate_id)
        assert [event.sequence_number for event in loaded] == [1]


@pytest.mark.long
@pytest.mark.parametrize("form", ["an exception that is named", "no row answered"])
def test_races_are_hunted_however_a_store_refuses(database: str, own: Path, form: str) -> None:
    FORMS[form](own)
    result = hunted(database, str(own), events=2000)
    assert result.conflicts > 0
    assert result.raced > 0
    assert result.lost == 0
    assert {one.verdict for one in result.findings if one.name in ("I1", "I2", "I5", "I7")} == {Verdict.MET}
