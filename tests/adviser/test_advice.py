"""The advice as a whole: its ranking, its verdict, its script, and that a server is left as it was."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from eventmark.adviser.ablate import Difference
from eventmark.adviser.advice import Advice, chosen_parts, judge_trials
from eventmark.adviser.candidate import AppendCost, Candidate, Sizes, Trial
from eventmark.adviser.changes import SchemaTrials, try_everything
from eventmark.adviser.ranking import (
    Advised,
    advice_on_everything,
    advice_on_schema,
    enough_connections,
    is_worth,
)
from eventmark.adviser.script import INTERRUPTED, advice_script
from eventmark.adviser.sections import figures_of
from eventmark.adviser.settings import SettingTrial, SettingTrials, setting_candidates, try_settings
from eventmark.errors import UsageError
from eventmark.jobs.bottleneck import SECTION_NAME
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Interrupted
from eventmark.jobs.profiles import find_profile
from eventmark.results.results import RunResult, Verdict
from eventmark.server import Server
from eventmark.server.loop import connection_to
from eventmark.stats.ratios import Ratio
from eventmark.stores import find_store, make_scratch_store
from eventmark.workload import CorpusPlan
from tests.adviser.conftest import MakeCopies
from tests.experiments.results import assert_kept

COST, SIZES = AppendCost(wal_bytes=2000, pages=30), Sizes(table_bytes=1000, index_bytes=1000, events=10)
ALIKE = Ratio(value=1.0, low=0.98, high=1.02, count=8)


def candidate(name: str, **more: object) -> Candidate:
    return Candidate(kind="index", name=name, reason="", apply=(name,), script=(name,), risk="", **more)  # type: ignore[arg-type]


def trial(name: str, *, wal_bytes: float = 1900, rate: Ratio | None = None, **more: object) -> Trial:
    return Trial(
        candidate=candidate(name), before=COST, after=replace(COST, wal_bytes=wal_bytes), sizes_before=SIZES,
        sizes_after=SIZES, rate=rate, **more,
    )  # type: ignore[arg-type]  # fmt: skip


def changes(together: Trial | None, *trials: Trial, alike: Ratio = ALIKE) -> SchemaTrials:
    chosen = [one.candidate for one in trials]
    return SchemaTrials(alike=alike, trials=[*trials], chosen=chosen, together=together)


WORSE = Difference(statement="load_aggregate", condition="any", what="3 pages, then 300", factor=100)


@pytest.mark.parametrize(
    ("tried", "worth"),
    [
        (trial("a", wal_bytes=1500), True),
        (trial("a", wal_bytes=1990), False),
        (trial("a", wal_bytes=1990, rate=Ratio(value=1.2, low=1.1, high=1.3, count=8)), True),
        (trial("a", wal_bytes=1990, rate=Ratio(value=1.02, low=1.01, high=1.03, count=8)), False),
        (trial("a", wal_bytes=1990, rate=Ratio(value=1.2, low=0.9, high=1.6, count=8)), False),
        (trial("a", wal_bytes=1500, rate=Ratio(value=0.8, low=0.7, high=0.9, count=8)), False),
        (trial("a", wal_bytes=1500, worse=(WORSE,)), False),
        (trial("a", wal_bytes=1500, refusal="refused"), False),
        (replace(trial("a", wal_bytes=1000), candidate=candidate("a", weakens="integrity")), False),
    ],
)
def test_worth_it_is_what_saves_work_and_makes_nothing_worse_or_weaker(tried: Trial, worth: bool) -> None:
    assert is_worth(tried) is worth


def test_the_whole_comes_first_then_its_parts_by_what_they_bring() -> None:
    parts = (
        trial("a", rate=Ratio(value=1.05, low=1.0, high=1.1, count=3)),
        trial("b", rate=Ratio(value=1.3, low=1.2, high=1.4, count=3)),
    )
    whole = trial("all", wal_bytes=1200, rate=Ratio(value=1.4, low=1.35, high=1.45, count=8))
    found = advice_on_schema(changes(whole, *parts))
    assert [(one.what, one.gain) for one in found] == [("all", 1.4), ("b", 1.3), ("a", 1.05)]
    figures = figures_of(found, changes(whole, *parts))
    gain = figures["advised_append_gain"]
    assert (gain.value, gain.low, gain.high) == (1.4, 1.35, 1.45)
    assert figures["append_wal_bytes"].exact
    assert advice_on_schema(changes(trial("all", wal_bytes=1990), *parts)) == []
    assert advice_on_schema(changes(None)) == []


def test_changes_and_settings_at_once_come_before_the_changes_alone() -> None:
    whole = trial("with settings", wal_bytes=1200, rate=Ratio(value=1.5, low=1.4, high=1.6, count=8))
    assert [(one.what, one.gain) for one in advice_on_everything(whole)] == [("with settings", 1.5)]
    assert advice_on_everything(None) == []
    assert advice_on_everything(replace(whole, worse=(WORSE,))) == []
    figures = figures_of([], changes(None), whole)
    assert figures["advised_append_gain_with_settings"].low == 1.4
    assert judge_trials(changes(None), replace(whole, worse=(WORSE,)))[0] is Verdict.INCONCLUSIVE


def test_a_setting_that_makes_plans_worse_is_no_advice_however_quick_appends_are() -> None:
    quick = SettingTrial(
        name="plan_cache_mode", now="auto", value="force_generic_plan", reason="", generic_plans=True,
        rate=Ratio(value=1.2, low=1.1, high=1.3, count=8),
    )  # fmt: skip
    assert quick.is_advice
    assert not replace(quick, worse_plans=1).is_advice


@pytest.mark.long
def test_changes_are_tried_with_settings_and_no_plan_is_worse(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf-v3", single_pairs=1)
    drop = Candidate(
        kind="index", name="drop index idx_events_payload_type", reason="", apply=("drop index idx_events_payload_type",),
        script=(), risk="",
    )  # fmt: skip
    found = try_everything(copies, [drop], {"plan_cache_mode": "force_generic_plan"})
    assert found.candidate.name == "all of the following together, settings as well (2)"
    assert found.refusal == "" and found.worse == () and found.compared > 20
    assert found.rate is not None and found.wal_saved_bytes > 0


def test_a_store_that_can_be_bettered_is_not_broken() -> None:
    found = changes(
        trial("all", wal_bytes=1000, rate=Ratio(value=2.0, low=1.9, high=2.1, count=8)), trial("a")
    )
    assert judge_trials(found) == (Verdict.MET, [])


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (changes(None, alike=Ratio(value=1.2, low=1.1, high=1.3, count=8)), "copies that are alike differ"),
        (changes(None, alike=Ratio(value=0.8, low=0.7, high=0.9, count=8)), "copies that are alike differ"),
        (changes(None, alike=Ratio(value=0.824, low=0.0114, high=59.7, count=2)), "the rates decide nothing"),
        (changes(None, alike=Ratio(value=1.0, low=0.9, high=1.6, count=3)), "the rates decide nothing"),
        (changes(None, alike=Ratio(value=1.0, low=0.6, high=1.1, count=3)), "the rates decide nothing"),
        (changes(trial("all", worse=(WORSE,))), "load_aggregate 3 pages, then 300"),
        (changes(Trial(candidate=candidate("all"), refusal="deadlock")), "deadlock"),
    ],
)
def test_trials_that_cannot_be_trusted_decide_nothing(found: SchemaTrials, reason: str) -> None:
    verdict, reasons = judge_trials(found)
    assert verdict is Verdict.INCONCLUSIVE
    assert reason in reasons[0]


def test_as_few_connections_as_bring_nearly_the_most_are_enough() -> None:
    assert enough_connections({1: 100.0, 8: 500.0, 16: 960.0, 32: 1000.0, 64: 700.0}) == 16


def test_parts_are_named_and_mistakes_told() -> None:
    assert chosen_parts("all") == ("schema", "server", "application")
    assert chosen_parts("server, schema") == ("server", "schema")
    with pytest.raises(UsageError, match="no advice on 'sever'"):
        chosen_parts("sever")


def test_no_name_in_the_script_can_end_its_comment() -> None:
    advice = [
        Advised(
            what="a\n; drop table x; --",
            gain=1.5,
            script=("select 1",),
            risk="b\r\nselect 2",
            evidence="Indexes",
        )
    ]
    refused = Trial(candidate=candidate("c\nd", weakens="e\nf"), before=COST)
    script = advice_script(advice, [refused], schema="public", store="s\nt", evidence="r")
    code = [line for line in script.splitlines() if line and not line.startswith("--")]
    assert code == ['set search_path = "public";', "select 1;"]


def test_what_a_server_can_be_asked_for_is_bounded_and_durability_is_never_traded_silently() -> None:
    current = {
        "wal_compression": ("off", ["pglz", "lz4", "on", "off"]), "commit_delay": ("0", []), "jit": ("on", []),
        "plan_cache_mode": ("auto", []), "random_page_cost": ("4", []), "synchronous_commit": ("on", []),
    }  # fmt: skip
    found = {one.name: one for one in setting_candidates(current)}
    assert set(found) == set(current)
    assert found["wal_compression"].value == "lz4"
    assert [name for name, one in found.items() if one.weakens] == ["synchronous_commit"]
    off = replace(found["synchronous_commit"], rate=Ratio(value=3.0, low=2.9, high=3.1, count=8))
    assert not off.is_advice
    tuned = current | {
        "jit": ("off", []),
        "random_page_cost": ("1.1", []),
        "wal_compression": ("lz4", ["lz4"]),
    }
    assert {one.name for one in setting_candidates(tuned)} == {
        "commit_delay",
        "plan_cache_mode",
        "synchronous_commit",
    }


@pytest.mark.long
def test_settings_are_tried_and_the_server_stays_as_it_was(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf", single_pairs=1)

    async def everything() -> list[asyncpg.Record]:
        async with connection_to(copies.job.server.dsn) as connection:
            return list(await connection.fetch("select name, setting from pg_settings order by name"))

    before = asyncio.run(everything())
    found = SettingTrials()
    try_settings(copies, found)
    trials: dict[str, SettingTrial] = {one.name: one for one in found.trials}
    assert trials["commit_delay"].rate is not None
    assert trials["wal_buffers"].refusal == "needs a restart"
    assert found.wal_bytes_after_checkpoint and found.wal_bytes_later
    assert found.wal_bytes_after_checkpoint > found.wal_bytes_later
    assert asyncio.run(everything()) == before


@pytest.mark.parametrize(
    ("part", "stage", "done", "sections"),
    [
        ("server", "try settings", 1, ["advice", "advice-server"]),
        pytest.param(
            "schema", "try changes", 0, ["advice", "advice-indexes", "advice-schema"], marks=pytest.mark.long
        ),
        pytest.param("schema", "load", 0, None, marks=pytest.mark.long),
    ],
)
def test_what_was_tried_until_an_interrupt_is_kept_and_shown(
    server: Server,
    database: str,
    tmp_path: Path,
    part: str,
    stage: str,
    done: int,
    sections: list[str] | None,
) -> None:
    job = Job(
        server=replace(server, dsn=database), store="eaf-v3", definition=find_store("eaf-v3"), schema="advised",
        corpus=CorpusPlan(2_000), profile=find_profile("quick"), targets={}, command="eventmark advise", place=tmp_path,
    )  # fmt: skip

    def interrupting(at: str, amount: float, total: float) -> None:
        if at == stage and amount >= done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as ended:
        Advice(parts=(part,), out=tmp_path).run(job, interrupting)
    left = asyncio.run(fetch(database, "select nspname from pg_namespace where nspname like 'advised%'"))
    assert left == []
    if sections is None:  # nothing was tried yet
        assert not isinstance(ended.value, Interrupted) and not (tmp_path / "advice.sql").exists()
        return
    assert isinstance(ended.value, Interrupted)
    result = ended.value.result
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any(one.startswith("interrupted after ") for one in result.reasons), result.reasons
    assert [one.name for one in result.sections if one.name != SECTION_NAME] == sections
    advice, *parts = result.sections
    assert advice.verdict is Verdict.INCONCLUSIVE and INTERRUPTED in advice.text
    assert any(table.rows for one in parts for table in one.tables)
    assert f"-- {INTERRUPTED}" in (tmp_path / "advice.sql").read_text().splitlines()
    assert_kept(result, tmp_path)


@pytest.fixture(scope="module")
def advised(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """The table as first published, advised on in the quick profile, as ``eventmark advise`` does it."""
    out = tmp_path_factory.mktemp("advised")
    job = Job(
        server=server, store="eaf-v3", definition=find_store("eaf-v3"), schema="advised", corpus=CorpusPlan(15_000),
        profile=find_profile("quick"), targets={}, command="eventmark advise", place=out,
    )  # fmt: skip
    return Advice(parts=("schema", "application"), out=out).run(job), out


@pytest.mark.long
def test_the_table_as_first_published_is_advised_on_and_nothing_is_left(
    server: Server, advised: tuple[RunResult, Path]
) -> None:
    result, _ = advised
    assert [section.name for section in result.sections] == [
        "advice", "advice-indexes", "advice-schema", "advice-application",
    ]  # fmt: skip
    figures = result.figures
    assert figures["advice_count"].value == 8
    assert figures["append_wal_bytes"].value > 1.25 * figures["advised_append_wal_bytes"].value
    assert figures["append_pages"].value > 1.5 * figures["advised_append_pages"].value
    gain = figures["advised_append_gain"]
    assert gain.low is not None and gain.high is not None and gain.low < gain.value < gain.high
    assert figures["advised_append_gain_by_processor"].value > 0
    rows = result.sections[0].tables[0].rows
    assert rows[0][1] == "all of the following together (8)"
    assert "0 do more work than before" in " ".join(result.sections[0].text)
    left = asyncio.run(fetch(server.dsn, "select nspname from pg_namespace where nspname like 'advised%'"))
    assert left == []


@pytest.mark.long
def test_the_script_runs_as_it_is_on_a_store_in_use(server: Server, advised: tuple[RunResult, Path]) -> None:
    _, out = advised
    asyncio.run(make_scratch_store(server.dsn, find_store("eaf-v3"), "advised"))
    try:
        assert server.bin_directory is not None
        for _ in range(2):  # once more does no harm
            done = subprocess.run(
                [str(server.bin_directory / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", str(out / "advice.sql"), server.program_dsn],
                env={**os.environ, **server.program_environment}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        indexes = asyncio.run(fetch(
            server.dsn, "select indexname::text from pg_indexes where schemaname = 'advised' and tablename = 'domain_events' order by 1"
        ))  # fmt: skip
        assert [row[0] for row in indexes] == [
            "domain_events_event_id_key", "domain_events_pkey", "domain_events_stream_key", "idx_events_tenant_sequence",
            "idx_events_timestamp",
        ]  # fmt: skip
        checks = "select count(*) from pg_constraint where connamespace = 'advised'::regnamespace and contype = 'c'"
        assert asyncio.run(fetch(server.dsn, checks))[0][0] >= 2
    finally:
        asyncio.run(fetch(server.dsn, "drop schema advised cascade"))


async def fetch(dsn: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()
