"""The instrument: a planted delay is measured, a planted fault fails, what a store lacks is skipped."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from eventmark.jobs.profiles import Profile
from eventmark.operations.benchmark import TOO_NOISY, BenchmarkPlan, run_benchmark
from eventmark.results.results import Verdict
from eventmark.results.targets import DEFAULT_TARGETS, Target
from eventmark.seeding import CorpusSample, sample_corpus, seed
from eventmark.server import Server
from eventmark.stores import find_store, write_template
from eventmark.workload import CorpusPlan

EVENTS = 20_000
PROFILE = Profile(
    name="test", forks=2, warmup_calls=5, warmup_iterations_max=5, samples=30, seconds_max=1.5, cold_samples=5,
    with_peers=False,
)  # fmt: skip


def _sample(dsn: str, store: str) -> CorpusSample:
    async def draw() -> CorpusSample:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("create extension if not exists pg_stat_statements")
            return await sample_corpus(connection, find_store(store), schema="eventmark", events=EVENTS)
        finally:
            await connection.close()

    return asyncio.run(draw())


def _plan(server: Server, dsn: str, store: str, **changes: object) -> BenchmarkPlan:
    definition = find_store(store)
    asyncio.run(seed(dsn, definition, CorpusPlan(EVENTS), schema="eventmark", workers=2))
    plan = BenchmarkPlan(
        server=replace(server, dsn=dsn), store=store, definition=definition, schema="eventmark",
        sample=_sample(dsn, store), profile=PROFILE, targets=DEFAULT_TARGETS, seed=1, with_floors=False,
    )  # fmt: skip
    return replace(plan, **changes)  # type: ignore[arg-type]


@pytest.mark.long
def test_every_operation_is_measured_and_met_on_a_small_corpus(server: Server, corpus: str) -> None:
    results, skipped = run_benchmark(_plan(server, corpus, "eaf", with_floors=True))
    assert set(results) == set(DEFAULT_TARGETS)
    assert set(skipped.values()) <= {TOO_NOISY}  # what tests beside this one may bring about
    for name, result in results.items():
        assert result.failed == 0, (name, result.reason)
        assert result.samples > 0
        assert len(result.forks) == PROFILE.forks
        assert result.latency_ms.p50 <= result.latency_ms.p95 <= result.latency_ms.max
    assert results["load_aggregate[1000]"].work["rows"] == pytest.approx(1000)
    for name in ("append_events[1]", "append_events[100]", "load_aggregate[1000]"):
        floors = [floor.tool for floor in results[name].floors]
        assert floors == ([] if f"pgbench as the baseline of {name}" in skipped else ["pgbench"])


@pytest.fixture
def own_store(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


def test_a_planted_delay_is_measured_and_breaks_the_target(
    server: Server, own_corpus: str, own_store: Path
) -> None:
    statement = own_store / "load_aggregate.sql"
    text = statement.read_text()
    slow = text.replace("order by version", "    and (select true from pg_sleep(0.03))\norder by version")
    assert slow != text
    statement.write_text(slow)
    results, _ = run_benchmark(_plan(server, own_corpus, str(own_store), only=("load_aggregate[1000]",)))
    found = results["load_aggregate[1000]"]
    assert found.latency_ms.p50 >= 30
    assert found.interval_ms["p95"].low >= 30
    assert found.verdict is Verdict.BROKEN


@pytest.mark.usefixtures("spawned_workers")  # for what they print
def test_a_wrong_answer_fails_the_operation_and_states_what_came(
    server: Server, own_corpus: str, own_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    statement = own_store / "load_aggregate.sql"
    statement.write_text(
        statement.read_text().replace("version >= :from_sequence", "version > :from_sequence")
    )
    results, _ = run_benchmark(_plan(server, own_corpus, str(own_store), only=("load_aggregate[1000]",)))
    found = results["load_aggregate[1000]"]
    assert found.failed > 0
    assert found.verdict is Verdict.BROKEN
    assert "no call succeeded: 1000 events were expected of aggregate" in found.reason
    assert found.reason.endswith("999 came")
    assert found.latency_ms is None
    assert "Warning" not in capfd.readouterr().err


def test_what_a_store_lacks_is_skipped_with_the_reason(
    server: Server, own_corpus: str, own_store: Path
) -> None:
    (own_store / "create_token_at.sql").unlink()
    (own_store / "read_snapshot.sql").unlink()
    results, skipped = run_benchmark(_plan(server, own_corpus, str(own_store), only=("create_head_token",)))
    assert set(results) == {"create_head_token"}
    assert "create_token_at.sql" in skipped["create_token_at"]
    assert "snapshots" in skipped["store_snapshot"]


def test_a_target_nobody_can_meet_is_broken_and_one_nobody_can_miss_is_met(
    server: Server, corpus: str
) -> None:
    plan = _plan(server, corpus, "eaf", only=("create_head_token", "read_snapshot"))
    targets = {"create_head_token": Target("p50", 0.0001), "read_snapshot": Target("p50", 10_000.0)}
    results, _ = run_benchmark(replace(plan, targets=targets))
    assert results["create_head_token"].verdict is Verdict.BROKEN
    assert results["read_snapshot"].verdict is Verdict.MET


def test_an_operation_without_target_is_inconclusive(server: Server, corpus: str) -> None:
    results, _ = run_benchmark(_plan(server, corpus, "eaf", only=("create_head_token",), targets={}))
    assert results["create_head_token"].verdict is Verdict.INCONCLUSIVE


def test_each_writing_fork_has_streams_of_its_own(server: Server, corpus: str) -> None:
    names = ("append_events[1]", "append_events[10]", "store_snapshot")
    results, _ = run_benchmark(_plan(server, corpus, "eaf", only=names, with_floors=True))
    assert [results[name].failed for name in names] == [0, 0, 0]
