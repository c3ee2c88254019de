"""A seeded store, made once and cloned for each module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventmark.scenarios.job import Job
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan
from tests.scenarios.load.conftest import EVENTS, execute, job_on


@pytest.fixture(scope="session")
def pressed_template(server: Server) -> Iterator[str]:
    """The name of a database with a corpus, to be used as a template."""
    name = "pressure_template"
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    execute(dsn, "create extension if not exists pg_stat_statements")
    seed(dsn, find_store("eaf"), CorpusPlan(EVENTS), schema="eventmark", workers=2)
    yield name
    execute(server.dsn, f"drop database {name} with (force)")


@pytest.fixture
def job(server: Server, pressed_template: str) -> Iterator[Job]:
    name = "pressure_test"
    execute(
        server.dsn, f"drop database if exists {name} with (force)",
        f"create database {name} template {pressed_template}",
    )  # fmt: skip
    yield job_on(server, server.dsn.rsplit("/", 1)[0] + f"/{name}")
    execute(server.dsn, f"drop database {name} with (force)")
