"""One real server for the session, one fresh database per test.

Each of pytest-xdist's processes is a session and has a server of its own: a transaction held open by one test would
hold back what consumers may see in every database of the same cluster.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, settings

from eventmark.seeding import seed
from eventmark.server import Server, provision
from eventmark.stores import find_store, write_template
from eventmark.workload import CorpusPlan
from tests.copied_clusters import copied_clusters
from tests.database import cloned, drop_database, execute
from tests.experiments.results import minimal_result
from tests.experiments.seeded import EVENTS
from tests.virtual_time import virtual_time
from tests.worker_processes import forked_workers, spawned_workers

__all__ = [
    "copied_clusters",
    "database",
    "forked_workers",
    "minimal_result",
    "server",
    "spawned_workers",
    "virtual_time",
]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

PROCESSES_MAX = 8  # each has a server
_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--approve-reports",
        action="store_true",
        help="Take reports as they are rendered for the golden ones.",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: two more than there are processors, as tests also wait for time to pass."""
    return min((os.cpu_count() or 1) + 2, PROCESSES_MAX)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL 18, or with EVENTMARK_TEST_SERVER=local the installed one; not durable, so it is quick.

    Tests make databases and roles: its ``dsn`` is the superuser's.
    """
    with provision(os.environ.get("EVENTMARK_TEST_SERVER", "embedded"), durable=False) as started:
        yield replace(started, dsn=started.admin_dsn)


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The DSN of an empty database of the test's own."""
    name = f"test_{next(_numbers)}"
    execute(server.dsn, f"create database {name}")
    yield server.dsn.rsplit("/", 1)[0] + f"/{name}"
    drop_database(server.dsn, name)


@pytest.fixture(scope="session")
def seeded(server: Server) -> Iterator[str]:
    """The name of a database with a corpus of ``eaf``, made once, to be used as a template."""
    yield from _seeded(server, "seeded_template", "eaf")


@pytest.fixture(scope="session")
def seeded_own(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same of the store that ``stores new`` writes."""
    folder = tmp_path_factory.mktemp("stores") / "own"
    write_template(folder)
    yield from _seeded(server, "seeded_own_template", str(folder))


@pytest.fixture
def corpus(server: Server, seeded: str) -> Iterator[str]:
    """The DSN of a database of the test's own with a corpus of ``eaf``."""
    with cloned(server, seeded) as dsn:
        yield dsn


@pytest.fixture
def own_corpus(server: Server, seeded_own: str) -> Iterator[str]:
    """The same of the store that ``stores new`` writes."""
    with cloned(server, seeded_own) as dsn:
        yield dsn


def _seeded(server: Server, name: str, store: str) -> Iterator[str]:
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    execute(dsn, "create extension if not exists pg_stat_statements")
    asyncio.run(seed(dsn, find_store(store), CorpusPlan(EVENTS), schema="eventmark", workers=1))
    yield name
    drop_database(server.dsn, name)
