"""The gate on a real server: what a side does more is found at once, settings reach their side, nothing stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import asyncpg
import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.gate.gate import Gate, examine_both
from eventmark.jobs.job import Job
from eventmark.jobs.profiles import find_profile
from eventmark.judgement.plan_changes import PlanChange
from eventmark.results.results import PlanResult, RunResult, Verdict
from eventmark.results.targets import DEFAULT_TARGETS
from eventmark.seeding import no_progress
from eventmark.server import Server
from eventmark.sidebyside.bout import Bout, Effort
from eventmark.sidebyside.contest import Rules
from eventmark.sidebyside.grounds import Ground
from eventmark.sidebyside.protocol import Open, Opened, Place, Turn, Turned
from eventmark.sidebyside.sides import Side, both_sides
from eventmark.stores import find_store, write_template
from eventmark.workload import CorpusPlan, CorpusShape

EVENTS = 20_000
LOAD = "load_aggregate[1000]"


@pytest.fixture
def job(server: Server, database: str) -> Job:
    async def with_statistics() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute("create extension if not exists pg_stat_statements")
        await connection.close()

    asyncio.run(with_statistics())
    return Job(
        server=replace(server, dsn=database), store="eaf", definition=find_store("eaf"), schema="eventmark",
        corpus=CorpusPlan(EVENTS), profile=find_profile("quick"), targets=DEFAULT_TARGETS, command="eventmark gate",
        place=Path(gettempdir()), with_floors=False,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Stores from the template, each with one change to one of its files."""

    def make(name: str, file: str = "", old: str = "", new: str = "") -> Path:
        place = tmp_path / name
        write_template(place)
        if file:
            text = (place / file).read_text()
            assert old in text
            (place / file).write_text(text.replace(old, new))
        return place

    return make


def gate(
    job: Job, base: object, candidate: object, *, only: tuple[str, ...] = (LOAD,), seconds: float = 90
) -> RunResult:
    effort = Effort(seconds=seconds, turns=3, only=only)
    with both_sides(str(base), str(candidate), str(job.store)) as (left, right):
        return Gate(left, right, effort=effort).run(job)


async def _schemas(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select nspname from pg_namespace where nspname like 'eventmark%'")
        return [row[0] for row in rows]
    finally:
        await connection.close()


@pytest.mark.alone
def test_a_statement_that_does_more_work_is_found_by_its_counters(
    job: Job, store: Callable[..., Path]
) -> None:
    counting = "    and (select count(*) from {schema}.events) > 0\norder by version"
    worse = store("worse", "load_aggregate.sql", "order by version", counting)
    found = gate(job, store("plain"), worse, seconds=3600)  # it ends when the work was seen twice
    assert found.verdict is Verdict.BROKEN
    assert any(reason.startswith(f"{LOAD}: more work: buffers") for reason in found.reasons), (
        found.reasons,
        found.sections,
    )
    assert any(reason.startswith("plans of load_aggregate: worse") for reason in found.reasons)
    assert {plan.statement for plan in found.plans} == {"load_aggregate"}
    assert asyncio.run(_schemas(job.server.dsn)) == []


@pytest.mark.parametrize(("seen", "worse"), [([True, False], False), ([True, True], True), ([False], False)])
def test_a_plan_is_worse_when_it_is_so_again(
    monkeypatch: pytest.MonkeyPatch, seen: list[bool], worse: bool
) -> None:
    looks = iter(seen)

    def compared(_: object) -> tuple[list[PlanChange], list[PlanResult]]:
        change = PlanChange(
            statement="append_events", condition="any", base=Verdict.MET, candidate=Verdict.MET,
            broken_by=["pages: 29"] if next(looks) else [], counters=[],
        )  # fmt: skip
        return [change], []

    monkeypatch.setattr("eventmark.experiments.gate.gate._compared", compared)
    bout = Bout(rules=Rules(), table={})
    examine_both(bout, (), no_progress)
    assert [plan.worse for plan in bout.plans] == [worse]
    assert list(looks) == []


@pytest.mark.long
def test_a_dropped_index_is_named(job: Job, store: Callable[..., Path]) -> None:
    index = "create unique index events_stream on {schema}.events (tenant, stream, version);\n"
    found = gate(job, store("plain"), store("worse", "indexes.sql", index, ""))
    assert found.verdict is Verdict.BROKEN
    assert any("events_stream" in reason for reason in found.reasons), found.reasons


@pytest.mark.long
def test_a_slow_statement_is_found_by_its_times_alone(job: Job, store: Callable[..., Path]) -> None:
    slow = store(
        "slow", "read_snapshot.sql", "order by", "    and (select true from pg_sleep(0.005))\norder by"
    )
    found = gate(job, store("plain"), slow, only=("read_snapshot",))
    assert found.verdict is Verdict.BROKEN
    assert found.reasons[0].startswith(
        "read_snapshot: slower: p"
    )  # by the middle or by the tail, whichever was first
    figure = found.figures["read_snapshot p50, candidate over base"]
    assert figure.low is not None and 1.02 < figure.low <= figure.value


@pytest.mark.long
def test_a_candidate_that_answers_wrong_is_broken(job: Job, store: Callable[..., Path]) -> None:
    wrong = store("wrong", "load_aggregate.sql", "version >= :from_sequence", "version > :from_sequence")
    found = gate(job, store("plain"), wrong)
    assert found.verdict is Verdict.BROKEN
    assert found.reasons[0].startswith(f"{LOAD}: failed")


@pytest.mark.long
def test_alike_sides_do_the_same_work_and_no_plan_is_worse(job: Job, store: Callable[..., Path]) -> None:
    """The time is over before much is known: what can be told by then is that nothing is worse."""
    found = gate(job, store("one"), store("two"), only=(LOAD, "append_events[1]"), seconds=8)
    assert found.verdict is not Verdict.BROKEN, found.reasons
    section = found.sections[0]
    assert [table for table in section.tables if table.title.startswith("Work per call")] == []
    assert found.plans == []


@pytest.mark.long
def test_a_setting_reaches_the_side_it_is_named_for_and_no_other(
    job: Job, store: Callable[..., Path]
) -> None:
    """Without indexes to scan, the candidate reads the whole table for every stream."""
    slow = "server:enable_indexscan=off,enable_bitmapscan=off,enable_indexonlyscan=off"
    found = gate(replace(job, store=str(store("plain"))), "server:default", slow)
    assert found.verdict is Verdict.BROKEN
    assert any("more work" in reason for reason in found.reasons), found.reasons


@pytest.mark.parametrize(
    ("settings", "said"),
    [("no_such_setting=1", "no setting no_such_setting"), ("work_mem=nonsense", "candidate .*work_mem")],
)
def test_a_setting_that_is_none_is_refused(job: Job, settings: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gate(job, "server:default", f"server:{settings}")
    assert asyncio.run(_schemas(job.server.dsn)) == []


def test_a_corpus_of_a_shape_that_an_older_revision_does_not_know_is_refused(job: Job) -> None:
    shaped = replace(job, corpus=replace(job.corpus, shape=CorpusShape(stream_length=9)))
    with pytest.raises(UsageError, match="a corpus of the usual shape"):
        gate(shaped, "server:default", "server:work_mem=8MB")
    assert asyncio.run(_schemas(job.server.dsn)) == []


def test_settings_that_no_session_may_change_need_a_server_of_our_own(job: Job) -> None:
    with pytest.raises(UsageError, match="shared_buffers can only be set on a server of our own"):
        gate(
            replace(job, server=replace(job.server, kind="dsn")),
            "server:default",
            "server:shared_buffers=16MB",
        )


@pytest.mark.long
def test_settings_that_no_session_may_change_give_each_side_a_server_of_its_own(job: Job) -> None:
    found = gate(job, "server:default", "server:shared_buffers=16MB", seconds=10)
    assert found.verdict is not Verdict.BROKEN, found.reasons
    assert "shared_buffers = 16MB" in found.sections[0].text[0]


@pytest.mark.long
def test_two_servers_by_dsn_are_two_sides(job: Job) -> None:
    dsn = job.server.dsn
    found = gate(job, dsn, dsn, only=("create_head_token",), seconds=10)
    assert found.verdict is not Verdict.BROKEN, found.reasons
    assert asyncio.run(_schemas(dsn)) == []


def test_a_store_that_is_wrong_is_named_with_its_side(job: Job, store: Callable[..., Path]) -> None:
    broken = store("broken", "load_aggregate.sql", "from {schema}.events", "from {schema}.nothing")
    small = replace(job, corpus=replace(job.corpus, events=1000))
    with pytest.raises(UsageError, match=r"candidate .*load_aggregate\.sql:\d+"):
        gate(small, store("plain"), broken)
    assert asyncio.run(_schemas(job.server.dsn)) == []


def test_a_side_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "eventmark").mkdir()
    (tmp_path / "eventmark" / "__init__.py").write_text("raise RuntimeError('these are my last words')")
    side = Side(role="base", named="HEAD", store="eaf", source=tmp_path)
    ground = Ground(side=side, place=Place(dsn="", schema="", store=""), sample=tmp_path / "none")
    with pytest.raises(CannotRunError, match=r"base HEAD ended without an answer: .*these are my last words"):
        ground.ask(Turn(operation=LOAD, calls=1), Turned)


def test_a_side_of_another_protocol_reports_it(tmp_path: Path) -> None:
    ground = Ground(
        side=Side(role="candidate", named=".", store="eaf"), place=Place(dsn="", schema="", store="eaf"),
        sample=tmp_path / "none",
    )  # fmt: skip
    with pytest.raises(UsageError, match="protocol"):
        ground.ask(Open(version=99, place=ground.place, sample="", operations=[], fork=0), Opened)
