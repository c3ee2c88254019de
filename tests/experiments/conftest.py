"""What tests of experiments share."""

from __future__ import annotations

import pytest

from eventmark.jobs.job import Job
from eventmark.server import Server
from tests.experiments.seeded import job_on


@pytest.fixture
def job(server: Server, corpus: str) -> Job:
    """On a clone of the seeded store, one for each test."""
    return job_on(server, corpus)
