"""A clone of the seeded store for each test, and an analysis whose workers are threads: nothing to start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from eventmark.experiments.streaming.group import Setting
from eventmark.experiments.streaming.sizes import SIZES
from eventmark.jobs.job import Job
from eventmark.seeding import no_progress
from eventmark.server import Server
from tests.experiments.seeded import job_on


@pytest.fixture
def job(server: Server, corpus: str) -> Job:
    return job_on(server, corpus)


@pytest.fixture
def setting(job: Job) -> Iterator[Setting]:
    with ThreadPoolExecutor(4) as executor:
        yield Setting(job=job, executor=executor, sizes=SIZES["quick"], progress=no_progress)
