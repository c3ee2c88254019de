"""The core operations measured: rounds of forks, each with its baseline right after it, then judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from eventmark.jobs.profiles import Profile
from eventmark.judgement.operation import client_of, fork_of, judged_operation
from eventmark.operations.cache import NOT_TOLD, BufferCache
from eventmark.operations.existing import APPENDING, CATALOGUES
from eventmark.operations.floors import FloorRounds, PgbenchFloors, floor_task
from eventmark.operations.forks import ForkSamples, ForkTask, own_part, run_fork, streams_needed
from eventmark.operations.operation import Operation
from eventmark.operations.peers import (
    BARE_OPERATIONS,
    LIBRARY_OPERATIONS,
    library_is_installed,
    run_bare_fork,
    run_library_fork,
)
from eventmark.operations.work import work_per_call
from eventmark.results.results import CacheState, ClientHealth, Floor, OperationResult
from eventmark.results.targets import Target
from eventmark.seeding import CorpusSample, Progress, no_progress
from eventmark.server import Server, StatementStatistics, statements_snapshot
from eventmark.server.loop import ask, connection_to, on_loop
from eventmark.stats.drift import Drift
from eventmark.stats.quantiles import latency_of
from eventmark.stores import StoreDefinition, open_store
from eventmark.workers import call, worker_processes

FLOOR_CALLS_SHARE = 1.0  # of a fork's samples
TOO_NOISY = "noise exceeded the cost of the statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """What to measure. ``store`` is the name or folder the definition came from: forks find it again.

    ``catalogue`` is one of ``CATALOGUES``; ``not_asked`` are statements that must not be run, each with the reason.
    """

    server: Server
    store: str
    definition: StoreDefinition
    schema: str
    sample: CorpusSample
    profile: Profile
    targets: Mapping[str, Target]
    seed: int
    with_floors: bool = True
    only: tuple[str, ...] = ()
    catalogue: str = "seeded"
    not_asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def operations(self) -> Mapping[str, type[Operation]]:
        return CATALOGUES[self.catalogue]


@dataclass(slots=True)
class Measured:
    """One operation's rounds as they come in."""

    forks: list[ForkSamples] = field(default_factory=list)
    cold: ForkSamples | None = None
    cold_note: str = ""
    floors: dict[str, FloorRounds] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)


SoFar = Callable[[], dict[str, OperationResult]]


def run_benchmark(
    plan: BenchmarkPlan,
    *,
    progress: Progress = no_progress,
    begun: Callable[[SoFar], None] = lambda so_far: None,
) -> tuple[dict[str, OperationResult], dict[str, str]]:
    """Results by operation, and what was skipped with its reason. ``begun`` is given what tells the results so far.

    Rounds go around all operations, so that a drift of the machine meets every operation alike; each floor
    is measured right after its fork, so that it meets both sides of a ratio alike.
    """
    skipped = {name: reason for name in plan.operations if (reason := _missing(name, plan))}
    names = [name for name in plan.operations if name not in skipped and (not plan.only or name in plan.only)]
    measured = {name: Measured() for name in names}
    profile = plan.profile
    floors = PgbenchFloors(
        plan.server, plan.definition, plan.schema, int(profile.samples * FLOOR_CALLS_SHARE), profile.forks
    )
    total = len(names) * (profile.forks + 1)
    random = np.random.default_rng([plan.seed, 5])

    def results() -> dict[str, OperationResult]:
        return {
            name: operation_result(name, operation, plan.targets.get(name), random)
            for name, operation in measured.items()
            if operation.forks
        }

    begun(results)
    with worker_processes(1, fresh=True) as executor:
        for number, name in enumerate(names):
            progress("measure", number, total)
            _measure_cold(plan, executor, name, measured[name])
        if plan.with_floors:
            on_loop(_prepare_floors(plan, floors, names))
        for round_number in range(profile.forks):
            for number, name in enumerate(names):
                progress("measure", len(names) * (round_number + 1) + number, total)
                _measure_round(plan, executor, floors, name, round_number, measured[name])
    if plan.with_floors:
        ask(plan.server.dsn, floors.remove)
    progress("measure", total, total)
    for name, reason in floors.missing.items():
        skipped[f"pgbench as the baseline of {name}"] = reason
    for name, operation in measured.items():
        unknown = [tool for tool, rounds in operation.floors.items() if rounds.floor() is None]
        skipped |= {f"{tool} as the baseline of {name}": TOO_NOISY for tool in unknown}
    return results(), skipped


def _missing(name: str, plan: BenchmarkPlan) -> str:
    """Why an operation cannot be measured; empty when it can."""
    kind = plan.operations[name]
    if reason := kind.missing(plan.definition.capabilities, plan.sample):
        return reason
    if kind.statement in plan.not_asked:
        return plan.not_asked[kind.statement]
    streams = len(plan.sample.streams)
    if streams < streams_needed(name, 2 * plan.profile.forks):
        return f"the corpus has only {streams} streams to write to, seed 1,000 events or more"
    return ""


def _task(plan: BenchmarkPlan, name: str, fork: int, *, cold: bool = False) -> ForkTask:
    return ForkTask(
        dsn=plan.server.dsn,
        store=plan.store,
        schema=plan.schema,
        operation=name,
        sample=plan.sample,
        profile=plan.profile,
        seed=plan.seed * 1000 + fork,
        cold=cold,
        catalogue=plan.catalogue,
    )


def _measure_cold(plan: BenchmarkPlan, executor: Executor, name: str, into: Measured) -> None:
    if not plan.operations[name].has_cold:
        return
    if plan.server.read_only:
        into.cold_note = f"{NOT_TOLD}the server's cache is others' as well"
        return
    into.cold_note = on_loop(BufferCache(plan.server, plan.schema).evict())
    if not into.cold_note:
        into.cold = call(executor, run_fork, _task(plan, name, 500, cold=True))


async def _prepare_floors(plan: BenchmarkPlan, floors: PgbenchFloors, names: Iterable[str]) -> None:
    store = await open_store(plan.definition, plan.server.dsn, schema=plan.schema, pool_max=1)
    async with store, connection_to(plan.server.dsn) as connection:
        for name in names:
            task = floor_task(_task(plan, name, 900), 0, plan.profile.forks)
            await floors.prepare(connection, name, task, store)


def _measure_round(
    plan: BenchmarkPlan,
    executor: Executor,
    floors: PgbenchFloors,
    name: str,
    number: int,
    into: Measured,
) -> None:
    forks = plan.profile.forks
    task = _task(plan, name, number)
    before = _statements_now(plan)
    fork = call(executor, run_fork, own_part(task, number, 2 * forks))
    into.work = work_per_call(before, _statements_now(plan), fork.calls) or into.work
    into.forks.append(fork)
    if not plan.with_floors or not len(fork.samples_ns):
        return
    ours_ms = latency_of(fork.samples_ns).p50

    def note(tool: str, theirs_ms: float | None) -> None:
        if theirs_ms is not None:
            into.floors.setdefault(tool, FloorRounds(tool)).pairs.append((ours_ms, theirs_ms))

    if floors.has(name):
        note("pgbench", floors.measure_ms(name, number))
    if name in BARE_OPERATIONS and plan.profile.with_peers:
        note("asyncpg", call(executor, run_bare_fork, task))
    if name in LIBRARY_OPERATIONS and plan.profile.with_peers and library_is_installed():
        note("eventsourcing", call(executor, run_library_fork, task))


def _statements_now(plan: BenchmarkPlan) -> dict[str, StatementStatistics] | None:
    """None where others run the same statements."""
    return None if plan.server.read_only else ask(plan.server.dsn, statements_snapshot)


def operation_result(
    name: str, measured: Measured, target: Target | None, random: np.random.Generator
) -> OperationResult:
    """One operation's forks together, judged by its target."""
    forks = measured.forks
    seconds = sum(fork.seconds for fork in forks)
    return judged_operation(
        [fork.samples_ns for fork in forks],
        target,
        random,
        mode="sample",
        throughput_per_s=sum(len(fork.samples_ns) for fork in forks) / seconds if seconds else 0.0,
        client=client_of_forks(name, forks),
        failed=sum(fork.failed for fork in forks),
        failure=next((fork.failure for fork in forks if fork.failure), ""),
        drift=Drift.NONE if all(fork.steady for fork in forks) else Drift.EITHER,
        forks=[
            fork_of(fork.samples_ns, warmup_iterations=fork.warmup_iterations, steady=fork.steady)
            for fork in forks
            if len(fork.samples_ns)
        ],
        cache=_cache(measured),
        floors=_floors(measured),
        work=measured.work,
        stretches=[(fork.began_s, fork.ended_s) for fork in forks],
    )


def client_of_forks(name: str, forks: Sequence[ForkSamples]) -> ClientHealth:
    """The worst of the forks' clients."""
    return client_of(
        max(fork.cpu_share for fork in forks),
        loop_lag_ms_p99=max(fork.loop_lag_ms_p99 for fork in forks),
        pool_wait_ms_p95=max(fork.pool_wait_ms_p95 for fork in forks),
        asks_server=bool(APPENDING[name].statement),
    )


def _cache(measured: Measured) -> CacheState | None:
    cold, series = measured.cold, [fork.samples_ns for fork in measured.forks if len(fork.samples_ns)]
    warm = latency_of(np.concatenate(series)) if series else None
    if cold is None:
        return CacheState(cold=None, warm=warm, note=measured.cold_note) if measured.cold_note else None
    return CacheState(
        cold=latency_of(cold.samples_ns) if len(cold.samples_ns) else None,
        warm=warm,
        cold_samples=len(cold.samples_ns),
        note="cold: not in shared buffers; the operating system may still have had the pages",
    )


def _floors(measured: Measured) -> list[Floor]:
    return [floor for rounds in measured.floors.values() if (floor := rounds.floor()) is not None]
