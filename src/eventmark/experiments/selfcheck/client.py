"""A planted client bottleneck: a client that computes after each answer is blamed, a slow server is not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventmark.experiments.selfcheck.proving import Proving
from eventmark.jobs.job import draw_sample
from eventmark.jobs.profiles import Profile
from eventmark.operations.benchmark import client_of_forks
from eventmark.operations.catalogue import ReadSnapshot
from eventmark.operations.forks import ForkSamples, measure_warm
from eventmark.results.results import ClientHealth, Finding, Verdict
from eventmark.seeding import CorpusSample
from eventmark.stores import find_store, open_store
from eventmark.workers import call, worker_processes

COMPUTING_MS = 5.0
"""Of the client, or of the server, in each call."""

PROFILE = Profile(
    name="selfcheck", forks=1, warmup_calls=5, warmup_iterations_max=5, samples=100, seconds_max=1.5, cold_samples=0
)  # fmt: skip


class ComputingClient(ReadSnapshot):
    """Reads a snapshot, then computes, as a client does that decodes a great deal."""

    async def call(self, arguments: Any) -> Any:
        answer = await super().call(arguments)
        over_s = time.perf_counter() + COMPUTING_MS / 1e3
        while time.perf_counter() < over_s:
            pass
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTask:
    """What a worker measures: ``computing`` plants the bottleneck in its own client."""

    dsn: str
    store: str
    schema: str
    sample: CorpusSample
    computing: bool


def check_client(proving: Proving) -> list[Finding]:
    busy_client, slow_server = measure_clients(proving)
    return client_findings(busy_client, slow_server)


def measure_clients(proving: Proving) -> tuple[ClientHealth, ClientHealth]:
    """The health of a client that computes, and of one whose server takes as long; a fresh process each."""
    job = proving.job
    sample = draw_sample(job)
    slow = proving.planted({"read_snapshot": COMPUTING_MS})
    tasks = [
        ClientTask(dsn=job.server.dsn, store=store, schema=job.schema, sample=sample, computing=computing)
        for store, computing in ((job.store, True), (slow, False))
    ]
    with worker_processes(1, fresh=True) as executor:
        busy, waiting = (
            client_of_forks("read_snapshot", [call(executor, _run_client, task)]) for task in tasks
        )
    return busy, waiting


def client_findings(busy_client: ClientHealth, slow_server: ClientHealth) -> list[Finding]:
    return [
        Finding(
            name="planted client bottleneck",
            verdict=Verdict.MET if busy_client.bottleneck else Verdict.BROKEN,
            observed=f"the client used {busy_client.cpu_share:.0%} of a core"
            + (", and is blamed" if busy_client.bottleneck else ", and is not blamed"),
            expected="the client is blamed",
        ),
        Finding(
            name="planted slow server",
            verdict=Verdict.BROKEN if slow_server.bottleneck else Verdict.MET,
            observed=f"the client used {slow_server.cpu_share:.0%} of a core"
            + (", and is blamed" if slow_server.bottleneck else ", and is not blamed"),
            expected="the client is not blamed",
        ),
    ]


async def _run_client(task: ClientTask) -> ForkSamples:
    """Run in a fresh process."""
    store = await open_store(find_store(task.store), task.dsn, schema=task.schema, pool_max=1)
    try:
        kind = ComputingClient if task.computing else ReadSnapshot
        operation = kind(store, task.sample, np.random.default_rng(3))
        await operation.prepare()
        return await measure_warm(operation, PROFILE)
    finally:
        await store.close()
