"""A job: what a scenario works on, and what every scenario does with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.jobs.profiles import Profile
from eventmark.jobs.warming import warm
from eventmark.results.results import (
    Environment,
    Finding,
    HostEnvironment,
    ServerEnvironment,
    StoreEnvironment,
)
from eventmark.results.targets import DEFAULT_TARGETS, Target, is_own
from eventmark.seeding import (
    CorpusSample,
    Progress,
    SeedReport,
    TableSize,
    age,
    estimated_bytes,
    missing_events,
    rejuvenate,
    remove_appended,
    sample_corpus,
    sample_existing,
    seed,
    try_store,
)
from eventmark.server import (
    Server,
    check_disk_space,
    host_environment,
    measure_fsync_ms,
    server_environment,
)
from eventmark.server.connections import check_connections
from eventmark.server.loop import ask, connection_to, on_loop
from eventmark.stores import StoreDefinition
from eventmark.workers.cluster import ClusterWorkers
from eventmark.workload import CorpusPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What may be done with data that was there already: ``appends`` that are rolled back, ``scans`` of whole tables.

    ``size`` is the table's, and ``not_asked`` has the statements that would scan, each with the reason; both are known
    once the store is checked.
    """

    appends: bool = False
    scans: bool = False
    size: TableSize | None = None
    not_asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def catalogue(self) -> str:
        return "appending" if self.appends else "reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do on which server. ``store`` is the name or folder that ``definition`` was read from.

    ``existing``: the schema's data was there already, nothing is seeded and nothing written; ``corpus`` tells its size.
    Unqualified names of the server's sessions lead to ``schema``.
    """

    server: Server
    store: str
    definition: StoreDefinition
    schema: str
    corpus: CorpusPlan
    profile: Profile
    targets: Mapping[str, Target]
    command: str
    place: Path  # on the disk whose room and speed matter
    with_floors: bool = True
    replace: bool = False
    aged: bool = False
    cluster: ClusterWorkers | None = None  # whose workers do the work; None for processes of this machine
    existing: Existing | None = None

    def __post_init__(self) -> None:
        # Whatever connects to a job's server finds the job's schema, also once one is replaced by another.
        object.__setattr__(self, "server", self.server.confined(self.schema))


def targets_of(definition: StoreDefinition, chosen: Mapping[str, Target] | None) -> dict[str, Target]:
    """The defaults, overlaid by the store's own, overlaid by those the user chose."""
    return {**DEFAULT_TARGETS, **definition.targets, **(chosen or {})}


def prepare_store(job: Job) -> int:
    """Everything that can be found wrong before anything is seeded; how many events are to be seeded then.

    Raises ``CannotRunError`` or ``UsageError``.
    """
    return on_loop(_check_store(job))


def check_room(job: Job, events: int) -> None:
    """Raises ``CannotRunError`` where the disk of a server of ours has no room for so many events more."""
    if job.server.directory is not None and events:
        check_disk_space(job.place, estimated_bytes(job.corpus, events))


def check_connections_left(job: Job, wanted: int) -> None:
    """Raises ``CannotRunError`` where the server has no room for so many connections."""
    if wanted:
        ask(job.server.dsn, check_connections, wanted)


def fill(job: Job, progress: Progress) -> SeedReport:
    """The job's corpus in its schema: seeded, or the one that is there without what was done to it since.

    Aged where the job says so.
    """
    return on_loop(_fill(job, progress))


async def _fill(job: Job, progress: Progress) -> SeedReport:
    seeded = await seed(
        job.server.dsn, job.definition, job.corpus, schema=job.schema, cluster=job.cluster, replace=job.replace,
        progress=progress,
    )  # fmt: skip
    if seeded.reused:
        progress("restore", 0, 1)
        await rejuvenate(job.server.dsn, job.definition, job.schema)
        await remove_appended(job.server.dsn, job.definition, job.schema, job.corpus.events)
        if job.server.directory is not None:  # just started by us, with nothing in its cache
            await warm(job.server, (job.schema,))
        progress("restore", 1, 1)
    if job.aged:
        await age(job.server.dsn, job.definition, job.schema, job.corpus, progress)
    return seeded


def draw_sample(job: Job) -> CorpusSample:
    """Streams and places for operations to work on, drawn from the table."""
    sample = ask(job.server.dsn, _sample, job)
    return replace(sample, payloads=job.corpus.sampled) if job.corpus.samples else sample


def environment_of(
    job: Job, fitness: list[Finding], machines: Mapping[str, HostEnvironment] | None = None
) -> Environment:
    """The machine, the server and the store of a job, and the ``machines`` of a cluster's workers."""
    server, indexes = ask(job.server.dsn, _server_and_indexes, job)
    return Environment(
        host=host_environment(),
        server=server,
        store=_store_environment(job.definition, indexes),
        fitness=fitness,
        workers=dict(machines or {}),
    )


async def _server_and_indexes(
    connection: asyncpg.Connection[Any], job: Job
) -> tuple[ServerEnvironment, list[str]]:
    """The names of the store's indexes as the server has them; none where the store is not there any more."""
    fsync_ms = measure_fsync_ms(job.place) if job.server.directory is not None else None
    server = await server_environment(connection, job.server, fsync_ms=fsync_ms)
    rows = await connection.fetch(
        "select indexname::text from pg_indexes where schemaname = $1 and tablename !~ '^eventmark_' order by 1",
        job.schema,
    )
    return server, [row[0] for row in rows]


def _store_environment(definition: StoreDefinition, indexes: list[str]) -> StoreEnvironment:
    capabilities = definition.capabilities
    return StoreEnvironment(
        name=definition.name,
        ordering=definition.ordering,
        schema_sha256=definition.schema_sha256,
        indexes=indexes
        or sorted({statement.index for statement in definition.statements.values()} - {"", "none"}),
        capabilities={name: getattr(capabilities, name) for name in capabilities.__dataclass_fields__},
        own_statements={
            name: statement.sha256 for name, statement in definition.statements.items() if is_own(name)
        },
    )


async def _check_store(job: Job) -> int:
    """How many events are yet to be seeded."""
    await try_store(job.server.dsn, job.definition, job.schema)
    async with connection_to(job.server.dsn) as connection:
        return await missing_events(connection, job.definition, job.corpus, job.schema, replace=job.replace)


async def _sample(connection: asyncpg.Connection[Any], job: Job) -> CorpusSample:
    if job.existing is not None:
        return await sample_existing(connection, job.definition, schema=job.schema, scans=job.existing.scans)
    return await sample_corpus(connection, job.definition, schema=job.schema, events=job.corpus.events)
