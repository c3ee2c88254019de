"""What tests of scenarios share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventmark.results.results import (
    Environment,
    HostEnvironment,
    RunResult,
    ServerEnvironment,
    StoreEnvironment,
    Verdict,
)
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan
from tests.database import drop_database, execute
from tests.scenarios.seeded import EVENTS


@pytest.fixture
def minimal_result() -> RunResult:
    """A result of nothing but its verdict."""
    environment = Environment(
        host=HostEnvironment(
            system="Linux", cpu_model="x", cpu_count=2, memory_mib=1024, python="CPython", libraries={},
            eventmark="0", revision="",
        ),
        server=ServerEnvironment(
            kind="embedded", version="18.6", version_num=180006, address="", settings={}, tuning={}, fsync_ms=None
        ),
        store=StoreEnvironment(
            name="eaf", ordering="transaction-id", schema_sha256="", indexes=[], capabilities={}
        ),
        fitness=[],
    )  # fmt: skip
    return RunResult(
        run_id="1", started_at="2026-11-24T01:02:03+00:00", seconds=1.0, command="eventmark run", profile="quick",
        seed=1, verdict=Verdict.MET, reasons=[], environment=environment, corpus=None, operations={}, plans=[],
        skipped={}, phases=[], series=[],
    )  # fmt: skip


@pytest.fixture(scope="session")
def seeded(server: Server) -> Iterator[str]:
    """The name of a database with a corpus, made once, to be used as a template."""
    name = "seeded_template"
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    execute(dsn, "create extension if not exists pg_stat_statements")
    seed(dsn, find_store("eaf"), CorpusPlan(EVENTS), schema="eventmark", workers=2)
    yield name
    drop_database(server.dsn, name)
