"""A clone of the seeded store for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventmark.jobs.job import Job
from eventmark.server import Server
from tests.database import drop_database, execute
from tests.scenarios.seeded import job_on


@pytest.fixture
def job(server: Server, seeded: str) -> Iterator[Job]:
    name = "pressure_test"
    execute(
        server.dsn, f"drop database if exists {name} with (force)",
        f"create database {name} template {seeded}",
    )  # fmt: skip
    yield job_on(server, server.dsn.rsplit("/", 1)[0] + f"/{name}")
    drop_database(server.dsn, name)
