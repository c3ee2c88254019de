"""One volume measured: the large corpus and the small one in turns, and everything that is counted."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from eventmark.experiments.scale.accounts import WARM_CALLS, AccountTask, run_accounted
from eventmark.experiments.scale.large_reads import LargeReadTask, places_for, run_large_read
from eventmark.experiments.scale.relations import cache_counts, index_scans, relations_of
from eventmark.experiments.scale.rounds import RoundTask, run_round
from eventmark.experiments.scale.steps import (
    AccountPair,
    Counter,
    Growth,
    LargeRead,
    Relation,
    Round,
    Step,
)
from eventmark.jobs.examination import examine_repeatedly
from eventmark.jobs.job import Job, draw_sample
from eventmark.jobs.profiles import Profile
from eventmark.jobs.warming import warm
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.forks import ForkTask, own_part
from eventmark.seeding import CorpusSample, Progress, remove_appended
from eventmark.server.loop import ask, on_loop
from eventmark.workers import call, worker_processes
from eventmark.workload import CorpusPlan

SETTLE_S = 0.1
"""A session's statistics are told when it ends; so long it takes them to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured at each volume: ``rounds`` of each operation, then ``accounts`` of ``account_calls`` each.

    The profile's samples and seconds are of one side in one round. ``fresh``: each round is a process of its own.
    ``only``: these operations alone, where any are named.
    """

    profile: Profile
    rounds: int
    accounts: int
    account_calls: int
    fresh: bool = True
    only: tuple[str, ...] = ()


EFFORTS = {
    "quick": Effort(
        profile=Profile(
            name="quick", forks=2, warmup_calls=3, warmup_iterations_max=2, samples=20, seconds_max=0.3, cold_samples=0
        ),
        rounds=2, accounts=2, account_calls=6, fresh=False,
        only=("append_events[1]", "load_aggregate[1000]", "stream_events[1000]", "read_snapshot"),
    ),
    "short": Effort(
        profile=Profile(
            name="short", forks=6, warmup_calls=10, warmup_iterations_max=6, samples=150, seconds_max=0.6,
            cold_samples=0,
        ),
        rounds=6, accounts=3, account_calls=30, fresh=False,
        only=(
            "append_events[1]", "append_events[100]", "load_aggregate[1000]", "stream_events[1000]", "read_snapshot",
            "create_head_token", "create_token_at",
        ),
    ),
    "standard": Effort(
        profile=Profile(
            name="standard", forks=8, warmup_calls=25, warmup_iterations_max=12, samples=500, seconds_max=2.0,
            cold_samples=0,
        ),
        rounds=8, accounts=6, account_calls=100,
    ),
    "full": Effort(
        profile=Profile(
            name="full", forks=12, warmup_calls=50, warmup_iterations_max=20, samples=1000, seconds_max=5.0,
            cold_samples=0,
        ),
        rounds=12, accounts=8, account_calls=200,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledCorpus:
    """A corpus, and what is drawn from it."""

    job: Job
    sample: CorpusSample


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """Both corpora before they are measured, brought into the cache; of the large one, what it was read so far."""

    relations_small: list[Relation]
    relations_large: list[Relation]
    hits: int
    reads: int
    notes: dict[str, str]


class _Rounds:
    """What comes in while a volume is measured."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[Round]] = defaultdict(list)
        self.accounts: dict[str, list[AccountPair]] = {}
        self.scans: dict[str, dict[str, float]] = {}


def side_of(job: Job, schema: str, plan: CorpusPlan, volume: int) -> SampledCorpus:
    """The corpus in ``schema``, that has ``volume`` of the plan's events."""
    own = replace(job, schema=schema, corpus=plan)
    return SampledCorpus(job=own, sample=draw_sample(replace(own, corpus=replace(plan, events=volume))))


def measure_volume(
    volume: int,
    small: SampledCorpus,
    large: SampledCorpus,
    effort: Effort,
    growth: Growth,
    progress: Progress,
) -> Step:
    """Everything of one volume; what was appended meanwhile is taken out again. Raises ``CannotRunError``."""
    began_s = time.monotonic()
    dsn = large.job.server.dsn
    before = ask(dsn, _looked_at, small, large)
    rounds = _Rounds()
    _measure_rounds(volume, small, large, effort, rounds, progress)
    _account(volume, small, large, effort, rounds, progress)
    time.sleep(SETTLE_S)
    hits_after, reads_after = ask(dsn, cache_counts, large.job.schema)
    large_reads = _read_much(volume, large)
    on_loop(_tidy(small, large))
    counters = _count_plans(large, progress)
    return Step(
        volume=volume, seconds=time.monotonic() - began_s, growth=growth, rounds=dict(rounds.rounds),
        accounts=rounds.accounts,
        scans=rounds.scans, relations_small=before.relations_small, relations_large=before.relations_large,
        hits=max(hits_after - before.hits, 0), reads=max(reads_after - before.reads, 0), large_reads=large_reads,
        counters=counters, skipped=operations_of(large, effort)[1], notes=before.notes,
    )  # fmt: skip


async def _looked_at(
    connection: asyncpg.Connection[Any], small: SampledCorpus, large: SampledCorpus
) -> _Before:
    server, notes = large.job.server, {}
    relations_large, missing = await relations_of(connection, server, large.job.schema)
    relations_small, _ = await relations_of(connection, server, small.job.schema)
    if missing:
        notes["levels of indexes"] = missing
    if missing := await warm(server, (large.job.schema, small.job.schema)):
        notes["corpora brought into the cache beforehand"] = missing
    hits, reads = await cache_counts(connection, large.job.schema)
    return _Before(
        relations_small=relations_small, relations_large=relations_large, hits=hits, reads=reads, notes=notes
    )


def operations_of(side: SampledCorpus, effort: Effort) -> tuple[list[str], dict[str, str]]:
    """What can be measured, and what cannot with its reason."""
    capabilities = side.job.definition.capabilities
    left_out = f"the {effort.profile.name} profile leaves it out"
    missing = {
        name: reason
        for name, kind in OPERATIONS.items()
        if (reason := kind.missing(capabilities, side.sample))
        or (reason := left_out if effort.only and name not in effort.only else "")
    }
    return [name for name in OPERATIONS if name not in missing], missing


def _measure_rounds(
    volume: int,
    small: SampledCorpus,
    large: SampledCorpus,
    effort: Effort,
    rounds: _Rounds,
    progress: Progress,
) -> None:
    """Rounds go around all operations, so that a drift of the machine meets all of them."""
    names, _ = operations_of(large, effort)
    stage, total = f"measure {volume:,}", len(names) * effort.rounds
    with worker_processes(1, fresh=effort.fresh) as executor:
        for number in range(effort.rounds):
            for index, name in enumerate(names):
                progress(stage, number * len(names) + index, total)
                task = _task(name, small, large, effort, number)
                rounds.rounds[name].append(call(executor, run_round, task))
    progress(stage, total, total)


def _task(name: str, small: SampledCorpus, large: SampledCorpus, effort: Effort, number: int) -> RoundTask:
    """Each round, and then each account, appends to streams of its own."""
    tasks = [
        ForkTask(
            dsn=side.job.server.dsn, store=side.job.store, schema=side.job.schema, operation=name, sample=side.sample,
            profile=effort.profile, seed=side.job.corpus.seed * 1000 + number,
        )
        for side in (small, large)
    ]  # fmt: skip
    parts = effort.rounds + effort.accounts
    return RoundTask(small=own_part(tasks[0], number, parts), large=own_part(tasks[1], number, parts))


def _account(
    volume: int,
    small: SampledCorpus,
    large: SampledCorpus,
    effort: Effort,
    rounds: _Rounds,
    progress: Progress,
) -> None:
    """Single calls, by a process that stays."""
    names = [name for name in operations_of(large, effort)[0] if OPERATIONS[name].statement]
    stage = f"account {volume:,}"
    with worker_processes(1) as executor:
        for index, name in enumerate(names):
            progress(stage, index, len(names))
            scans = ask(large.job.server.dsn, index_scans, large.job.schema)
            pairs = []
            for number in range(effort.accounts):
                sides = _task(name, small, large, effort, effort.rounds + number)
                task = AccountTask(sides=sides, calls=effort.account_calls)
                pairs.append(call(executor, run_accounted, task))
            time.sleep(SETTLE_S)
            accounts = [pair for pair in pairs if pair is not None and len(pair.large.latency_ns)]
            rounds.scans[name] = _scans_per_call(scans, large, accounts)
            if both := [pair for pair in accounts if len(pair.small.latency_ns)]:
                rounds.accounts[name] = both
    progress(stage, len(names), len(names))


def _scans_per_call(
    before: dict[str, int], large: SampledCorpus, accounts: Sequence[AccountPair]
) -> dict[str, float]:
    """Searches in each index of the large corpus for one call, those before the account counted as well."""
    after = ask(large.job.server.dsn, index_scans, large.job.schema)
    calls = sum(len(pair.large.latency_ns) + WARM_CALLS for pair in accounts)
    if not calls:
        return {}
    return {
        name: (scans - before.get(name, 0)) / calls
        for name, scans in after.items()
        if scans > before.get(name, 0)
    }


def _read_much(volume: int, large: SampledCorpus) -> list[LargeRead]:
    if not large.job.definition.capabilities.all_tenants_stream:
        return []
    places = places_for(large.sample.positions, volume)
    with worker_processes(1, fresh=True) as executor:
        return [
            call(executor, run_large_read,
                LargeReadTask(
                    dsn=large.job.server.dsn, store=large.job.store, schema=large.job.schema, events=events,
                    place=position,
                ))
            for events, position in places.items()
        ]  # fmt: skip


async def _tidy(*sides: SampledCorpus) -> None:
    for side in sides:
        await remove_appended(
            side.job.server.dsn, side.job.definition, side.job.schema, side.job.corpus.events
        )


def _count_plans(large: SampledCorpus, progress: Progress) -> list[Counter]:
    return [
        Counter(
            statement=plan.statement, condition=plan.condition, kind=plan.plan_kind, buffers=plan.work["buffers"],
            rows=plan.work["rows"], buffers_per_row=plan.work["buffers_per_row"], verdict=plan.verdict.value,
        )
        for plan in examine_repeatedly(large.job, progress, runs=1)[0]
        if plan.work
    ]  # fmt: skip
