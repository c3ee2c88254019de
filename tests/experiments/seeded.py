"""A seeded store to run scenarios on: statements to it, and the job that names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

from eventmark.jobs.job import Job
from eventmark.jobs.profiles import find_profile
from eventmark.results.targets import DEFAULT_TARGETS
from eventmark.server import Server
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan

EVENTS = 20_000


def job_on(server: Server, dsn: str, store: str = "eaf") -> Job:
    return Job(
        server=replace(server, dsn=dsn), store=store, definition=find_store(store), schema="eventmark",
        corpus=CorpusPlan(EVENTS), profile=find_profile("quick"), targets=DEFAULT_TARGETS, command="eventmark load",
        place=Path(gettempdir()), with_floors=False,
    )  # fmt: skip
