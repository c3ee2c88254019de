"""Stress: each case ends with the store verified and the system as before; planted faults are found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventmark.choices import chosen
from eventmark.errors import UsageError, VersionConflictError
from eventmark.experiments.stress.book import Attempt, Book
from eventmark.experiments.stress.stage import Stage, back_to_normal, probe, slowdown
from eventmark.experiments.stress.stress import CASES, STEP_S, Stress
from eventmark.jobs.job import Job
from eventmark.judgement.symptoms import Limit
from eventmark.results.results import Finding, RunResult, Section, Verdict
from eventmark.stores import append_beside, find_store, open_store, write_template
from eventmark.verify import Outcome
from tests.database import fetch

ALWAYS = {"back to normal", "nothing left open", "I1", "I2", "I3", "I4", "I5", "I6", "I13"}


def stage_of(job: Job, step_s: float = 0.3) -> Stage:
    tenants = ("tenant-0000", "tenant-0010")
    return Stage(job=job, book=Book(job.definition, tenants), step_s=step_s)


def stressed(job: Job, *cases: str) -> RunResult:
    return Stress(cases=cases).run(job)


def section_of(result: RunResult, name: str) -> Section:
    return next(section for section in result.sections if section.name == f"stress-{name}")


def unmet(section: Section) -> list[Finding]:
    """What is not MET. A busy machine may leave the speed afterwards undecided, and nothing else."""
    return [
        one for one in section.findings if one.verdict is not Verdict.MET and one.name != "back to normal"
    ]


def rows(section: Section) -> list[dict[str, Any]]:
    (table,) = section.tables[:1]
    return [dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows]


@pytest.mark.long
def test_every_case_is_verified_and_leaves_everything_as_it_was(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STEP_S, "quick", 0.4)
    result = stressed(job, *CASES)
    assert {section.name for section in result.sections} == {f"stress-{name}" for name in CASES} | {
        "bottleneck"
    }
    for name in CASES:
        section = section_of(result, name)
        assert {finding.name for finding in section.findings} > ALWAYS, name
        assert unmet(section) == [], name
    assert result.sections[-1].closing

    exhausted = rows(section_of(result, "pool-exhausted"))
    assert exhausted == [{"answer": "StoreUnavailableError", "callers": 20.0}]

    small, fitting = rows(section_of(result, "pool-too-small"))
    assert small["waiting for a connection"] > 0.93 > fitting["waiting for a connection"]
    assert small["limited by"] in (Limit.POOL, Limit.CLIENT)  # of a client that hardly gets a processor, this

    hot = rows(section_of(result, "hot-aggregate"))
    assert [row["writers"] for row in hot] == [1, 2, 4, 8, 16]
    assert hot[0]["lost"] == 0 < hot[-1]["lost"]
    assert all(row["won"] > 0 for row in hot)

    blocks = section_of(result, "deadlock").blocks
    assert len(blocks) == 3
    for block in blocks:
        assert block.text.count("domain_events") >= 2
        assert "waits for ShareLock on transaction" in block.text
        assert "ended by the server" in block.text and "went on and committed" in block.text

    long = section_of(result, "long-transaction")
    named = next(finding for finding in long.findings if finding.name == "the stall is named")
    assert "eventmark-stress" in named.observed and "idle in transaction" in named.observed
    (followed,) = rows(long)
    assert followed["furthest behind"] > 20 and followed["delivered of these"] == 0

    before, during, after = rows(section_of(result, "checkpoint"))
    assert min(before["appends"], during["appends"], after["appends"]) > 0
    assert (
        fetch(
            job.server.dsn,
            "select count(*) from pg_stat_activity where application_name = 'eventmark-stress'",
        )
        == 0
    )


def test_what_cannot_be_done_is_skipped_with_the_reason(job: Job) -> None:
    elsewhere = replace(job, server=replace(job.server, directory=None))
    result = stressed(elsewhere, "connections-refused")
    assert "only on servers of Eventmark's own" in result.skipped["connections-refused"]
    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.long
def test_a_store_of_plain_sql_is_stressed_alike(job: Job, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    own = replace(
        job, store=str(tmp_path / "own"), definition=find_store(str(tmp_path / "own")), schema="own",
        corpus=replace(job.corpus, events=2000),
    )  # fmt: skip
    result = stressed(own, "hot-aggregate", "deadlock", "long-transaction")
    for section in result.sections:
        assert unmet(section) == [], section.name


def test_an_unknown_case_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'deadlock'"):
        chosen("deadlok", CASES, "case")
    assert chosen("deadlock, checkpoint", CASES, "case") == ("deadlock", "checkpoint")
    assert chosen("all", CASES, "case") == tuple(CASES)


async def verdicts(stage: Stage) -> dict[str, Verdict]:
    async with stage.connection() as connection:
        return {one.name: one.verdict for one in await stage.book.check(connection, stage.job.schema)}


def test_the_book_finds_what_was_lost_and_what_was_never_sent(job: Job) -> None:
    async def run() -> tuple[dict[str, Verdict], dict[str, Verdict], dict[str, Verdict]]:
        stage = stage_of(job)
        stream, other = stage.book.new_stream(), stage.book.new_stream()
        store = await open_store(job.definition, job.server.dsn, schema=job.schema, pool_max=2)
        async with store:  # type: ignore[attr-defined]
            await stage.book.append(store, stream, 3, 0)
            with pytest.raises(VersionConflictError):
                await stage.book.append(store, stream, 1, 1)
        good = await verdicts(stage)
        async with stage.connection() as connection, connection.transaction():
            refused = Attempt()  # told to its writer as refused, and stored all the same
            events = stage.book.events(refused, other, 1, 0)
            await append_beside(connection, job.definition, job.schema, other, events)
            stage.book.settle(refused, Outcome.FAILED)
        kept = await verdicts(stage)
        lost = Attempt()
        stage.book.events(lost, stream, 1, 3)
        stage.book.settle(lost, Outcome.OK)
        return good, kept, await verdicts(stage)

    good, kept, lost = asyncio.run(run())
    assert set(good.values()) == {Verdict.MET}
    assert kept["I2"] is Verdict.BROKEN
    assert lost["I1"] is Verdict.BROKEN


def test_a_transaction_left_open_is_found(job: Job) -> None:
    async def run() -> list[Finding]:
        stage = stage_of(job)
        before = await probe(stage)
        async with stage.connection() as left, left.transaction():
            await left.execute("select pg_current_xact_id()")
            return await back_to_normal(stage, before)

    found = {finding.name: finding for finding in asyncio.run(run())}
    assert found["nothing left open"].verdict is Verdict.BROKEN
    assert "1 transactions" in found["nothing left open"].observed


def test_a_system_that_stays_slow_is_not_back_to_normal() -> None:
    random = np.random.default_rng(1)
    before = random.integers(900, 1100, 60)
    low, high = slowdown(before, before * 3, random)
    assert low > 2.5 and high < 3.5
    low, high = slowdown(before, random.integers(900, 1100, 60), random)
    assert low < 1 < high


def test_a_store_whose_appends_do_not_wait_for_each_other_has_no_deadlock_to_show(
    job: Job, tmp_path: Path
) -> None:
    write_template(tmp_path / "own")
    indexes = tmp_path / "own" / "indexes.sql"
    indexes.write_text(indexes.read_text().replace("unique index events_stream", "index events_stream"))
    own = replace(
        job, store=str(tmp_path / "own"), definition=find_store(str(tmp_path / "own")), schema="own",
        corpus=replace(job.corpus, events=1000),
    )  # fmt: skip
    section = section_of(stressed(own, "deadlock"), "deadlock")
    found = {one.name: one.verdict for one in unmet(section)}
    assert found["deadlocks"] is Verdict.INCONCLUSIVE
    assert found["I5"] is Verdict.BROKEN  # and that is what such a store is to be told
