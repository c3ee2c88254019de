"""eventmark explain: golden plans, cliffs and repetition on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from eventmark.cli.main import run_command
from eventmark.experiments.cliffs.cliffs import EXTENTS, Extent
from eventmark.experiments.run.repetition import busy_machine
from eventmark.jobs.bottleneck import SECTION_NAME
from eventmark.plans.golden import folder_of
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.server import Server
from eventmark.stores import find_store, write_template

EVENTS = "20k"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(*flags: str, database: str, events: str = EVENTS) -> int:
    return run_command(["explain", *flags, "--events", events, "--server", database])


def test_the_plans_of_the_engine_s_own_store_are_the_golden_ones(server: Server, database: str) -> None:
    """A change of a plan is meant or a mistake; who means it approves it: eventmark explain --approve --events 20k."""
    major = server.version_num // 10000
    if not folder_of(find_store("eaf").directory, major).is_dir():
        pytest.skip(f"no plans were approved for PostgreSQL {major}")
    assert explain("--golden", database=database) == 0
    assert read_result(Path("out/result.json")).verdict is Verdict.MET


@pytest.mark.long
def test_plans_of_a_users_own_store_are_approved_into_its_folder_and_a_change_is_shown(
    server: Server, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", "./my-store")
    write_template(Path("my-store"))
    assert explain("--golden", *store, database=database) == 3
    assert "eventmark explain --approve" in capsys.readouterr().out
    assert explain("--approve", *store, database=database) == 0
    folder = folder_of(Path("my-store"), server.version_num // 10000)
    assert {path.stem for path in folder.iterdir()} >= {"append_events", "load_aggregate", "stream_events"}
    assert explain("--golden", *store, database=database) == 0
    asyncio.run(execute(database, "drop index eventmark_corpus.events_recorded_at"))
    assert explain("--golden", *store, database=database) == 1
    shown = capsys.readouterr().out
    assert "create_token_at, approved" in shown
    assert any("- " in line and "using events_recorded_at" in line for line in shown.splitlines())


def test_plans_of_another_corpus_are_no_comparison(
    server: Server, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_template(Path("my-store"))
    store = ("--store", "./my-store")
    assert explain("--approve", *store, database=database, events="2k") in (0, 3)
    assert explain("--golden", *store, database=database, events="1k") == 2
    assert "plans of another corpus" in capsys.readouterr().err


STATE = """
    select count(*), sum(hashint8(global_sequence_id)), max(relpages), max(relallvisible), max(reltuples),
        (select md5(string_agg(coalesce(most_common_vals::text, '') || coalesce(histogram_bounds::text, ''), ',' order by attname))
         from pg_stats where schemaname = 'eventmark_corpus' and tablename = 'domain_events'),
        (select string_agg(indexdef, ',' order by indexdef) from pg_indexes where schemaname = 'eventmark_corpus')
    from eventmark_corpus.domain_events, pg_class
    where oid = 'eventmark_corpus.domain_events'::regclass
"""


@pytest.mark.long
def test_a_good_store_has_no_cliff_and_its_corpus_is_as_it_was(
    server: Server, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--events", EVENTS, "--server", database)
    assert run_command(["seed", *asked]) == 0
    before = asyncio.run(fetchrow(database, STATE))
    assert run_command(["explain", "--cliffs", "--profile", "quick", *asked]) == 0, capsys.readouterr().out
    assert asyncio.run(fetchrow(database, STATE)) == before
    schemas = "select string_agg(nspname, ',' order by nspname) from pg_namespace where nspname !~ '^pg_'"
    assert asyncio.run(fetchrow(database, schemas)) == ("eventmark,information_schema,public",)
    result = read_result(Path("out/result.json"))
    assert result.figures["plan_cliffs"].value == 0
    section, bottleneck = result.sections
    assert bottleneck.name == SECTION_NAME
    assert {finding.name for finding in section.findings} == set(find_store("eaf").statements)
    cells = {point.x for chart in section.charts for point in chart.points}
    assert len(cells) == 24  # three kinds of plan in eight states
    assert {chart.mark for chart in section.charts} == {"heat"}


@pytest.mark.long
def test_a_store_without_its_index_has_a_cliff_with_its_plan_and_what_avoids_it(
    server: Server, database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTENTS, "quick", Extent(questions=2, batches=(10, 1000), seconds=5.0))
    write_template(Path("my-store"))
    for other in ("create_token_at", "read_snapshot", "store_snapshot"):
        Path(f"my-store/{other}.sql").unlink()
    indexes = Path("my-store/indexes.sql")
    kept = [part for part in indexes.read_text().split(";") if "events_tenant_position" not in part]
    indexes.write_text(";".join(kept))
    asked = ("--events", EVENTS, "--server", database, "--store", "./my-store", "--profile", "quick")
    assert run_command(["explain", "--cliffs", *asked]) == 1
    section, _ = read_result(Path("out/result.json")).sections
    (broken, *_) = [finding for finding in section.findings if finding.verdict is Verdict.BROKEN]
    assert broken.name.startswith("stream_tenant_events")
    assert "rows thrown away" in broken.observed and broken.remedy
    assert any("removed by the filter" in block.text for block in section.blocks)
    assert "1 cliff" in capsys.readouterr().out or section.tables[1].rows


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--cliffs", "--golden"), "exclude each other"),
        (("--repeat", "1"), "--repeat must be 2 or more"),
    ],
)
def test_what_cannot_be_examined_is_said_in_one_line(
    flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["explain", *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.long
def test_twenty_runs_in_a_row_on_a_busy_machine_give_the_same_verdicts(server: Server, database: str) -> None:
    assert run_command(["explain", "--repeat", "20", "--events", "50k", "--server", database]) == 0
    result = read_result(Path("out/result.json"))
    assert result.figures["plan_runs"].value == 20
    assert result.figures["plan_verdicts_changed"].value == 0


@pytest.mark.long
def test_a_busy_machine_makes_no_cliff_and_hides_none(server: Server, database: str) -> None:
    asked = ("--events", "50k", "--profile", "quick", "--server", database)
    with busy_machine():
        assert run_command(["explain", "--cliffs", *asked]) == 0
        for _ in range(5):
            assert run_command(["museum", "--exhibit", "sixth-execution", *asked]) == 0


async def fetchrow(dsn: str, query: str) -> tuple[object, ...]:
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow(query)
    await connection.close()
    return tuple(row)


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()
