"""A clone of the seeded store for each test; a load run by threads where no process is needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.generator import run_load
from eventmark.loadgen.mix import Mix, parse_mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import LoadPlan
from eventmark.server import Server
from tests.experiments.seeded import job_on


@pytest.fixture
def job(server: Server, corpus: str) -> Job:
    return job_on(server, corpus)


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
