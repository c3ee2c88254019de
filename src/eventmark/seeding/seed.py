"""Seeding: the corpus loaded by several processes, indexed, analysed; resumed where it was interrupted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from eventmark.engine import read_marker
from eventmark.engine.schema import Marker, Purpose, in_use
from eventmark.errors import CannotRunError
from eventmark.results.results import Series
from eventmark.seeding.accounts import begin_appending, check_accounts, drop_corpus, is_appended_to
from eventmark.seeding.indexes import finish_table, mend_right_edges, refresh_table, set_next_position
from eventmark.seeding.ledger import (
    SeededCorpus,
    Stage,
    batches_done,
    create_ledger,
    read_ledger,
    set_stage,
)
from eventmark.seeding.load import NO_MORE, LoadedBatch, LoadTask, load_batches, load_task
from eventmark.seeding.progress import Progress, no_progress
from eventmark.server.loop import connection_to
from eventmark.server.search_path import confined_dsn
from eventmark.stores import StoreDefinition, install_store, read_shape
from eventmark.workers import Crew, own_peak_rss_mib
from eventmark.workers.cluster import ClusterWorkers, taken_workers
from eventmark.workload import BATCH_EVENTS, CorpusPlan

WORKERS = 2  # as many as keep the server busy: a batch is made while the other worker's is loaded
BYTES_PER_EVENT = {"realistic": 2200, "small": 1400, "lean": 720}
"""Heap, TOAST, five indexes, and the index builds' temporary files, by profile of the payloads."""

BYTES_BESIDE_PAYLOAD = 900
"""The same without the payload, for payloads of the user's own."""

AHEAD = 2
"""Batches that a worker has been given: the one that it loads, and the next."""

LOOK_EVERY_S = 0.05
SERIES_POINTS_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedReport:
    """What seeding did. ``events`` and ``seconds`` are of this run; nothing is loaded where all was there."""

    corpus: SeededCorpus
    reused: bool
    resumed: bool
    events: int
    stage_seconds: dict[str, float] = field(default_factory=dict)
    growth: Series | None = None
    peak_rss_mib: float = 0.0

    @property
    def seconds(self) -> float:
        """Generation, load, indexes and ANALYZE; VACUUM, which a server does by itself, is told apart."""
        return sum(seconds for stage, seconds in self.stage_seconds.items() if stage != "vacuum")

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


def estimated_bytes(plan: CorpusPlan, events: int | None = None) -> int:
    """Room on disk for the plan's events, or so many of them, to be compared with what is free beforehand."""
    if plan.samples or plan.shape.payload_sizes:
        mean = sum(
            size_class.share * (size_class.low_bytes + size_class.high_bytes) / 2
            for size_class in plan.size_classes
        )
        each = BYTES_BESIDE_PAYLOAD + int(mean)
    else:
        each = BYTES_PER_EVENT[plan.payload_profile]
    return each * (plan.events if events is None else events)


async def missing_events(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, plan: CorpusPlan, schema: str,
    *, replace: bool = False,
) -> int:  # fmt: skip
    """How many events of the corpus are not in ``schema`` yet. Raises ``CannotRunError`` for a foreign schema."""
    if replace:
        return plan.events
    marker = await read_marker(connection, schema)
    ledger = await read_ledger(connection, schema) if marker else None
    if marker is None or ledger is None or not _is_same(marker, ledger, definition, plan):
        return plan.events
    done = await batches_done(connection, schema)
    return sum(_events_of(plan, number) for number in range(plan.batch_count) if number not in done)


async def seed(
    dsn: str,
    definition: StoreDefinition,
    plan: CorpusPlan,
    *,
    schema: str,
    events: int | None = None,
    workers: int = WORKERS,
    cluster: ClusterWorkers | None = None,
    replace: bool = False,
    purpose: Purpose = Purpose.CORPUS,
    progress: Progress = no_progress,
) -> SeedReport:
    """Fill ``schema`` with the corpus of ``plan``, or go on where an earlier run stopped.

    With ``events``, only so far: the log's first so many, whole batches (``whole_batches``), and from the second
    time on into the indexes that are there. A schema with another corpus, or made from other files, is an error
    unless ``replace``, which always begins anew; one that is in use always is. ``cluster``: its workers load, all of
    them, instead of ``workers`` processes of this machine. A worker that is lost ends the call and loses nothing: the
    ledger has the batches that are in the table, and the same call goes on with the others.
    Ctrl-C lets the batches under way finish and leaves a store that the same call goes on with. Raises
    ``CannotRunError``.
    """
    dsn = confined_dsn(dsn, schema)
    wanted = plan.events if events is None else min(events, plan.events)
    async with connection_to(dsn) as connection:
        corpus, ledger = await _begin(connection, definition, plan, schema, replace, purpose)
        missing = await _missing(connection, schema, wanted)
        shape = await read_shape(connection, definition, schema) if missing else None
    then = Stage.READY if wanted == plan.events else Stage.GROWING
    if not missing and corpus.stage in (Stage.READY, then):
        return SeedReport(corpus=corpus, reused=True, resumed=False, events=0)
    indexed = corpus.stage in (Stage.READY, Stage.GROWING)
    # As in use, keys come in their order, and leave full pages behind: two workers' batches would split them in halves.
    count = 1 if indexed else len(cluster.members) if cluster is not None else workers
    began_s = time.time()
    loaded: list[LoadedBatch] = []
    if shape is not None:
        if indexed:
            await mend_right_edges(dsn, definition, schema)
        task = load_task(dsn, schema, definition, plan, corpus.first_transaction_id, shape)
        with taken_workers(cluster, count) as executor:
            loaded = await _load(executor, [task] * min(count, len(missing)), missing, wanted, plan, progress)
    stages = {"load": time.time() - began_s} if missing else {}
    async with connection_to(dsn) as connection:
        if indexed:
            stages |= await refresh_table(connection, schema, progress)
            await set_stage(connection, schema, then)
        else:
            await set_next_position(connection, definition, schema, plan.events)
            await set_stage(connection, schema, Stage.INDEXING)
            stages |= await finish_table(connection, dsn, definition, schema, progress, then=then)
    return SeedReport(
        corpus=SeededCorpus(
            plan=plan, first_transaction_id=corpus.first_transaction_id, stage=then, audited=False
        ),
        reused=False,
        resumed=ledger,
        events=sum(batch.events for batch in loaded),
        stage_seconds=stages,
        growth=_growth(loaded, began_s),
        peak_rss_mib=_peak_rss_mib(loaded),
    )


async def seeded_events(connection: asyncpg.Connection[Any], schema: str) -> int:
    """How many of a corpus' events are in ``schema`` without a gap from the first; 0 where there is no corpus."""
    corpus = await read_ledger(connection, schema)
    if corpus is None:
        return 0
    done = await batches_done(connection, schema)
    whole = next(number for number in itertools.count() if number not in done)
    return min(whole * BATCH_EVENTS, corpus.plan.events)


def whole_batches(events: int, plan: CorpusPlan) -> bool:
    """Whether the log's first ``events`` are whole batches."""
    return 0 < events <= plan.events and (events % BATCH_EVENTS == 0 or events == plan.events)


async def _begin(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, plan: CorpusPlan, schema: str, replace: bool,
    purpose: Purpose,
) -> tuple[SeededCorpus, bool]:  # fmt: skip
    """The ledger's row, made or found, and whether it was found."""
    marker = None if replace else await read_marker(connection, schema)
    if marker is not None:
        if marker.purpose is Purpose.IN_USE:
            raise in_use(schema)
        ledger = await read_ledger(connection, schema)
        if ledger is not None:
            _refuse_another(schema, marker, ledger, definition, plan)
            await check_accounts(connection, schema)
            # What appends changed in other tables cannot be undone: then the whole corpus is made anew.
            if not (definition.seed_script and await is_appended_to(connection, schema)):
                await begin_appending(connection, schema)
                return ledger, True
    await drop_corpus(connection, schema)
    await install_store(connection, definition, schema, with_indexes=False, purpose=purpose)
    corpus = await create_ledger(connection, schema, plan, definition)
    await begin_appending(connection, schema)
    return corpus, False


def _is_same(marker: Marker, corpus: SeededCorpus, definition: StoreDefinition, plan: CorpusPlan) -> bool:
    """Whether the corpus in a schema is the one that is asked for, in tables made from the same files."""
    return (corpus.plan, marker.store_name, marker.digest) == (
        plan,
        definition.name,
        definition.schema_sha256,
    )


def _refuse_another(
    schema: str, marker: Marker, corpus: SeededCorpus, definition: StoreDefinition, plan: CorpusPlan
) -> None:
    """Raises ``CannotRunError`` where the schema holds another corpus, or the same in tables made otherwise."""
    if _is_same(marker, corpus, definition, plan):
        return
    if (corpus.plan, marker.store_name) == (plan, definition.name):
        raise CannotRunError(
            f"schema {schema!r} was made from another schema.sql or indexes.sql than store {definition.name!r} has now",
            remedy="build it anew with --replace, or name another with --schema",
        )
    raise CannotRunError(
        f"schema {schema!r} holds another corpus: store {marker.store_name!r}, "
        f"{corpus.plan.events:,} events, seed {corpus.plan.seed}",
        remedy="ask for that one, name another schema, or replace it with --replace",
    )


async def _load(
    executor: Executor, tasks: Sequence[LoadTask], missing: Sequence[int], wanted: int, plan: CorpusPlan,
    progress: Progress,
) -> list[LoadedBatch]:  # fmt: skip
    """The ``missing`` batches, by a worker for each of ``tasks``."""
    loaded: list[LoadedBatch] = []
    before = wanted - sum(_events_of(plan, number) for number in missing)
    progress("load", before, wanted)

    def note(batch: LoadedBatch) -> None:
        nonlocal before
        loaded.append(batch)
        before += batch.events
        progress("load", before, wanted)

    await _hand_out(executor, tasks, missing, note)
    return loaded


def _events_of(plan: CorpusPlan, number: int) -> int:
    """How many events batch ``number`` has: the last one may be short."""
    return min(BATCH_EVENTS, plan.events - number * BATCH_EVENTS)


async def _hand_out(
    executor: Executor, tasks: Sequence[LoadTask], numbers: Sequence[int], note: Callable[[LoadedBatch], None]
) -> None:
    """The batches to a worker for each of ``tasks``, ``AHEAD`` at a time, so that they are loaded in order."""
    waiting = iter(numbers)
    under_way = [0] * len(tasks)
    async with Crew(executor, load_batches, tasks) as crew:

        def hand_out(worker: int) -> None:
            if (number := next(waiting, None)) is not None:
                under_way[worker] += 1
                crew.tell(number, worker)
            elif not under_way[worker]:
                crew.tell(NO_MORE, worker)

        await crew.ready()
        crew.start()
        for worker in [*range(len(tasks))] * AHEAD:
            hand_out(worker)
        try:
            async for _ in crew.at_work(LOOK_EVERY_S):
                for worker, batch in crew.reports(LoadedBatch):
                    under_way[worker] -= 1
                    hand_out(worker)
                    note(replace(batch, at_s=time.time(), worker=worker))
        except asyncio.CancelledError:  # Ctrl-C: what was handed out is loaded
            crew.tell(NO_MORE)
            await crew.results()
            raise


async def _missing(connection: asyncpg.Connection[Any], schema: str, wanted: int) -> list[int]:
    """The batches that are not in the table, of those that hold the log's first ``wanted`` events."""
    done = await batches_done(connection, schema)
    return [number for number in range(-(-wanted // BATCH_EVENTS)) if number not in done]


def _growth(loaded: Sequence[LoadedBatch], began_s: float) -> Series | None:
    """Events in the table over the seconds since loading began, thinned to what a chart can show."""
    if not loaded:
        return None
    points, total = [(0.0, 0.0)], 0
    for batch in sorted(loaded, key=lambda batch: batch.at_s):
        total += batch.events
        points.append((round(batch.at_s - began_s, 3), float(total)))
    step = -(-len(points) // SERIES_POINTS_MAX)
    kept = points[::step] if points[-1] in points[::step] else [*points[::step], points[-1]]
    return Series(
        name="events", unit="events", at_s=[at_s for at_s, _ in kept], values=[count for _, count in kept]
    )


def _peak_rss_mib(loaded: Sequence[LoadedBatch]) -> float:
    """The workers' peaks together, and ours: an upper bound, for they need not have come at once."""
    peaks = {batch.worker: batch.worker_peak_rss_mib for batch in loaded}
    return sum(peaks.values()) + own_peak_rss_mib()
