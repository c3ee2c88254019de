"""A seeded store, made once and cloned for each test; a load run by a thread where no process is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from eventmark.measure.targets import DEFAULT_TARGETS
from eventmark.scenarios.job import Job, draw_sample
from eventmark.scenarios.load.generator import run_load
from eventmark.scenarios.load.mix import Mix, parse_mix
from eventmark.scenarios.load.outcome import LoadOutcome
from eventmark.scenarios.load.plan import LoadPlan
from eventmark.scenarios.profiles import find_profile
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan

EVENTS = 20_000


def execute(dsn: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch(dsn: str, query: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


def job_on(server: Server, dsn: str, store: str = "eaf") -> Job:
    return Job(
        server=replace(server, dsn=dsn), store=store, definition=find_store(store), schema="eventmark",
        corpus=CorpusPlan(EVENTS), profile=find_profile("quick"), targets=DEFAULT_TARGETS, command="eventmark load",
        place=Path("/"), with_floors=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def seeded(server: Server) -> Iterator[str]:
    """The name of a database with a corpus, to be used as a template."""
    name = "load_template"
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    seed(dsn, find_store("eaf"), CorpusPlan(EVENTS), schema="eventmark", workers=2)
    yield name
    execute(server.dsn, f"drop database {name} with (force)")


@pytest.fixture
def job(server: Server, seeded: str) -> Iterator[Job]:
    name = "load_test"
    execute(
        server.dsn,
        f"drop database if exists {name} with (force)",
        f"create database {name} template {seeded}",
    )
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    yield job_on(server, dsn)
    execute(server.dsn, f"drop database {name} with (force)")


Loaded = Callable[..., LoadOutcome]


@pytest.fixture
def loaded(job: Job) -> Loaded:
    """Generate a load by threads of this process: nothing to start, and the same code."""

    def run(mix: str | Mix, **plan: Any) -> LoadOutcome:
        chosen = parse_mix(mix) if isinstance(mix, str) else mix
        settings = {"seconds": 1.0, "warm_rounds": 1, "pool_max": 4} | plan
        with ThreadPoolExecutor(4) as executor:
            return run_load(job, draw_sample(job), LoadPlan(mix=chosen, **settings), executor=executor)

    return run
