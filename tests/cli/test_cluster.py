"""Workers on a Dask cluster: the same harness, nothing of a task to be read on the way, and every loss named."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.cluster import Reach, _Packing, reach
from eventmark.redaction import redact
from eventmark.results.files import read_result
from eventmark.server.dsn import split_password
from eventmark.workers import Crew, WorkerLink, call, cluster, hand_over
from eventmark.workers.cluster import ClusterWorkers, cluster_workers
from tests.cli.conftest import Command
from tests.dask_cluster import DaskCluster, dask_cluster

SECRET = "pa55-of-the-cluster"


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), "ada", "bob") as started:
        yield started


@dataclass(frozen=True)
class Task:
    """As the tasks that name a server."""

    dsn: str
    store: str


def run_telling_processes(_: Task) -> tuple[int, int]:
    return os.getpid(), os.getppid()


def run_reading(task: Task) -> tuple[str, str]:
    return task.dsn, (Path(task.store) / "schema.sql").read_text()


def run_slowly(_: Task) -> None:
    time.sleep(1)


def run_failing(task: Task) -> None:
    raise ValueError(f"cannot work on {redact(task.dsn)}")


async def run_waiting(share: int, link: WorkerLink) -> int:
    await link.ready()
    await asyncio.sleep(share)
    return share


def test_a_crew_starts_together_each_in_a_process_of_its_own_and_no_clock_is_ahead(dask: DaskCluster) -> None:
    async def main(workers: ClusterWorkers) -> tuple[list[cluster.Member], list[int]]:
        async with Crew(workers, run_waiting, [0, 0]) as crew:
            await crew.ready()
            crew.start()
            assert await crew.results() == [0, 0]
            assert [clock.uncertainty_ns < 50e6 for clock in crew.clocks] == [True, True]
            return [clock.correction_ns for clock in crew.clocks]

    with cluster_workers(dask.address) as workers:
        assert {one.name for one in workers.members} == {"ada", "bob"}
        assert asyncio.run(main(workers)) == [0, 0]
        own, parent = call(workers, run_telling_processes, Task("", ""))
        assert parent in {dask.processes[name].pid for name in ("ada", "bob")}
        assert own != parent


def test_a_password_stays_here_and_a_stores_folder_travels_by_content(
    dask: DaskCluster, tmp_path: Path
) -> None:
    dsn, passwords = f"postgresql://ann:{SECRET}@127.0.0.1/db", tmp_path / "passwords"
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{SECRET}\n")
    with cluster_workers(dask.address) as workers:
        workers.pack = _Packing({"mine/schema.sql": b"create table"}, passwords)
        read = call(workers, run_reading, Task(dsn, str(tmp_path / "no-such-folder")))
        assert read == (f"postgresql://ann:{SECRET}@127.0.0.1/db", "create table")
        with pytest.raises(ValueError, match=r"cannot work on postgresql://ann@127\.0\.0\.1/db") as failed:
            call(workers, run_failing, Task(dsn, ""))
        assert any("on worker" in note for note in failed.value.__notes__)
        with pytest.raises(CannotRunError, match=r"worker (ada|bob) on .*: it cannot reach the server"):
            workers.on_each(reach, Reach(f"postgresql://ann:{SECRET}@127.0.0.1:1/db"))
        slow = hand_over(workers, run_slowly, Task(dsn, ""))
        time.sleep(0.2)
        state = workers._client.run_on_scheduler(_all_that_it_has)
        slow.result()
    assert "run_sealed" in state and SECRET not in state
    assert SECRET not in dask.said()


def _all_that_it_has(dask_scheduler: object) -> str:
    tasks = [repr((task, task.run_spec)) for task in dask_scheduler.tasks.values()]  # type: ignore[attr-defined]
    return repr((tasks, list(dask_scheduler.transition_log), dask_scheduler._broker._topics))  # type: ignore[attr-defined]


def test_a_worker_that_is_killed_is_named_within_two_seconds(dask: DaskCluster) -> None:
    victim = dask.add_worker("eve")
    with cluster_workers(dask.address) as workers:
        workers.members = tuple(one for one in workers.members if one.name == "eve")
        assert call(workers, run_telling_processes, Task("", ""))[1] == victim.pid
        future = hand_over(workers, time.sleep, 60)
        time.sleep(1.0)
        victim.kill()
        killed_s = time.monotonic()
        with pytest.raises(CannotRunError, match=r"worker eve on .* died, or left the cluster"):
            future.result(30)
        assert time.monotonic() - killed_s < 2.0  # bound: what is promised
        victim.wait()


def test_what_is_no_cluster_is_refused_by_name(
    dask: DaskCluster, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="names no scheduler"), cluster_workers("dask://nowhere"):
        pass
    with pytest.raises(CannotRunError, match=r"no Dask scheduler answers at 127\.0\.0\.1:1"):
        monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 0.2)
        with cluster_workers("dask://127.0.0.1:1"):
            pass
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 10.0)
    with monkeypatch.context() as other:
        other.setattr(cluster, "versions", lambda: {"eventmark": "0.0.0"})
        with (
            pytest.raises(CannotRunError, match=r"worker (ada|bob) at 127\.0\.0\.1 has eventmark"),
            cluster_workers(dask.address),
        ):
            pass
    monkeypatch.setattr(cluster, "own_place", lambda: "elsewhere")
    refused = command("load", "--workers", dask.address)
    assert refused.code == 2
    assert "is on another machine or network, and the server is at localhost" in refused.err
    assert command("isolate", "--workers", dask.address).code == 2
    assert "--profiler sees the processes of this machine alone" in (
        command("load", "--workers", dask.address, "--profiler", "cpu").err
    )


def test_a_load_comes_from_the_workers_and_no_password_from_this_machine(
    dask: DaskCluster, command: Command, corpus: str, tmp_path: Path
) -> None:
    done = command(
        "load", "--server", corpus, "--schema", "eventmark", "--events", "20k", "--profile", "quick", "--rate", "50",
        "--seconds", "1", "--workers", dask.address,
    )  # fmt: skip
    assert done.code in (0, 1, 3), done.err
    result = read_result(tmp_path / "out" / "result.json")
    (health,) = [one for one in result.sections if one.name == "generator"]
    assert len(health.tables[0].rows) == 2
    assert sum(one.samples for one in result.operations.values()) > 20
    password = split_password(corpus)[1]["password"]
    assert password and password not in dask.said()
