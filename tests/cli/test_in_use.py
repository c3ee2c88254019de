"""No verb touches a store that is in use, nor anything else it did not make: byte for byte, whatever flags are given."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from eventmark.config import CORPUS_SCHEMA
from eventmark.engine import PostgresEventStore, install_schema
from eventmark.server import Server
from eventmark.stores import claimed
from tests.cli.conftest import Command
from tests.database import connected, drop_database, execute, fetch
from tests.engine.builders import new_events, stream_of

SMALL = ("--events", "1k", "--profile", "quick")
VERBS = {
    "certify": ("--events", "20k", "--minutes", "30"),
    "run": SMALL,
    "verify": (*SMALL, "--ordering", "horizon", "--seconds", "5"),
    "museum": ("--profile", "quick"),
    "seed": ("--events", "1k"),
    "audit": ("--events", "1k"),
    "bench": SMALL,
    "bench --group": SMALL,
    "bench --rls": SMALL,
    "stress": SMALL,
    "soak": (*SMALL, "--seconds", "5"),
    "isolate": SMALL,
    "explain": SMALL,
    "explain --cliffs": SMALL,
    "explain --golden": SMALL,
    "explain --approve": SMALL,
    "explain --repeat 2": SMALL,
    "advise": SMALL,
    "baselines": SMALL,
    "gate": (*SMALL, "--base", "store:eaf", "--candidate", "store:eaf", "--seconds", "5"),
    "selfcheck": ("--profile", "quick"),
    "load": (*SMALL, "--seconds", "5"),
    "capacity": SMALL,
    "sweep": SMALL,
    "stream": SMALL,
    "scale": ("--steps", "20k,40k", "--profile", "quick"),
    "admin drop": (),
}
REPLACING = {
    "run",
    "seed",
    "bench",
    "stress",
    "soak",
    "isolate",
    "explain",
    "advise",
    "baselines",
    "certify",
    "load",
    "scale",
}
IN_USE = (CORPUS_SCHEMA, "eventmark")
_names = count(1)

_CATALOGUE = """
select md5(string_agg(line, chr(10) order by line)) from (
    select row('relation', c.oid::regclass, c.relkind, c.relowner, c.relfilenode, c.relhastriggers, c.relrowsecurity,
            c.reloptions, c.relacl)::text as line
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_(toast|temp)'
            and n.nspname not in ('pg_catalog', 'information_schema')
    union all select row('index', pg_get_indexdef(indexrelid), indisvalid)::text from pg_index where indexrelid > 16383
    union all select row('constraint', conrelid, pg_get_constraintdef(oid))::text from pg_constraint where oid > 16383
    union all select row('trigger', pg_get_triggerdef(oid), tgenabled)::text from pg_trigger where oid > 16383
    union all select row('function', oid, md5(prosrc), proowner)::text from pg_proc where oid > 16383
    union all select row('schema', nspname, nspowner, nspacl)::text from pg_namespace
        where nspname !~ '^pg_(toast_)?temp'
    union all select row('extension', extname, extversion)::text from pg_extension
    union all select row('role', r, shobj_description(oid, 'pg_authid'))::text from pg_roles r
    union all select row('member', m)::text from pg_auth_members m
    union all select row('setting', s)::text from pg_db_role_setting s
    union all select row('setting', name, sourcefile, setting)::text from pg_settings
        where source not in ('session', 'client')
    union all select row('sequence', schemaname, sequencename, last_value)::text from pg_sequences
    union all select row('reset', datname, stats_reset)::text from pg_stat_database where datname = current_database()
    union all select row('slot', slot_name)::text from pg_replication_slots
    union all select row('publication', pubname)::text from pg_publication
) as lines
"""
_TABLES = """
select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1
"""


def everything(dsn: str) -> dict[str, str]:
    """A digest of the catalogue, and of each table's rows with the places and transactions that wrote them."""

    async def ask(connection: asyncpg.Connection) -> dict[str, str]:
        found = {"catalogue": await connection.fetchval(_CATALOGUE)}
        for row in await connection.fetch(_TABLES):
            found[row[0]] = await connection.fetchval(
                "select coalesce(md5(string_agg(xmin::text || xmax::text || ctid::text || t::text, chr(10)"
                f" order by ctid)), 'empty') from {row[0]} as t"
            )
        return found

    return connected(dsn, ask)


@pytest.fixture(scope="module")
def used(server: Server) -> Iterator[str]:
    """The DSN of a database with a store in use where the command line's corpus and where the library's store go."""
    name = f"in_use_{next(_names)}"
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    asyncio.run(_use(dsn, *IN_USE))
    execute(
        dsn, "create schema mine", "create table mine.events (id int)", "insert into mine.events values (1)"
    )
    yield dsn
    drop_database(server.dsn, name)


async def _use(dsn: str, *schemas: str) -> None:
    connection = await asyncpg.connect(dsn)
    for schema in schemas:
        await install_schema(connection, schema)
        async with await PostgresEventStore.connect(dsn, schema=schema, notify=False) as store:
            await store.append_events(stream_of(), new_events(3), expected_version=0)
    await connection.close()


SCHEMAS = [*IN_USE, "mine"]
# Each verb with one of them in the short suite, in turns.
CASES = [
    pytest.param(verb, schema, marks=[] if number % 3 == place else [pytest.mark.long])
    for number, verb in enumerate(VERBS)
    for place, schema in enumerate(SCHEMAS)
]


@pytest.mark.parametrize(("verb", "schema"), CASES)
def test_no_verb_touches_a_store_that_is_in_use(command: Command, used: str, verb: str, schema: str) -> None:
    before = everything(used)
    for more in ((), *([("--replace",)] if verb in REPLACING else [])):
        named = () if schema == CORPUS_SCHEMA else ("--schema", schema)
        done = command(*verb.split(), *VERBS[verb], "--server", used, *named, *more)
        said = "not created by Eventmark" if schema == "mine" else "holds an event store that is in use"
        assert (done.code, said in " ".join(done.err.split())) == (4, True), done.err
        assert everything(used) == before


@pytest.mark.parametrize("verb", ["doctor", "stores check"])
def test_verbs_that_only_look_leave_everything_as_it_was_and_say_so(
    command: Command, used: str, verb: str
) -> None:
    before = everything(used)
    done = command(*verb.split(), "--server", used)
    assert done.out.strip().splitlines()[-1] == "Left on the server: nothing."
    after = everything(used)
    assert {name: after[name] for name in after if name != "catalogue"} == {
        name: before[name] for name in before if name != "catalogue"
    }
    assert after["catalogue"] == before["catalogue"]


@pytest.mark.parametrize(
    ("verb", "suffix"), [("bench --group", "_grouped"), ("verify", "_hunted"), ("museum", "_museum")]
)
def test_a_store_in_use_under_the_name_of_a_scratch_schema_is_left_alone(
    command: Command, database: str, verb: str, suffix: str
) -> None:
    asyncio.run(_use(database, CORPUS_SCHEMA + suffix))
    before = everything(database)
    done = command(*verb.split(), *VERBS.get(verb, ()), "--server", database)
    assert (done.code, "in use" in done.err) == (4, True), done.err
    assert everything(database) == before


@pytest.mark.parametrize(
    "planted",
    [
        f"insert into {CORPUS_SCHEMA}.domain_events select * from another.domain_events",
        f"create table {CORPUS_SCHEMA}.mine (id int)",
    ],
    ids=["events", "table"],
)
def test_a_corpus_that_holds_what_no_ledger_accounts_for_is_left_alone(
    command: Command, database: str, planted: str
) -> None:
    """Events that an application appended to it, or a table beside it."""
    small = ("--events", "1k", "--server", database)
    assert command("seed", *small).code == 0
    if "another" in planted:
        asyncio.run(_append(database, CORPUS_SCHEMA))
        said = "3 events"
    else:
        execute(database, planted)
        said = "'mine'"
    before = everything(database)
    for verb in (
        ("seed",),
        ("seed", "--replace"),
        ("seed", "--seed", "7", "--replace"),
        ("bench",),
        ("load",),
        ("run", "--aged"),
    ):
        done = command(*verb, *small)
        assert (done.code, f"holds {said} that it did not put there" in " ".join(done.err.split())) == (
            4,
            True,
        ), done
    done = command("admin", "drop", "--server", database)
    assert (done.code, said in done.err) == (4, True)
    assert everything(database) == before


async def _append(dsn: str, schema: str) -> None:
    async with await PostgresEventStore.connect(dsn, schema=schema, notify=False) as store:
        await store.append_events(stream_of(aggregate_id="real"), new_events(3), expected_version=0)


def test_what_measuring_appended_is_accounted_for_and_the_corpus_can_be_dropped(
    command: Command, database: str
) -> None:
    verb = ("explain", "--events", "2k", "--profile", "quick", "--server", database)
    for _ in range(2):
        done = command(*verb)
        assert done.code in (0, 1, 3), done.err
        assert "Left on the server: schema eventmark_corpus (2," in done.out.strip().splitlines()[-1]
    asyncio.run(_append(database, CORPUS_SCHEMA))
    assert command(*verb).code == 4


def test_what_is_left_on_a_server_is_reported_with_the_command_that_removes_it(
    command: Command, database: str
) -> None:
    done = command("seed", "--events", "1k", "--server", database, "--schema", "shop")
    last = done.out.strip().splitlines()[-1]
    assert last.startswith("Left on the server: schema shop (1,000 events, ")
    before, _, remove = last.partition("remove it with: ")
    assert "The next run reuses it" in before
    words = remove.split()
    assert words[:3] == ["eventmark", "admin", "drop"]
    assert ":" not in words[-1].partition("://")[2].partition("@")[0]  # no password
    done = command("audit", "--events", "1k", "--server", database, "--schema", "shop")
    assert "schema shop (1,000 events" in done.out.strip().splitlines()[-1]
    assert command(*words[1:-1], database).out == "schema 'shop' is dropped\n"
    assert command(*words[1:-1], database).out == "there is no schema 'shop'\n"
    done = command("doctor", "--server", database)
    *_, verdict, left = done.out.strip().splitlines()
    assert left == "Left on the server: nothing."
    assert verdict.startswith(
        {0: "verdict: MET", 1: "verdict: BROKEN", 3: "verdict: INCONCLUSIVE"}[done.code]
    )


@pytest.mark.parametrize(
    "verb", [("seed",), ("bench",), ("stores", "check"), ("admin", "drop"), ("admin", "migrate")]
)
def test_a_second_run_on_a_schema_names_the_first(
    command: Command, database: str, verb: tuple[str, ...]
) -> None:
    before = everything(database)
    with claimed(database, "shop"):
        done = command(*verb, "--server", database, "--schema", "shop")
    assert done.code == 4
    assert "schema 'shop' is being used by another run: eventmark-run of process" in " ".join(
        done.err.split()
    )
    assert everything(database) == before


def test_a_changed_schema_is_noticed_and_replaced(command: Command, database: str) -> None:
    """An index dropped from the folder is not measured in the tables that still have it."""
    assert command("stores", "new", "shop").code == 0
    asked = ("seed", "--events", "1k", "--server", database, "--store", "./shop")
    assert command(*asked).code == 0
    path = Path("shop/indexes.sql")
    path.write_text(path.read_text().replace("create index events_recorded_at", "create index events_at"))
    done = command(*asked)
    assert (done.code, "was made from another schema.sql or indexes.sql" in " ".join(done.err.split())) == (
        4,
        True,
    )
    assert "--replace" in done.err
    for more in (("--replace",), ()):
        assert command(*asked, *more).code == 0
        assert "events_at" in str(
            connected(database, lambda c: c.fetchval("select string_agg(indexname, ',') from pg_indexes"))
        )


def test_replacing_always_replaces(command: Command, database: str) -> None:
    asked = ("seed", "--events", "1k", "--server", database)
    assert command(*asked).code == 0
    assert "there already" in command(*asked).out
    assert "there already" not in command(*asked, "--replace").out


def test_the_old_name_of_admin_works_and_states_the_new_one(command: Command, database: str) -> None:
    asyncio.run(_use(database, "eventmark"))
    old, verb = "store", "migrate"
    done = command(old, verb, "--server", database)
    assert (done.code, "eventmark admin" in done.err) == (0, True)


def test_the_old_name_of_baselines_works_and_states_the_new_one(command: Command, used: str) -> None:
    done = command("limits", *SMALL, "--server", used)
    assert (done.code, "eventmark baselines" in done.err) == (4, True)


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_run_that_is_ended_takes_its_roles_and_scratch_schemas_with_it(
    database: str, tmp_path: Path, sent: signal.Signals
) -> None:
    before = everything(database)
    run = subprocess.Popen(
        [sys.executable, "-m", "eventmark.cli.main", "bench", "--rls", *SMALL, "--server", database],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background shell ignores it
    )  # fmt: skip
    made = f"select count(*) from pg_roles where rolname like '{CORPUS_SCHEMA}%visitor%'"
    while not fetch(database, made):
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.02)
    run.send_signal(sent)
    said, _ = run.communicate(timeout=60)
    assert (run.returncode, "interrupted" in said) == (4, True), said
    assert everything(database) == before
