"""--existing: data that is there already is measured, and nothing on the server changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from eventmark.jobs.profiles import PROFILES
from eventmark.operations.existing import CATALOGUES
from eventmark.operations.forks import ForkSamples, ForkTask, run_fork
from eventmark.plans import sampling
from eventmark.plans.observed import indexes_observed
from eventmark.plans.work import nodes
from eventmark.results.files import read_result
from eventmark.results.results import RunResult
from eventmark.seeding import sample_existing, seed
from eventmark.server import Server
from eventmark.server.read_only import read_only_dsn
from eventmark.stores import find_store, scans, write_template
from eventmark.workload import CorpusPlan
from tests.cli.conftest import Command, Done
from tests.database import execute, fetch
from tests.faults.clusters import own_cluster, replica_of

STORE = ("--store", "./own", "--profile", "quick")
TABLE = "eventmark.events"

# Everything that Eventmark could leave behind, or change: the catalogue, settings, sizes, and every row's version.
STATE = """
select json_build_object(
    'relations', (
        select json_agg(json_build_array(n.nspname, c.relname, c.relkind, c.relpages, c.reltuples, c.relallvisible,
            c.relfrozenxid::text, c.reloptions, pg_relation_size(c.oid)) order by n.nspname, c.relname)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' or n.nspname = 'pg_temp'
    ),
    'functions', (select count(*) from pg_proc), 'triggers', (select count(*) from pg_trigger),
    'roles', (select json_agg(rolname order by rolname) from pg_roles where rolname !~ '^existing_'),
    'extensions', (select json_agg(extname order by extname) from pg_extension),
    'settings', (select json_agg(json_build_array(setdatabase::text, setrole::text, setconfig)) from pg_db_role_setting),
    'server', (select json_agg(json_build_array(name, setting) order by name) from pg_settings
        where source not in ('client', 'session')),
    'statistics', (select md5(string_agg(s::text, '' order by s::text)) from pg_statistic s),
    'reset', (select stats_reset from pg_stat_database where datname = current_database()),
    'sequences', (select json_agg(json_build_array(sequencename, last_value) order by 1)::text from (
        select sequencename, last_value from pg_sequences order by sequencename) s),
    'slots', (select count(*) from pg_replication_slots),
    'rows', (select md5(string_agg(xmin::text || ctid::text || xmax::text, '' order by ctid)) from eventmark.events)
)::text
"""


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(PROFILES["quick"], forks=1, samples=20, warmup_iterations_max=2)
    monkeypatch.setitem(PROFILES, "quick", few)


@pytest.fixture
def reader(server: Server, own_corpus: str, tmp_path: Path) -> Iterator[str]:
    """The DSN of a role that may read the store's tables and nothing else; the store's folder is ``own``."""
    write_template(tmp_path / "own")
    name = f"existing_{tmp_path.name.replace('-', '_')}"[:60].lower()
    database = own_corpus.rsplit("/", 1)[1]
    execute(
        own_corpus,
        f"create role {name} login password 'kQ7-0xv'",
        f"grant usage on schema eventmark to {name}",
        f"grant select on eventmark.events, eventmark.snapshots to {name}",
        "vacuum analyze",
    )
    host = server.dsn.rsplit("@", 1)[1].rsplit("/", 1)[0]
    yield f"postgresql://{name}:kQ7-0xv@{host}/{database}"
    execute(own_corpus, f"drop owned by {name}", f"drop role {name}")


def on(dsn: str, command: Command, verb: str, *flags: str) -> Done:
    return command(verb, "--existing", "--schema", "eventmark", *STORE, *flags, "--server", dsn)


def result() -> RunResult:
    return read_result(Path("out/result.json"))


def test_a_run_on_existing_data_needs_a_readers_role_alone_and_changes_nothing(
    own_corpus: str, reader: str, command: Command
) -> None:
    before = json.loads(fetch(own_corpus, STATE))
    done = on(reader, command, "run")
    assert done.code in (0, 1, 3), done.err
    assert json.loads(fetch(own_corpus, STATE)) == before
    found = result()
    assert {"load_aggregate[1000]", "stream_events[1000]", "create_token_at"} <= found.operations.keys()
    assert not any(one.failed for one in found.operations.values())
    assert "append_events[1]" not in found.operations
    assert found.skipped["append_events[1]"].startswith("nothing is written with --existing")
    assert {plan.statement for plan in found.plans} >= {"load_aggregate", "stream_events"}
    assert all(plan.statement not in ("append_events", "store_snapshot") for plan in found.plans)
    assert "Left on the server: nothing." in done.out


def test_a_certification_of_existing_data_reads_decides_what_it_can_and_changes_nothing(
    own_corpus: str, reader: str, command: Command
) -> None:
    before = json.loads(fetch(own_corpus, STATE))
    done = on(reader, command, "certify", "--minutes", "4")
    assert json.loads(fetch(own_corpus, STATE)) == before, done.err
    found = result()
    assert done.code == {"MET": 0, "BROKEN": 1, "INCONCLUSIVE": 3}[found.verdict]
    decided = {one.name: one.verdict for one in found.criteria}
    assert all(decided[name] is not None for name in ("targets-under-load", "streaming", "indexes"))
    assert [name for name, verdict in decided.items() if verdict is None] == [
        "no-event-lost", "memory", "growth", "concurrency", "tenants-isolated", "stress",
    ]  # fmt: skip
    assert "nothing is written with --existing" in done.out
    assert {"load_aggregate[1000]", "stream_events[1000]"} <= found.operations.keys()
    assert {path.name for path in Path("out/parts").iterdir()} == {
        "certification.json", "operations.json", "cliffs.json",
    }  # fmt: skip
    again = on(reader, command, "certify", "--minutes", "4", "--resume")
    assert "finished before: operations one by one" in again.err
    assert result().plans == found.plans


@pytest.mark.parametrize(
    "verb", [("explain",), pytest.param(("certify", "--minutes", "4"), marks=pytest.mark.long)]
)
def test_a_standby_is_certified_as_it_is(
    server: Server, command: Command, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    if server.bin_directory is None or not (server.bin_directory / "pg_basebackup").exists():
        pytest.skip("this PostgreSQL has no pg_basebackup")
    write_template(tmp_path / "own")
    with own_cluster(server, {"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        asyncio.run(seed(primary.dsn, find_store("./own"), CorpusPlan(5000), schema="eventmark", workers=1))
        with replica_of(server, primary) as standby:
            done = on(standby.dsn, command, *verb)
    assert done.code in (0, 1, 3), done.err
    assert {plan.statement for plan in result().plans} >= {"load_aggregate", "stream_events"}
    assert not any(one.failed for one in result().operations.values())


def test_cliffs_of_existing_data_are_found_without_a_copy(
    own_corpus: str, reader: str, command: Command
) -> None:
    before = json.loads(fetch(own_corpus, STATE))
    assert on(reader, command, "explain", "--cliffs").code in (0, 1, 3)
    assert json.loads(fetch(own_corpus, STATE)) == before
    section = next(one for one in result().sections if one.name == "plan-cliffs")
    assert "on the store's own tables as they are" in section.text[0]
    assert {row[0] for row in section.tables[0].rows} >= {"load_aggregate", "stream_events"}


def observed(server: Server, own_corpus: str, reader: str, *statements: str) -> None:
    """The application has run these, and the reader may see it."""
    if server.version_num < 160000:
        pytest.skip("no plan without values before PostgreSQL 16")
    role = reader.partition("//")[2].partition(":")[0]
    execute(own_corpus, f"grant pg_read_all_stats to {role}", "select pg_stat_statements_reset()")
    for statement in statements:
        execute(own_corpus, *[statement] * 5)


def test_statements_seen_are_weighed_by_their_time_and_judged_by_what_the_server_counted(
    server: Server, own_corpus: str, reader: str, command: Command
) -> None:
    dear = "select count(*) from eventmark.events where data::text like '%x%'"
    cheap = "select * from eventmark.events order by recorded_at limit 10"
    writing = "update eventmark.events set version = version where position = 1"
    elsewhere = "select count(*) from pg_class where relname = 'events'"
    observed(server, own_corpus, reader, dear, cheap, writing, elsewhere)
    before = json.loads(fetch(own_corpus, STATE))
    done = on(reader, command, "explain", "--observed")
    assert done.code == 1, done.err
    assert json.loads(fetch(own_corpus, STATE)) == before
    seen = {
        word: plan
        for plan in result().plans
        for word in ("like", "order by recorded_at limit", "update")
        if word in plan.query and "json_build" not in plan.query and "pg_" not in plan.query
    }
    assert {word: plan.verdict for word, plan in seen.items()} == {
        "like": "BROKEN", "order by recorded_at limit": "MET", "update": "INCONCLUSIVE",
    }  # fmt: skip
    assert all(plan.condition.startswith("as seen in 5 calls") for plan in seen.values())
    assert "pages for 1 row," in seen["like"].findings[0].observed
    assert "permission denied" in seen["update"].findings[0].observed
    assert not any("pg_class" in plan.query and "eventmark" not in plan.query for plan in result().plans)
    table = next(one for one in result().sections if one.name == "observed").tables[0]
    shares = [float(str(row[1]).rstrip("%")) for row in table.rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    used = {
        node["Index Name"] for node in nodes(seen["order by recorded_at limit"].plan) if "Index Name" in node
    }
    assert used and indexes_observed(result()) >= used


def test_a_statement_that_cannot_be_planned_is_reported_and_undecided(
    server: Server, own_corpus: str, reader: str, command: Command
) -> None:
    execute(own_corpus, "alter table eventmark.events add column gone int")
    observed(server, own_corpus, reader, "select count(gone) from eventmark.events where position = 1")
    execute(own_corpus, "alter table eventmark.events drop column gone")
    assert on(reader, command, "explain", "--observed").code == 3
    assert 'column "gone" does not exist' in result().plans[0].findings[0].observed


def test_a_server_that_counts_no_statements_or_shows_none_is_refused(
    server: Server, own_corpus: str, reader: str, command: Command
) -> None:
    done = command("explain", "--observed")
    assert (done.code, "add --existing" in done.err) == (2, True)
    done = command("advise", "--observed", "none.json")
    assert (done.code, "none.json" in done.err) == (2, True), done.err
    if server.version_num < 160000:
        done = on(reader, command, "explain", "--observed")
        assert (done.code, "as PostgreSQL 16 and later can" in done.err) == (2, True)
        return
    superuser = f"{server.admin_dsn.rpartition('/')[0]}/{own_corpus.rpartition('/')[2]}"
    done = on(superuser, command, "explain", "--observed")
    assert (done.code, "may run programs on the server's machine" in done.err) == (2, True), done.err
    execute(own_corpus, "select pg_stat_statements_reset()")
    done = on(reader, command, "explain", "--observed")
    assert (done.code, "grant pg_read_all_stats" in done.err) == (4, True), done.err
    execute(own_corpus, "drop extension pg_stat_statements")
    done = on(reader, command, "explain", "--observed")
    assert done.code == 2
    assert "pg_stat_statements is not installed" in done.err
    assert "shared_preload_libraries" in done.err


def forked(dsn: str, folder: Path, catalogue: str, *names: str) -> dict[str, ForkSamples]:
    """The operations measured on the existing store, in this process."""

    async def run() -> dict[str, ForkSamples]:
        connection = await asyncpg.connect(dsn)
        try:
            sample = await sample_existing(
                connection, find_store(str(folder)), schema="eventmark", scans=False
            )
        finally:
            await connection.close()
        task = ForkTask(
            dsn=dsn, store=str(folder), schema="eventmark", operation="", sample=sample,
            profile=replace(PROFILES["quick"], seconds_max=600.0),  # all its samples, on any machine
            seed=1, catalogue=catalogue,
        )  # fmt: skip
        assert not [name for name in names if CATALOGUES[catalogue][name].not_in(sample)]
        return {name: await run_fork(replace(task, operation=name)) for name in names}

    return asyncio.run(run())


def test_appends_to_existing_data_are_rolled_back_in_sessions_that_are_read_only(
    own_corpus: str, tmp_path: Path
) -> None:
    write_template(tmp_path / "own")
    rows = "select md5(string_agg(xmin::text || ctid::text, '' order by ctid)) from eventmark.events"
    before = fetch(own_corpus, rows)
    dsn = asyncio.run(read_only_dsn(own_corpus))
    found = forked(dsn, tmp_path / "own", "appending", "append_events[1]", "append_events[10]")
    assert all(len(one.samples_ns) == 20 and not one.failed for one in found.values()), found
    assert fetch(own_corpus, rows) == before
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        execute(dsn, "delete from eventmark.events")


def test_streams_of_fewer_than_1000_events_are_loaded_as_the_longest_there_are(
    own_corpus: str, reader: str, tmp_path: Path
) -> None:
    execute(own_corpus, "delete from eventmark.events where version > 400", "vacuum analyze eventmark.events")
    found = forked(reader, tmp_path / "own", "reading", "load_aggregate[longest]")["load_aggregate[longest]"]
    assert len(found.samples_ns) == 20
    assert not found.failed
    with pytest.raises(AssertionError):
        forked(reader, tmp_path / "own", "reading", "load_aggregate[1000]")


def test_existing_data_is_asked_no_more_often_than_its_rate(own_corpus: str, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    paced = replace(
        PROFILES["quick"], calls_per_s_max=50.0, samples=5, warmup_iterations_max=1, warmup_calls=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROFILES, "quick", paced)
        found = forked(own_corpus, tmp_path / "own", "reading", "create_head_token")["create_head_token"]
    assert found.seconds >= 4 / 50


def test_a_database_labelled_as_production_and_a_schema_of_others_are_read(
    own_corpus: str, reader: str, command: Command
) -> None:
    database = own_corpus.rsplit("/", 1)[1]
    execute(
        own_corpus, f"comment on database {database} is 'production'", "drop table eventmark.eventmark_store"
    )
    assert on(reader, command, "explain").code in (0, 1, 3)
    assert result().plans


def test_a_large_table_is_not_read_whole_unless_that_is_allowed(
    own_corpus: str, reader: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "LARGE_PAGES", 10)
    monkeypatch.setattr(scans, "COST_MAX", 10.0)
    monkeypatch.setattr(sampling, "PAGES_SAMPLED", 4)
    scanned = "select seq_tup_read from pg_stat_user_tables where relname = 'events'"
    for index in fetch(own_corpus, INDEXES):
        execute(own_corpus, f"alter table eventmark.events drop constraint if exists {index}",
                f"drop index if exists eventmark.{index}")  # fmt: skip
    done = on(reader, command, "bench")
    assert done.code == 4
    assert "no index of eventmark.events leads to a stream's events" in done.err
    assert "--allow-scans" in done.err
    assert on(reader, command, "explain").code == 1
    broken = next(one for one in result().plans if one.statement == "load_aggregate")
    assert broken.findings[-1].observed == "not run: its plan would scan the whole of events"
    assert fetch(own_corpus, scanned) < 1000
    assert on(reader, command, "explain", "--allow-scans").code == 1
    assert fetch(own_corpus, scanned) > 20_000


INDEXES = "select array_agg(indexname::text) from pg_indexes where schemaname = 'eventmark' and tablename = 'events'"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("truncate eventmark.events", "is empty, so there is nothing to measure on"),
        ("revoke select on eventmark.events from {role}", "may not read eventmark.events"),
        ("alter table eventmark.events rename to e; create view eventmark.events as table eventmark.e;"
         "grant select on eventmark.events to {role}", "eventmark.events is a view"),
        ("alter table eventmark.events rename to e", "there is no table eventmark.events"),
        ("alter table eventmark.events rename column version to v", "no column 'version' (for sequence_number)"),
        ("alter table eventmark.events drop column version; alter table eventmark.events add version date",
         "column 'version' (for sequence_number) is date"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_reported_before_anything_is_asked(
    own_corpus: str, reader: str, command: Command, change: str, message: str
) -> None:
    role = reader.partition("//")[2].partition(":")[0]
    execute(own_corpus, *change.format(role=role).split(";"))
    done = on(reader, command, "bench")
    assert done.code in (2, 4)
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err


def test_flags_of_a_corpus_are_refused_beside_existing_data(command: Command) -> None:
    for flags, message in (
        (("--existing",), "--existing reads the data of a server that runs already"),
        (("--existing", "--replace"), "--replace is for a corpus"),
        (("--allow-appends",), "add --existing"),
    ):
        done = command("run", *flags)
        assert done.code == 2
        assert message in done.err
    done = command("bench", "--group", "--existing", "--server", "postgresql://nobody@127.0.0.1:1/none")
    assert done.code in (2, 4)
