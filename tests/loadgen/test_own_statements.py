"""Statements of the user's own in a mix: what is refused of their files, and what a load makes of them."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.errors import StoreDefinitionError, UsageError
from eventmark.experiments.load.load import Load
from eventmark.experiments.load.sweep import Sweep
from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.generator import run_load
from eventmark.loadgen.mix import Mix, parse_mix
from eventmark.loadgen.plan import CLIENT, WIRE, LoadPlan
from eventmark.report.html import render_html
from eventmark.report.markdown import render_markdown
from eventmark.results.results import Verdict
from eventmark.results.targets import Target
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.stores import check_store, find_store, with_own
from eventmark.stores.own import PARAMETERS
from eventmark.workload.arrivals import Arrivals
from tests.experiments.seeded import job_on
from tests.loadgen.conftest import Loaded
from tests.stores.shaped import Shaped, write_shaped

APPEND = "append_events[1]"
HEAD = "-- parameters: tenant_id text, aggregate_id text\n"
LOOK_UP = f"""{HEAD}select payload from domain_events
where tenant_id = :tenant_id and aggregate_id = :aggregate_id order by sequence_number desc limit 1;  -- the last
"""

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Write a statement's file below the current folder; its path as it stands in a mix."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name: str = "orders.sql") -> str:
        path = tmp_path / "sql" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return f"sql/{name}"

    return write


def refused(mix: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_mix(mix)
    return str(caught.value)


def test_a_file_is_an_operation_called_as_the_file_is_and_its_text_travels_with_the_mix(
    written: Written, tmp_path: Path
) -> None:
    mix = parse_mix(f"{APPEND}=3, ./{written(LOOK_UP)} = 1")
    assert mix.shares == {APPEND: 0.75, "orders.sql": 0.25}
    (tmp_path / "sql" / "orders.sql").unlink()
    travelled: Mix = pickle.loads(pickle.dumps(mix))
    operation = travelled.operation("orders.sql")
    assert (operation.name, operation.statement) == ("orders.sql", "orders.sql")
    sql = travelled.own["orders.sql"].sql("shop")
    assert "tenant_id = $1::text and aggregate_id = $2::text" in sql
    assert "from domain_events" in sql


def test_the_sha_is_of_the_text_and_not_of_its_header_or_place(written: Written) -> None:
    def sha(text: str, name: str = "orders.sql") -> str:
        return next(iter(parse_mix(f"{written(text, name)}=1").own.values())).sha256

    assert sha(LOOK_UP) == sha(f"-- purpose: another\n{LOOK_UP}") == sha(LOOK_UP, "others.sql")
    assert (
        len({sha(LOOK_UP), sha(LOOK_UP.replace("1;", "2;")), sha(LOOK_UP.replace("_id text", "_id name"))})
        == 3
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("select 1;\n\n-- and\nselect 2", 4, "holds 2 statements, and a statement of a mix is one"),
        (HEAD, 2, "no statement after the header"),
        (f"{HEAD}/* nothing */", 2, "holds no statements"),
        ("", 1, "no statement"),
        (f"{HEAD}selec 1", 2, "syntax error"),
        ("-- purpose: a\n-- parameters: customer text\nselect :customer", 2, "draws no parameter 'customer'"),
        (f"{HEAD}select 1 where :tenant_id = ''", 2, "'aggregate_id' is declared and not used"),
        (f"{HEAD}select :tenant_id,\n:aggregate_id, :more", 3, ":more is not among the declared parameters"),
        ("select $1", 1, "$1 is no parameter"),
        ("-- parameters: tenant_id\nselect :tenant_id", 1, "is not 'name type'"),
        (
            "\n\ninsert into domain_events default values",
            3,
            "is INSERT, which a statement of a mix must not do",
        ),
        ("update domain_events set payload = ''", 1, "is UPDATE"),
        ("delete from domain_events", 1, "is DELETE"),
        ("truncate domain_events", 1, "is TRUNCATE"),
        ("create table mine ()", 1, "is CREATE"),
        ("with n as (delete from domain_events returning 1) select * from n", 1, "this statement deletes"),
        ("select 1 as one into mine", 1, "makes a table (INTO)"),
        ("select * from domain_events for update", 1, "locks rows"),
        ("-- parameters: tenant_id text into mine\nselect :tenant_id", 2, "makes a table (INTO)"),
        ("-- parameters: tenant_id text; drop table x\nselect :tenant_id", 2, "holds 2 statements"),
        ("begin", 1, "ends or begins a transaction"),
        ("commit;", 1, "ends or begins a transaction"),
        ("set search_path = public", 1, "changes a setting"),
        ("select set_config('search_path', 'public', false)", 1, "changes a setting"),
        ("copy domain_events to '/tmp/x'", 1, "copies from or to a file"),
        ("\\d domain_events", 1, "is a command of psql"),
        ("call work()", 1, "is CALL"),
        (b"select 1\nwhere '\xff' = ''", 2, "byte 0xff is not UTF-8"),
        (b"select 1\n\0", 2, "NUL"),
        ("select 1".encode("utf-16"), 1, "the file is UTF-16"),
    ],
)
def test_what_is_wrong_about_a_file_is_named_with_its_line(
    written: Written, text: str | bytes, line: int, said: str
) -> None:
    path = written(text)
    told = refused(f"{path}=1")
    assert told.startswith(f"{path}:{line}: "), told
    assert said in told


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        ("sql/gone.sql=1", "sql/gone.sql:1: there is no such file"),
        ("sql/folder.sql=1", "sql/folder.sql:1: this is a folder"),
        (".sql=1", "at most 48 letters"),
        ("sql/two words.sql=1", "at most 48 letters"),
        (f"sql/{'a' * 49}.sql=1", "at most 48 letters"),
        ("sql/orders.sql=0", "the weight of sql/orders.sql must be above 0"),
        ("sql/orders.sql=-1", "is not a part of a mix"),
        ("sql/orders.sql", "is not a part of a mix"),
        ("sql/orders.sql=1, ./sql/orders.sql=2", "orders.sql occurs twice"),
        ("sql/orders.sql=1, sql/folder.sql/orders.sql=2", "orders.sql occurs twice"),
        ("sql/orders.txt=1", "is not a part of a mix"),
        ("orders=1", "unknown operation 'orders'"),
    ],
)
def test_what_is_wrong_about_a_part_of_the_mix_is_named(written: Written, mix: str, said: str) -> None:
    written(LOOK_UP)
    Path("sql/folder.sql").mkdir()
    assert said in refused(mix)


def test_a_file_that_may_not_be_read_is_named(written: Written) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = written(LOOK_UP)
    Path(path).chmod(0)
    assert f"{path}:1: cannot be read" in refused(f"{path}=1")


@given(text=st.one_of(st.text(), st.binary()))
def test_no_file_makes_anything_but_a_mix_or_an_error_that_names_it(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    path = tmp_path_factory.mktemp("own") / "any.sql"
    path.write_bytes(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    try:
        mix = parse_mix(f"{path}=1")
    except StoreDefinitionError as error:
        assert error.path == str(path) and error.line >= 1
    else:
        assert list(mix.shares) == ["any.sql"]


def test_a_store_is_asked_only_for_what_it_keeps(written: Written, tmp_path: Path) -> None:
    shaped = Shaped(tenant="none", time="absent", transactions="none")
    definition = find_store(str(write_shaped(tmp_path / "own", shaped)))
    for name, sql_type in (("tenant_id", "text"), ("instant", "timestamptz"), ("transaction_id", "bigint")):
        path = written(f"-- purpose: x\n-- parameters: {name} {sql_type}\nselect :{name}")
        own = parse_mix(f"{path}=1").own
        with pytest.raises(
            StoreDefinitionError, match=f"sql/orders.sql:2: a load draws no parameter '{name}'"
        ) as caught:
            with_own(definition, own)
        assert "it draws aggregate_id" in str(caught.value)
        assert f"{name}," not in str(caught.value).partition("it draws")[2]


def checked(server: Server, database: str, mix: Mix, store: str = "eaf") -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database)
        try:
            await check_store(connection, with_own(find_store(store), mix.own), "eventmark_corpus")
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select *\nfrom public.secrets", ":2: reads public.secrets, which is outside"),
        ("select * from secrets", ':1: relation "secrets" does not exist'),
        ("select 1,\nnothing\nfrom domain_events", ':2: column "nothing" does not exist'),
        ("select public.total()", ":1: names public.total, which is outside"),
        (
            "-- parameters: tenant_id integer\nselect from domain_events\nwhere tenant_id = :tenant_id",
            ":3: operator",
        ),
    ],
)
def test_what_is_outside_of_the_stores_schema_is_refused_by_file_line_and_name(
    server: Server, database: str, written: Written, text: str, said: str
) -> None:
    async def prepare() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute(
            "create table public.secrets (id int); create function public.total() returns int language sql as 'select 1'"
        )
        await connection.close()

    asyncio.run(prepare())
    with pytest.raises(StoreDefinitionError) as caught:
        checked(server, database, parse_mix(f"{written(text)}=1"))
    assert f"sql/orders.sql{said}" in str(caught.value)


SLY = "create function {schema}.sly(n int) returns int language sql begin atomic select n; end;"


def store_with(folder: Path, *statements: str) -> Path:
    """A store whose schema has these as well."""
    store = write_shaped(folder / "own", Shaped())
    with (store / "schema.sql").open("a") as file:
        file.writelines(f"{statement}\n" for statement in statements)
    return store


def test_a_function_of_the_store_that_may_write_is_refused_by_name(
    server: Server, database: str, written: Written, tmp_path: Path
) -> None:
    store = store_with(
        tmp_path,
        SLY,
        "create function {schema}.fair(n int) returns int stable language sql begin atomic select n; end;",
    )
    checked(server, database, parse_mix(f"{written('select fair(1)')}=1"), str(store))
    with pytest.raises(
        StoreDefinitionError, match=r"sql/orders.sql:1: calls .*sly\(integer\), which is volatile"
    ):
        checked(server, database, parse_mix(f"{written('select sly(1)')}=1"), str(store))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("pg_terminate_backend(1)", "pg_terminate_backend"), ("pg_catalog.pg_reload_conf()", "pg_reload_conf"),
        ("pg_cancel_backend(1)", "pg_cancel_backend"), ("lo_unlink(1)", "lo_unlink"), ("pg_stat_reset()", "pg_stat_reset"),
        ("pg_advisory_lock(1)", "pg_advisory_lock"), ("count(*) filter (where pg_sleep(1) is null)", "pg_sleep"),
    ],
)  # fmt: skip
def test_a_function_of_the_server_that_changes_something_is_refused_by_name(
    server: Server, database: str, written: Written, call: str, name: str
) -> None:
    with pytest.raises(
        StoreDefinitionError, match=rf"sql/orders.sql:\d+: calls {name}\(.*, which is volatile"
    ):
        checked(server, database, parse_mix(f"{written(f'select {call} from domain_events')}=1"))


def test_a_volatile_function_behind_a_view_is_refused_by_name(
    server: Server, database: str, written: Written, tmp_path: Path
) -> None:
    store = store_with(
        tmp_path,
        SLY,
        "create view {schema}.own as select {schema}.sly(1);",
        "create view {schema}.locked as select pg_try_advisory_lock(1);",
        "create view {schema}.nested as select * from {schema}.locked;",
        "create view {schema}.fair as select random(), now();",
    )
    checked(server, database, parse_mix(f"{written('select * from fair')}=1"), str(store))
    for view, name in (
        ("own", r".*sly\(integer\)"),
        ("locked", r"pg_try_advisory_lock\(bigint\)"),
        ("nested", r"pg_try_advisory_lock\(bigint\)"),
    ):
        with pytest.raises(StoreDefinitionError, match=rf"sql/orders.sql:1: calls {name}, which is volatile"):
            checked(server, database, parse_mix(f"{written(f'select * from {view}')}=1"), str(store))


def test_what_is_volatile_and_changes_nothing_may_be_called(
    server: Server, database: str, written: Written
) -> None:
    text = "select random(), gen_random_uuid(), clock_timestamp(), now() from domain_events limit 1"
    checked(server, database, parse_mix(f"{written(text)}=1"))


EVERY = """-- parameters: tenant_id text, aggregate_id text, aggregate_type text, transaction_id bigint,\
 global_sequence bigint, sequence_number bigint, instant timestamptz, batch_size bigint
select payload from {schema}.domain_events
where tenant_id = :tenant_id and aggregate_id = :aggregate_id and aggregate_type = :aggregate_type
    and sequence_number >= :sequence_number and timestamp_utc <= greatest(:instant, 'infinity')
    and global_sequence_id <> -:global_sequence and :transaction_id > 0
order by sequence_number limit :batch_size
"""


@pytest.mark.parametrize("through", [WIRE, CLIENT])
def test_every_parameter_is_drawn_and_the_rows_come(loaded: Loaded, written: Written, through: str) -> None:
    mix = parse_mix(f"{APPEND}=1, {written(EVERY)}=1, {written('select 1 where false', 'none.sql')}=1")
    outcome = loaded(mix, users=3, through=through)
    for name, one in outcome.operations.items():
        assert (one.failed, one.conflicted, one.skipped) == (0, 0, 0), (name, one.messages)
        assert one.succeeded > 0, name


@pytest.mark.parametrize("through", [WIRE, CLIENT])
def test_an_error_of_the_server_is_a_failed_call_with_its_message(
    loaded: Loaded, written: Written, through: str
) -> None:
    path = written("-- parameters: batch_size bigint\nselect 1 / (:batch_size - 1000)")
    one = loaded(parse_mix(f"{path}=1, read_snapshot=1"), users=2, through=through, seconds=0.5).operations[
        "orders.sql"
    ]
    assert one.succeeded == 0 and one.failed == one.offered > 0
    assert "division by zero" in " ".join(one.messages.values())


def test_what_is_drawn_is_of_streams_that_are_there_the_hot_ones_half_of_the_time(
    job: Job, written: Written
) -> None:
    mix, sample = parse_mix(f"{written(EVERY)}=1"), draw_sample(job)
    operation = mix.operation("orders.sql")(None, sample, np.random.default_rng(1))  # type: ignore[arg-type]
    operation.store = type("Store", (), {"pool": None})()
    asyncio.run(operation.prepare())
    drawn = [operation.draw() for _ in range(1000)]
    known = {
        (one.stream.tenant_id, one.stream.aggregate_id): one
        for one in (*sample.streams, *sample.long_streams)
    }
    keys = [(one["tenant_id"], one["aggregate_id"]) for one in drawn]
    assert all(
        1 <= one["sequence_number"] <= known[key].version for one, key in zip(drawn, keys, strict=True)
    )
    hot = {(one.stream.tenant_id, one.stream.aggregate_id) for one in sample.streams[:10]}
    assert 400 < sum(key in hot for key in keys) < 700
    assert {(one["transaction_id"], one["global_sequence"]) for one in drawn} <= set(sample.positions)
    assert {one["instant"] for one in drawn} <= set(sample.instants)
    assert all(set(PARAMETERS) <= set(one) for one in drawn)


def test_a_result_has_the_texts_sha_and_does_not_judge_what_has_no_target(job: Job, written: Written) -> None:
    mix = parse_mix(f"create_tail_token=1, {written(LOOK_UP)}=1, {written('select 1', 'one.sql')}=1")
    plan = LoadPlan(mix=mix, seconds=2.0, arrivals=Arrivals("constant", 150), pool_max=3, warm_rounds=1)
    targets = {**job.targets, "one.sql": Target("p50", 5000.0), "create_tail_token": Target("p50", 5000.0)}
    result = Load(plan=plan).run(replace(job, targets=targets))
    own = result.environment.store.own_statements
    assert own == {name: one.sha256 for name, one in mix.own.items()}
    look_up, one = result.operations["orders.sql"], result.operations["one.sql"]
    assert look_up.samples > 0 and (look_up.target_ms, look_up.reason) == (None, "there is no target")
    assert one.target_ms == 5000.0 and one.reason != look_up.reason
    assert not any("orders.sql" in reason for reason in result.reasons)
    shown = next(line for line in render_markdown(result).splitlines() if line.startswith("| `orders.sql`"))
    assert "not judged" in shown and "INCONCLUSIVE" not in shown
    assert '>orders.sql</th><td><span class="soft">not judged</span>' in render_html(result)
    told = " ".join(text for section in result.sections for text in section.text)
    assert (
        f"orders.sql is a statement of your own: sql/orders.sql, SHA-256 of its text {own['orders.sql'][:12]}"
        in told
    )


def test_a_load_of_nothing_that_has_a_target_decides_nothing_and_gives_the_reason(
    job: Job, written: Written
) -> None:
    plan = LoadPlan(
        mix=parse_mix(f"{written('select 1')}=1"), seconds=0.5, users=1, pool_max=2, warm_rounds=1
    )
    result = Load(plan=plan).run(job)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.operations["orders.sql"].samples > 0
    assert any("no operation has one: give one with --target" in reason for reason in result.reasons)


def test_a_sweep_takes_them_one_by_one(job: Job, written: Written) -> None:
    mix = parse_mix(f"{written(LOOK_UP)}=1, {written('select 1', 'one.sql')}=1")
    sweep = Sweep(operations=tuple(mix.shares), own=mix.own, clients=(1, 2), seconds=0.3, warm_rounds=1)
    result = sweep.run(job)
    assert [phase.name for phase in result.phases if phase.name in mix.own] == ["orders.sql", "one.sql"]
    assert set(result.environment.store.own_statements) == set(mix.own)


@pytest.mark.long
@pytest.mark.parametrize("through", [WIRE, CLIENT])
def test_a_folder_of_sql_without_tenants_runs_the_users_statements_in_its_own_types(
    server: Server, database: str, written: Written, tmp_path: Path, through: str
) -> None:
    shaped = Shaped(tenant="none", stream="integer", time="bigint", position="bigserial")
    store = write_shaped(tmp_path / "own", shaped)
    job = job_on(server, database, str(store))
    asyncio.run(seed(job.server.dsn, job.definition, job.corpus, schema=job.schema))
    columns = job.definition.columns
    path = written(
        "-- parameters: aggregate_id integer, instant bigint, global_sequence bigint\n"
        f"select count(*) from {job.definition.events_table} where {columns['aggregate_id']} = :aggregate_id"
        f" and {columns['timestamp_utc']} <> -:instant and {columns['global_sequence_id']} <> -:global_sequence"
    )
    mix = parse_mix(f"{APPEND}=1, {path}=1")
    with ThreadPoolExecutor(2) as executor:
        plan = LoadPlan(mix=mix, seconds=1.0, users=2, pool_max=2, warm_rounds=1, through=through)
        outcome = run_load(
            replace(job, definition=with_own(job.definition, mix.own)),
            draw_sample(job),
            plan,
            executor=executor,
        )
    for name, one in outcome.operations.items():
        assert (one.failed, one.skipped) == (0, 0), (name, one.messages)
        assert one.succeeded > 0, name
