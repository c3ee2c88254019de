"""From settings to a job on a running server, and from any ending back to a clean machine."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventmark.cli.output import console, screen
from eventmark.config import Settings
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.jobs.job import Job, targets_of
from eventmark.jobs.profiles import find_profile
from eventmark.redaction import is_dsn, looks_like_dsn, redact
from eventmark.results.targets import Target, read_targets
from eventmark.seeding import estimated_bytes
from eventmark.server import Server, check_disk_space, provision
from eventmark.server.directory import MARKER_FILE
from eventmark.stores import StoreDefinition, find_store
from eventmark.workload import CorpusPlan

__all__ = ["chosen_targets", "console", "job_of", "running_server", "screen"]

KEPT_DIRECTORY = Path(".eventmark")
OWN_SERVERS = ("embedded", "local")


@contextmanager
def running_server(settings: Settings, *, keep: bool = False) -> Iterator[tuple[Server, Path]]:
    """The server of the settings, and the place on disk that matters for it.

    ``keep`` is for verbs that make no sense on a cluster that is gone afterwards.
    """
    quoted_schema(settings.schema)  # a wrong name costs nobody the start of a server
    keep = keep or settings.keep
    directory = _directory(settings, keep=keep)
    with provision(settings.server, directory=directory, keep=keep, port=settings.port or None) as server:
        yield server, server.directory or Path.cwd()


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
    check_disk_space(directory, estimated_bytes(corpus.events, corpus.payload_profile))


def chosen_targets(settings: Settings, definition: StoreDefinition) -> dict[str, Target]:
    """The targets of a run. Raises ``UsageError`` for a file that has none."""
    chosen = read_targets(Path(settings.targets)) if settings.targets else None
    return targets_of(definition, chosen)


@contextmanager
def job_of(settings: Settings, *, keep: bool = False, there: bool = False) -> Iterator[Job]:
    """A job, everything that can be wrong in the settings found before a server is started.

    ``there`` is for verbs that look at what was made before.
    """
    definition = find_store(settings.store)
    corpus = CorpusPlan(
        settings.event_count,
        seed=settings.seed,
        tenant_count=settings.tenants,
        payload_profile=settings.payload,
    )
    profile = find_profile(settings.profile)
    targets = chosen_targets(settings, definition)
    _check_place(settings, corpus, keep=keep or settings.keep, there=there)
    kept = keep or settings.keep or is_dsn(settings.server)
    try:
        with running_server(settings, keep=keep) as (server, place):
            yield Job(
                server=server,
                store=settings.store,
                definition=definition,
                schema=settings.schema,
                corpus=corpus,
                profile=profile,
                targets=targets,
                command=command_line(),
                place=place,
                with_floors=settings.floors,
                replace=settings.replace,
                aged=settings.aged,
            )
    except KeyboardInterrupt:
        raise CannotRunError(
            "interrupted",
            remedy="the same command goes on where it stopped"
            if kept
            else "nothing was kept; with --keep, the same command would go on where it stopped",
        ) from None


def command_line() -> str:
    """What was typed, without a password."""
    return shlex.join(["eventmark", *map(_without_password, sys.argv[1:])])


def _without_password(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + (redact(value) if looks_like_dsn(value) else value)
