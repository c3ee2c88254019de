"""From settings to a job on a running server, and from any ending back to a clean machine."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg

from eventmark.cli.output import console, screen
from eventmark.config import Settings, parse_share
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.cluster import chosen_cluster, on_cluster
from eventmark.jobs.job import Existing, Job, targets_of
from eventmark.jobs.profiles import find_profile
from eventmark.redaction import is_dsn, looks_like_dsn, redact
from eventmark.results.targets import Target, parse_targets, read_targets
from eventmark.seeding import Kept, check_usable, estimated_bytes, read_payload_samples, settle
from eventmark.server import Server, check_disk_space, provision
from eventmark.server.directory import MARKER_FILE
from eventmark.server.loop import ask, one_loop
from eventmark.server.role import runs_programs
from eventmark.stores import StoreDefinition, begin_run, claimed, find_store, store_names
from eventmark.workload import CorpusPlan, CorpusShape, parse_sizes

__all__ = [
    "chosen_targets",
    "console",
    "job_of",
    "running_server",
    "screen",
    "tell_what_stays",
]

KEPT_DIRECTORY = Path(".eventmark")
OWN_SERVERS = ("embedded", "local")


@contextmanager
def running_server(settings: Settings, *, keep: bool = False) -> Iterator[tuple[Server, Path]]:
    """The server of the settings, and the place on disk that matters for it.

    ``keep`` is for verbs that make no sense on a cluster that is gone afterwards.
    """
    begin_run()
    quoted_schema(settings.schema)  # a wrong name costs nobody the start of a server
    keep = keep or settings.keep
    directory = _directory(settings, keep=keep)
    with (
        one_loop(),
        provision(
            settings.server,
            directory=directory,
            keep=keep,
            port=settings.port or None,
            read_only=settings.existing,
        ) as server,
    ):
        if server.kind == "dsn" and settings.store not in store_names():
            _warn_of_programs(server, settings.store)
        yield server, server.directory or Path.cwd()


def _warn_of_programs(server: Server, store: str) -> None:
    """A folder's SQL has the rights of the DSN's role, which Eventmark cannot take from it for good."""
    if ask(server.dsn, runs_programs):
        console.print(
            f"warning: the SQL of {store} may run programs on the server's machine, as the role of --server may;"
            " connect as a role that is no superuser",
            soft_wrap=True,
        )  # fmt: skip


def _warn_of_appends(table: str) -> None:
    console.print(
        f"warning: --allow-appends appends to {table} and rolls back: its sequences skip numbers, its triggers run,"
        " WAL is written, dead rows stay until the next vacuum, and a stream is locked for some milliseconds",
        soft_wrap=True,
    )  # fmt: skip


def _directory(settings: Settings, *, keep: bool) -> Path | None:
    """Where a cluster of our own lives; None for a temporary one, and for a server of somebody else's."""
    if settings.directory:
        return Path(settings.directory)
    return KEPT_DIRECTORY / settings.server if keep and settings.server in OWN_SERVERS else None


def _check_place(settings: Settings, corpus: CorpusPlan, *, keep: bool, there: bool) -> None:
    """For a cluster yet to be made: none where it has to be ``there``, nothing begun that would not fit.

    Raises ``CannotRunError``.
    """
    directory = _directory(settings, keep=keep) or Path(tempfile.gettempdir())
    if settings.server not in OWN_SERVERS or (directory / MARKER_FILE).exists():
        return
    if there:
        raise CannotRunError(f"there is no cluster in {directory}", remedy="seed one: eventmark seed")
    check_disk_space(directory, estimated_bytes(corpus))


def chosen_targets(settings: Settings, definition: StoreDefinition) -> dict[str, Target]:
    """The targets of a run. Raises ``UsageError`` for a file that has none, and for wrong ones."""
    chosen = read_targets(Path(settings.targets)) if settings.targets else {}
    return targets_of(definition, chosen | parse_targets(settings.target))


def corpus_of(settings: Settings) -> CorpusPlan:
    """The corpus that a run asks for. Raises ``UsageError``."""
    if settings.anonymise and not settings.payload_samples:
        raise UsageError(
            "--anonymise has nothing to replace", remedy="name --payload-samples FILE, or leave it out"
        )
    samples = (
        read_payload_samples(Path(settings.payload_samples), anonymise=settings.anonymise)
        if settings.payload_samples
        else ()
    )
    return CorpusPlan(
        settings.event_count,
        seed=settings.seed,
        tenant_count=settings.tenants,
        payload_profile=settings.payload,
        samples=samples,
        shape=CorpusShape(
            large_tenants=parse_share(settings.large_tenants),
            large_events=parse_share(settings.large_events),
            stream_length=settings.stream_length,
            payload_sizes=parse_sizes(settings.payload_sizes),
        ),
    )


@contextmanager
def job_of(settings: Settings, *, keep: bool = False, there: bool = False) -> Iterator[Job]:
    """A job, everything that can be wrong in the settings found before a server is started.

    ``there`` is for verbs that look at what was made before.
    """
    definition = find_store(settings.store)
    corpus = corpus_of(settings)
    profile = find_profile(settings.profile)
    targets = chosen_targets(settings, definition)
    _check_place(settings, corpus, keep=keep or settings.keep, there=there)
    kept = keep or settings.keep or is_dsn(settings.server)
    existing = (
        Existing(appends=settings.allow_appends, scans=settings.allow_scans) if settings.existing else None
    )
    try:
        with (
            chosen_cluster(settings) as cluster,
            running_server(settings, keep=keep) as (server, directory),
            on_cluster(cluster, server, settings.store),
            _schema_of(settings, server, definition),
        ):
            yield Job(
                server=server,
                store=settings.store,
                definition=definition,
                schema=settings.schema,
                corpus=corpus,
                profile=profile,
                targets=targets,
                command=command_line(),
                place=directory,
                with_floors=settings.baselines,
                replace=settings.replace,
                aged=settings.aged,
                cluster=cluster,
                existing=existing,
            )
    except KeyboardInterrupt:
        raise CannotRunError(
            "interrupted",
            remedy=("without --replace it" if settings.replace else "the same command")
            + " goes on where it stopped"
            if kept
            else "nothing was kept; with --keep, the same command would go on where it stopped",
        ) from None


@contextmanager
def _schema_of(settings: Settings, server: Server, definition: StoreDefinition) -> Iterator[None]:
    """The schema claimed for the run, once it is shown that the run may write to it; one that is only read is not.

    When the run ends, in whatever way, what it leaves is accounted for, and told. Raises ``CannotRunError``.
    """
    if settings.existing:
        if settings.allow_appends:
            _warn_of_appends(f"{settings.schema}.{definition.events_table}")
        yield
        tell_what_stays(settings, server)
        return
    with claimed(server.dsn, settings.schema):
        ask(server.dsn, check_usable, settings.schema)
        try:
            yield
        finally:
            with suppress(
                OSError, asyncpg.PostgresError, asyncpg.InterfaceError
            ):  # the server may be what has ended
                kept = ask(server.dsn, settle, settings.schema)
                tell_what_stays(settings, server, kept)


def tell_what_stays(settings: Settings, server: Server, kept: Sequence[Kept] = ()) -> None:
    """The last lines of a verb on a server that is not ours."""
    if server.ours:
        return
    shown = console if settings.json else screen
    for left in kept:
        size = f"{left.events:,} events, {left.size_bytes / 2**20:,.0f} MiB"
        remove = f"eventmark admin drop --schema {left.schema} --server {server.address}"
        shown.print(
            f"Left on the server: schema {left.schema} ({size}). The next run reuses it; remove it with: {remove}",
            soft_wrap=True,
        )  # fmt: skip
    if not kept:
        shown.print("Left on the server: nothing.")


def command_line() -> str:
    """What was typed, without a password."""
    return shlex.join(["eventmark", *map(_without_password, sys.argv[1:])])


def _without_password(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + (redact(value) if looks_like_dsn(value) else value)
