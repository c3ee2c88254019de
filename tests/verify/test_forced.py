"""Each wrong that stores are known for, planted in a store's SQL, is found by the interleavings that are forced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from eventmark.engine import ORDERINGS
from eventmark.stores import drop_scratch_schema, write_template
from eventmark.verify import Subject, engine_subject, store_subject
from eventmark.verify.forced import Forced, force

HORIZON_OF = "    and written_by < pg_snapshot_xmin(pg_current_snapshot())\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


def rewrite(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def answers(dsn: str, subject: Subject) -> Forced:
    async def run() -> Forced:
        await subject.make(dsn, "forced")
        try:
            return await force(dsn, "forced", subject)
        finally:
            await drop_scratch_schema(dsn, "forced")

    return asyncio.run(run())


def forced(dsn: str, subject: Subject) -> set[str]:
    """The invariants that are broken, each with what is wrong."""
    return {f"{one.invariant} {one.what}" for one in answers(dsn, subject).faults}


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_the_engine_is_clean_under_every_ordering_but_the_control(database: str, ordering: str) -> None:
    found = forced(database, engine_subject(ordering))
    expected = set() if ORDERINGS[ordering].lossless else {"I7 lost of tail, all tenants"}
    assert (found & expected) == expected
    assert {one for one in found if not one.startswith("I7 lost")} == set()
    assert bool(found) == bool(expected)


def test_the_example_is_clean(database: str, own: Path) -> None:
    assert forced(database, store_subject(str(own))) == set()


def test_the_store_as_first_published_loses_events_and_leaves_gaps(database: str) -> None:
    found = forced(database, store_subject("eaf-v3"))
    assert "I7 lost of tail, all tenants" in found
    assert {one.partition(" ")[0] for one in found} == {"I4", "I7"}


def no_horizon(own: Path) -> None:
    for name in ("stream_events", "stream_tenant_events"):
        rewrite(own / f"{name}.sql", (HORIZON_OF, ""))


def by_number(own: Path) -> None:
    rewrite(own / "store.toml", ('ordering = "transaction-id"', 'ordering = "global-sequence"'))
    for name in ("stream_events", "stream_tenant_events"):
        text = (own / f"{name}.sql").read_text()
        text = text.replace("transaction_id xid8, ", "").replace(HORIZON_OF, "")
        text = text.replace(
            "(written_by, position) > (:transaction_id, :global_sequence)", "position > :global_sequence"
        )
        (own / f"{name}.sql").write_text(text.replace("order by written_by, position", "order by position"))


def in_reads(old: str, new: str) -> Callable[[Path], None]:
    def plant(own: Path) -> None:
        for name in ("stream_events", "stream_tenant_events"):
            rewrite(own / f"{name}.sql", (old, new))

    return plant


def in_file(name: str, *changes: tuple[str, str]) -> Callable[[Path], None]:
    return lambda own: rewrite(own / f"{name}.sql", *changes)


def gap_timeout(own: Path) -> None:
    """Waits for what is missing below, but no longer than an instant: then it is given up."""
    by_number(own)
    for name in ("stream_events", "stream_tenant_events"):
        rewrite(
            own / f"{name}.sql",
            ("order by position",
             "    and (position = (select count(*) from {schema}.events as one where one.position <= events.position)"
             " or recorded_at < clock_timestamp() - interval '1 ms')\norder by position"),
        )  # fmt: skip


def no_previous_check(own: Path) -> None:
    rewrite(
        own / "append_events.sql",
        ("        and coalesce((select written_by <= pg_current_xact_id() from last_event), true)\n", ""),
    )


VERSION_CHECK = "    where coalesce((select version from last_event), 0) = :expected_version\n"


def unchecked_version(own: Path) -> None:
    """Appends after whatever is there, and says that it went well."""
    rewrite(
        own / "append_events.sql",
        ("select :tenant_id, :aggregate_id, :expected_version + place,",
         "select :tenant_id, :aggregate_id, coalesce((select version from last_event), 0) + place,"),
        (VERSION_CHECK, "    where :expected_version::bigint is not null\n"),
    )  # fmt: skip


def ignored_conflicts(own: Path) -> None:
    rewrite(
        own / "append_events.sql",
        (VERSION_CHECK, "    where true\n"),
        ("    returning position", "    on conflict do nothing\n    returning position"),
        ("(select max(position) from appended) as last", "coalesce((select max(position) from appended), 0) as last"),
    )  # fmt: skip


def no_unique_stream(own: Path) -> None:
    rewrite(own / "indexes.sql", ("create unique index events_stream", "create index events_stream"))


def several_transactions(own: Path) -> None:
    """A procedure that commits after each event."""
    with (own / "schema.sql").open("a") as script:
        script.write(
            "\ncreate procedure {schema}.append(of_tenant text, of_stream text, after bigint, ids uuid[],"
            " types text[], payloads jsonb[], metas jsonb[], times timestamptz[]) language plpgsql as $$\n"
            "begin\n    for place in 1 .. cardinality(ids) loop\n"
            "        if coalesce((select max(version) from {schema}.events where tenant = of_tenant and stream = of_stream), 0)"
            " <> after + place - 1 then raise unique_violation; end if;\n"
            "        insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at)"
            " values (of_tenant, of_stream, after + place, ids[place], types[place], payloads[place], metas[place],"
            " times[place]);\n"
            "        commit;\n"
            "    end loop;\nend $$;\n"
        )
    head = (own / "append_events.sql").read_text().partition("with last_event")[0]
    (own / "append_events.sql").write_text(
        head + "call {schema}.append(:tenant_id, :aggregate_id, :expected_version, :event_ids, :event_types,"
        " :payloads, :metadatas, :timestamps)"
    )  # fmt: skip


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a read without the horizon": (no_horizon, "I7 lost of tail, all tenants"),
    "a token that is the last number seen": (by_number, "I7 lost of tail, all tenants"),
    "a token one too far": (
        in_reads("(:transaction_id, :global_sequence)", "(:transaction_id, :global_sequence + 1)"),
        "I7 lost of tail, all tenants",
    ),
    "a token one too short": (in_reads("(written_by, position) >", "(written_by, position) >="),
                              "I7 duplicated of tail, all tenants"),
    "a gap given up after a time": (gap_timeout, "I7 lost of tail, all tenants"),
    "a head token from the last row": (
        in_file("create_head_token", ("where written_by < pg_snapshot_xmin(pg_current_snapshot())\n", "")),
        "I7 lost of head, all tenants",
    ),
    "a token of an instant from any row": (
        in_file("create_token_at", (" and written_by < pg_snapshot_xmin(pg_current_snapshot())", "")),
        "I7 lost of middle, all tenants",
    ),
    "on conflict do nothing": (ignored_conflicts, "I1 acknowledged and not stored"),
    "a read without its tenant": (
        in_file("stream_tenant_events", ("where tenant = :tenant_id\n    and", "where :tenant_id::text is not null\n    and")),
        "I10 events of other tenants of tail, tenant-0",
    ),
    "a load without its tenant": (
        in_file("load_aggregate", ("where tenant = :tenant_id and", "where :tenant_id::text is not null and")),
        "I10 events of another tenant in a loaded stream",
    ),
    "a stream's key without its tenant": (
        in_file("indexes", ("(tenant, stream, version)", "(stream, version)")),
        "I10 appends refused for what another tenant has stored",
    ),
    "a snapshot without its tenant": (
        in_file("read_snapshot", ("where tenant = :tenant_id and", "where :tenant_id::text is not null and")),
        "I10 snapshots of other tenants answered",
    ),
    "no unique event id": (
        in_file("indexes", ("create unique index events_id", "create index events_id")), "I3 stored twice",
    ),
    "no unique place in a stream": (no_unique_stream, "I5 won by several"),
    "an append that does not check the version": (unchecked_version, "I1 stored at another place"),
    "a version that nobody has come to": (
        in_file("append_events", (VERSION_CHECK, "    where true\n")), "I4 gaps or repetitions in streams",
    ),
    "an id taken early, an append that comes late": (no_previous_check, "I8 out of order of tail, all tenants"),
    "a batch in several transactions": (several_transactions, "I6 stored by several transactions"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", PLANTED)
def test_a_wrong_planted_in_a_store_is_found(database: str, own: Path, wrong: str) -> None:
    plant, expected = PLANTED[wrong]
    plant(own)
    found = forced(database, store_subject(str(own)))
    assert expected in found, found


REFUSES = 'refuses = ["repeated ids", "future versions", "late transactions"]\n'
LEFT = {
    "no unique event id": "I3",
    "a version that nobody has come to": "I4",
    "an id taken early, an append that comes late": "I8",
}


@pytest.mark.parametrize("taken", LEFT)
def test_what_a_store_takes_without_a_promise_to_refuse_it_is_left_to_its_clients(
    database: str, own: Path, taken: str
) -> None:
    rewrite(own / "store.toml", (REFUSES, ""))
    PLANTED[taken][0](own)
    found = answers(database, store_subject(str(own)))
    assert (found.faults, set(found.left)) == ([], {LEFT[taken]})
    assert "its clients must" in found.left[LEFT[taken]]


def test_a_store_without_promises_that_refuses_all_the_same_leaves_nothing_to_its_clients(
    database: str, own: Path
) -> None:
    rewrite(own / "store.toml", (REFUSES, ""))
    found = answers(database, store_subject(str(own)))
    assert (found.faults, found.left) == ([], {})


@pytest.mark.parametrize("wrong", ["no unique place in a stream", "a batch in several transactions"])
def test_what_no_store_may_take_is_found_without_a_promise(database: str, own: Path, wrong: str) -> None:
    rewrite(own / "store.toml", (REFUSES, ""))
    plant, expected = PLANTED[wrong]
    plant(own)
    assert expected in forced(database, store_subject(str(own)))
