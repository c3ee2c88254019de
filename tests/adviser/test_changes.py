"""Changes tried on copies: what is superfluous is found, what is needed stays, and what cannot be seen is not advised."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventmark.adviser.candidate import Candidate, Trial
from eventmark.adviser.changes import SchemaTrials, _try_row_work, _try_small
from eventmark.adviser.copies import Copies
from eventmark.adviser.indexes import index_candidates
from eventmark.adviser.table_facts import TableFacts, TriggerFacts
from eventmark.adviser.trial import examine_state, try_kept
from eventmark.adviser.triggers import without_trigger
from eventmark.adviser.variants import read_subject, variants
from eventmark.adviser.wal import AppendWal
from eventmark.judgement.counters import PAGE_PLACES
from eventmark.server.loop import connection_to
from tests.adviser.conftest import MakeCopies, rewrite


def tried(copies: Copies) -> SchemaTrials:
    found = SchemaTrials()
    copies.ask(_try_small, found)
    return found


def by_name(trials: list[Trial]) -> dict[str, Trial]:
    return {trial.candidate.name: trial for trial in trials}


def names(candidates: list[Candidate]) -> set[str]:
    return {one.name for one in candidates}


@pytest.mark.long
def test_two_states_that_are_alike_cost_the_same_to_the_byte(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf-v3")

    async def costs() -> list[tuple[float, float]]:
        found = []
        async with connection_to(copies.job.server.dsn) as connection:
            for schema in (copies.plain, copies.changed, copies.plain):
                state = await examine_state(copies, connection, schema)
                await copies.vacuum(connection, schema)
                found.append((state.cost.wal_bytes, state.cost.pages))
        return found

    (wal, pages), *others = asyncio.run(costs())
    for other_wal, other_pages in others:
        assert other_wal == pytest.approx(wal, rel=0.005)
        assert PAGE_PLACES.allows(pages, other_pages), (pages, other_pages)


@pytest.mark.long
def test_what_the_table_as_first_published_does_not_need_is_found_and_nothing_else(
    copies_of: MakeCopies,
) -> None:
    copies = copies_of("eaf-v3")
    found = tried(copies)
    superfluous = {
        "drop index idx_events_stream", "drop index idx_events_stream_replay", "drop index idx_events_streaming",
        "drop index idx_events_payload_type", "drop index idx_events_type_time", "drop index idx_events_aggregate",
        "drop index idx_events_business_critical", "drop row trigger domain_events_fill_payload_columns",
    }  # fmt: skip
    assert names(found.chosen) == superfluous
    trials = by_name(found.trials)
    assert all(not trials[name].worse and not trials[name].refusal for name in superfluous)
    checks = trials["drop the checks of domain_events (2)"]
    assert checks.candidate.weakens
    assert not checks.is_sound
    assert trials["drop index idx_events_stream"].wal_saved_bytes > 50
    searched = {one.name: one.scans for one in found.use}
    assert searched["idx_events_timestamp"] > 0
    assert searched["idx_events_type_time"] == 0


@pytest.mark.long
def test_the_engines_own_store_has_nothing_to_spare(copies_of: MakeCopies) -> None:
    found = tried(copies_of("eaf"))
    assert found.chosen == []
    assert not [trial for trial in found.trials if trial.is_sound]


@pytest.mark.long
def test_of_two_indexes_that_stand_in_for_each_other_one_stays(copies_of: MakeCopies, own: Path) -> None:
    for path in own.glob("*.sql"):  # nobody asks for an index by its name
        text = path.read_text()
        path.write_text(
            "\n".join(
                "-- index: none" if line.startswith("-- index:") else line for line in text.splitlines()
            )
        )
    rewrite(
        own / "indexes.sql",
        ("create index events_recorded_at on {schema}.events (recorded_at) include (written_by, position);",
         "create index events_at on {schema}.events (recorded_at);\n\n"
         "create index events_at_and_type on {schema}.events (recorded_at, type);"),
    )  # fmt: skip
    found = tried(copies_of(str(own)))
    either = {"drop index events_at", "drop index events_at_and_type"}
    trials = by_name(found.trials)
    assert all(trials[name].is_sound for name in either)
    assert len(names(found.chosen) & either) == 1


def test_an_index_that_lacks_is_found_from_the_plans_and_one_too_many_but_for_what_others_use(
    copies_of: MakeCopies, own: Path
) -> None:
    rewrite(
        own / "indexes.sql",
        ("create index events_recorded_at on {schema}.events (recorded_at) include (written_by, position);",
         "create index events_type on {schema}.events (type);\n\n"
         "create index events_others on {schema}.events (type, version);"),
    )  # fmt: skip
    copies = copies_of(str(own))
    copies.protected = frozenset({"events_others"})
    found = tried(copies)
    assert "drop index events_type" in names(found.chosen)
    assert not [name for name in by_name(found.trials) if "events_others" in name]
    name = "create index on events (recorded_at)"
    trial = by_name(found.trials)[name]
    assert {one.statement for one in trial.better} == {"create_token_at"}
    assert trial.is_sound
    assert trial.wal_saved_bytes < 0  # appends pay for it
    assert name in names(found.chosen)
    assert "concurrently" in trial.candidate.script[0]


FILLS = """
create function {schema}.NAME() returns trigger language plpgsql as $$ begin BODY return new; end $$;

create trigger NAME before insert on {schema}.events for each row execute function {schema}.NAME();
"""
ROW_WORK = {
    "fills_what_is_there": ("new.type := coalesce(new.type, 'x');", ""),
    "fills_more": ("new.meta := new.meta || '{\"filled\": 1}';", "meta of events would differ"),
    "writes": ("insert into {schema}.seen values (new.version);", "writes to other tables"),
}


@pytest.mark.long
@pytest.mark.parametrize("names", [("fills_what_is_there", "fills_more"), ("writes",)])
def test_a_row_trigger_goes_only_where_rows_come_out_the_same(
    copies_of: MakeCopies, own: Path, names: tuple[str, ...]
) -> None:
    triggers = [FILLS.replace("NAME", name).replace("BODY", ROW_WORK[name][0]) for name in names]
    schema = [(own / "schema.sql").read_text(), "create table {schema}.seen (version bigint);", *triggers]
    (own / "schema.sql").write_text("\n\n".join(schema))
    copies = copies_of(str(own))

    async def row_work() -> list[Trial]:
        async with connection_to(copies.job.server.dsn) as connection:
            before = await examine_state(copies, connection, copies.changed)
            await copies.vacuum(connection, copies.changed)
            return await _try_row_work(copies, connection, before)

    trials = by_name(asyncio.run(row_work()))
    for name in names:
        trial, refused = trials[f"drop row trigger {name}"], ROW_WORK[name][1]
        assert refused in trial.refusal
        assert trial.is_sound == (not refused)


@pytest.mark.parametrize(
    ("source", "is_before", "lost"),
    [
        ("new.type := lower(new.type);", True, ""),
        ("perform pg_notify('x', '');", True, "notifications"),
        ("notify x;", True, "notifications"),
        ("if new.version < 0 then raise exception 'no'; end if;", True, "what it refuses"),
        ("new.type := lower(new.type);", False, "after a row is stored"),
    ],
)
def test_a_trigger_that_may_do_more_than_fill_columns_weakens_the_store(
    source: str, is_before: bool, lost: str
) -> None:
    trigger = TriggerFacts(
        name="t",
        is_per_row=True,
        is_before=is_before,
        definition="create trigger t",
        enabled="A",
        source=source,
    )
    table = TableFacts(
        name="events", columns=(), checks=(), triggers=(trigger,), options=(), is_partitioned=False
    )
    candidate = without_trigger(table, trigger)
    assert lost in candidate.weakens
    assert bool(lost) == bool(candidate.weakens)
    assert candidate.revert == ("create trigger t", 'alter table "events" enable always trigger "t"')


@pytest.mark.long
def test_a_table_whose_keys_hold_the_tenant_is_tried_in_partitions(copies_of: MakeCopies, own: Path) -> None:
    copies = copies_of(str(own))

    async def read() -> list[Candidate | Trial]:
        async with connection_to(copies.job.server.dsn) as connection:
            return variants(await read_subject(copies, connection, copies.changed))

    found = {(one if isinstance(one, Candidate) else one.candidate).name: one for one in asyncio.run(read())}
    by_time = found["partitioned by time"]
    assert isinstance(by_time, Trial)
    assert "recorded_at is not in the unique index" in by_time.refusal
    by_tenant = found["partitioned by tenant"]
    assert isinstance(by_tenant, Candidate)
    trial = copies.ask(try_kept, by_tenant)
    assert trial.refusal == ""
    assert trial.compared > 30
    assert any(
        one.statement == "stream_events" for one in trial.worse
    )  # all tenants are read from each partition


@pytest.mark.long
def test_columns_in_an_order_that_aligns_better_take_less_room(copies_of: MakeCopies, own: Path) -> None:
    rewrite(
        own / "schema.sql",
        ("    position bigint", "    one boolean default true,\n    position bigint"),
        ("    written_by xid8", "    two boolean default true,\n    written_by xid8"),
    )
    copies = copies_of(str(own))

    async def read() -> list[Candidate | Trial]:
        async with connection_to(copies.job.server.dsn) as connection:
            return variants(await read_subject(copies, connection, copies.changed))

    candidate = next(
        one for one in asyncio.run(read()) if isinstance(one, Candidate) and one.kind == "column order"
    )
    trial = copies.ask(try_kept, candidate)
    assert trial.refusal == ""
    # For a large tenant the planner weighs its index against the log's: smaller rows may tip it
    assert {one.statement for one in trial.worse} <= {"stream_tenant_events"}
    assert trial.sizes_before and trial.sizes_after
    saved = (trial.sizes_before.table_bytes - trial.sizes_after.table_bytes) / trial.sizes_before.events
    assert saved > 8


@pytest.mark.long
def test_an_index_that_others_use_is_not_tried_without(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf-v3")
    copies.protected = frozenset({"idx_events_type_time"})

    async def candidates() -> list[Candidate]:
        async with connection_to(copies.job.server.dsn) as connection:
            await copies.analyze(connection, copies.changed)
            before = await examine_state(copies, connection, copies.changed)
            found, _ = await index_candidates(copies, connection, before, {}, AppendWal())
            return found

    found = names(asyncio.run(candidates()))
    assert "drop index idx_events_payload_type" in found
    assert not [name for name in found if "idx_events_type_time" in name]
