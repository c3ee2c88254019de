"""Workers in networks of their own, one of them with a wrong clock: found, named when it dies, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from eventmark.errors import CannotRunError
from eventmark.jobs.cluster import machines_elsewhere
from eventmark.workers import Clock, Crew, WorkerLink
from eventmark.workers.cluster import ClusterWorkers, cluster_workers
from tests.cli.conftest import Command
from tests.dask_cluster import DaskCluster, dask_cluster
from tests.networks import Network, network

AHEAD_NS = 5_250_000_000
EXACT_NS = 200_000
GONE_S = 15.0  # more than what is stopped has to end
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="makes network namespaces: root, ip"
    ),
    pytest.mark.skipif(FAKETIME is None, reason="plants a clock by libfaketime"),
]


@pytest.fixture
def networks() -> Iterator[tuple[Network, Network]]:
    with ExitStack() as stack:
        yield stack.enter_context(network(1)), stack.enter_context(network(2))


@pytest.fixture
def dask(networks: tuple[Network, Network], tmp_path: Path) -> Iterator[DaskCluster]:
    """Ada in one network, and bob in the other with a clock that is ahead."""
    ada, bob = networks
    wrong = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"+{AHEAD_NS / 1e9}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with dask_cluster(tmp_path, host=ada.gateway) as started:
        started.add_worker("ada", "--host", ada.address, within=ada.within)
        started.add_worker("bob", "--host", bob.address, within=bob.within, given=wrong)
        yield started


async def run_waiting(seconds: float, link: WorkerLink) -> None:
    await link.ready()
    await asyncio.sleep(seconds)


async def clocks_of(workers: ClusterWorkers) -> list[Clock]:
    async with Crew(workers, run_waiting, [0.0, 0.0]) as crew:
        await crew.ready()
        crew.start()
        await crew.results()
        return crew.clocks


async def work_until_one_is_killed(
    workers: ClusterWorkers, networks: Sequence[Network], victim: subprocess.Popen[bytes]
) -> float:
    """Seconds from the kill until the crew's error, which names the worker."""
    async with Crew(workers, run_waiting, [60.0, 60.0]) as crew:
        await crew.ready()
        crew.start()
        await asyncio.sleep(0.5)
        assert all(at_work(one) for one in networks)
        victim.kill()
        killed_s = time.monotonic()
        with pytest.raises(
            CannotRunError, match=r"worker bob on .* \(10\.213\.2\.2\) died, or left the cluster"
        ):
            async for _ in crew.at_work(0.25):
                pass
        return time.monotonic() - killed_s


def left(look: Callable[[], set[int]]) -> set[int]:
    """Processes that are there, once those that end have had the time to."""
    deadline_s = time.monotonic() + GONE_S
    while (there := look()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return there


def at_work(network: Network) -> set[int]:
    """Processes that a Dask worker has started to work for us."""
    found = set()
    for pid in network.pids():
        with suppress(psutil.NoSuchProcess):
            if any("multiprocessing.spawn" in word for word in psutil.Process(pid).cmdline()):
                found.add(pid)
    return found


def test_clocks_are_found_a_lost_worker_is_named_and_nothing_is_left_running(
    networks: tuple[Network, Network], dask: DaskCluster, command: Command
) -> None:
    ada, bob = networks
    refused = command("load", "--workers", dask.address)
    assert refused.code == 2
    assert "is on another machine or network, and the server is at localhost" in refused.err

    with cluster_workers(dask.address) as workers:
        assert {one.name: (one.host, one.is_here) for one in workers.members} == {
            "ada": (ada.address, False), "bob": (bob.address, False),
        }  # fmt: skip
        planted = {"ada": 0, "bob": AHEAD_NS}
        for member, clock in zip(workers.members, asyncio.run(clocks_of(workers)), strict=True):
            assert abs(clock.offset_ns - planted[member.name]) < EXACT_NS, member
            assert abs(clock.ticks_ns) < EXACT_NS  # of one machine's processor
            assert clock.correction_ns == (clock.offset_ns if member.name == "bob" else 0)

        both = workers.members
        workers.members = both[:1]  # under libfaketime, time.sleep fails
        machines, findings = machines_elsewhere(workers)
        workers.members = both
        assert set(machines) == {"ada"}
        assert findings and all(str(both[0]) in finding.observed for finding in findings)

        took_s = asyncio.run(work_until_one_is_killed(workers, networks, dask.processes["bob"]))
        assert took_s < 2.0  # bound: what is promised of a worker whose connections are closed
    dask.processes["bob"].wait()
    assert left(bob.pids) == set()
    assert left(lambda: at_work(ada)) == set()
    assert dask.processes["ada"].poll() is None  # the Dask worker itself is not ours to end
    dask.processes["ada"].kill()
    dask.processes["ada"].wait()
    assert left(ada.pids) == set()
