"""From settings to a job on a running server, and from any ending back to a clean machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from eventmark.config import Settings
from eventmark.errors import CannotRunError
from eventmark.measure.targets import Target, read_targets
from eventmark.scenarios.job import Job, targets_of
from eventmark.scenarios.profiles import find_profile
from eventmark.server import Server, provision, redact
from eventmark.stores import StoreDefinition, find_store
from eventmark.workload import CorpusPlan

KEPT_DIRECTORY = Path(".eventmark")
SCREEN_WIDTH = 110  # where the output goes into a file or a pipe

console = Console(stderr=True, highlight=False)
screen = Console(highlight=False, width=None if sys.stdout.isatty() else SCREEN_WIDTH)


@contextmanager
def running_server(settings: Settings, *, keep: bool = False) -> Iterator[tuple[Server, Path]]:
    """The server of the settings, and the place on disk that matters for it.

    ``keep`` is for verbs that make no sense on a cluster that is gone afterwards.
    """
    keep = keep or settings.keep
    own = settings.server in ("embedded", "local")
    directory = Path(settings.directory) if settings.directory else None
    if directory is None and keep and own:
        directory = KEPT_DIRECTORY / settings.server
    with provision(settings.server, directory=directory, keep=keep, port=settings.port or None) as server:
        yield server, server.directory or Path.cwd()


def chosen_targets(settings: Settings, definition: StoreDefinition) -> dict[str, Target]:
    """The targets of a run. Raises ``UsageError`` for a file that has none."""
    chosen = read_targets(Path(settings.targets)) if settings.targets else None
    return targets_of(definition, chosen)


@contextmanager
def job_of(settings: Settings, *, keep: bool = False) -> Iterator[Job]:
    """A job, everything that can be wrong in the settings found before a server is started."""
    definition = find_store(settings.store)
    corpus = CorpusPlan(
        settings.event_count,
        seed=settings.seed,
        tenant_count=settings.tenants,
        payload_profile=settings.payload,
    )
    profile = find_profile(settings.profile)
    targets = chosen_targets(settings, definition)
    kept = keep or settings.keep or "://" in settings.server
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
    return shlex.join(["eventmark", *(redact(word) if "://" in word else word for word in sys.argv[1:])])
