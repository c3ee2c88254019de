"""Workers on a Dask cluster: the same harness, nothing of a task to be read on the way, and every loss named."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.isolation.isolation import chosen_tenants
from eventmark.experiments.isolation.legs import Duel, run_leg
from eventmark.experiments.streaming.delivery import measure_deliveries
from eventmark.experiments.streaming.group import Setting, executor_of_workers
from eventmark.experiments.streaming.sizes import DEFAULT_WAY, SIZES
from eventmark.jobs.cluster import Reach, _Packing, reach
from eventmark.jobs.job import draw_sample
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.plan import LoadPlan
from eventmark.redaction import redact
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.seeding import no_progress, seed
from eventmark.server import Server
from eventmark.server.dsn import split_password
from eventmark.stores import find_store
from eventmark.verify import HuntPlan, engine_subject, hunt
from eventmark.workers import Crew, WorkerLink, call, cluster, hand_over
from eventmark.workers.cluster import Call, ClusterWorkers, Member, cluster_workers, partial_of
from eventmark.workload import CorpusPlan
from eventmark.workload.arrivals import Arrivals
from tests.cli.conftest import Command
from tests.dask_cluster import DaskCluster, dask_cluster
from tests.database import fetch
from tests.experiments.seeded import job_on

SECRET = "pa55-of-the-cluster"


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), "ada", "bob") as started:
        yield started


@pytest.fixture(scope="module")
def workers(dask: DaskCluster) -> Iterator[ClusterWorkers]:
    """The two of the cluster, for all tests that lose none."""
    with cluster_workers(dask.address) as found:
        yield found


@pytest.fixture
def used(workers: ClusterWorkers, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which worker each task of a test went to."""
    names: list[str] = []

    def pack(member: Member, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Call:
        names.append(member.name)
        return partial_of(member, work, arguments)

    monkeypatch.setattr(workers, "pack", pack)
    return names


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
        folder = str(tmp_path / "no-such-folder")
        workers.pack = _Packing(folder, {"mine/schema.sql": b"create table"}, passwords)
        read = call(workers, run_reading, Task(dsn, folder))
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


def test_a_worker_that_is_killed_while_it_seeds_is_named_within_two_seconds_and_nothing_is_lost(
    dask: DaskCluster, database: str
) -> None:
    victim, killed_s = dask.add_worker("eve"), [0.0]
    store, plan = find_store("eaf"), CorpusPlan(60_000, seed=3, payload_profile="small")

    def kill(stage: str, done: float, total: float) -> None:
        if stage == "load" and done and not killed_s[0]:
            victim.kill()
            killed_s[0] = time.monotonic()

    with cluster_workers(dask.address) as workers:
        assert {one.name for one in workers.members} == {"ada", "bob", "eve"}
        with pytest.raises(CannotRunError, match=r"worker eve on .* died, or left the cluster"):
            asyncio.run(seed(database, store, plan, schema="eventmark", cluster=workers, progress=kill))
        assert time.monotonic() - killed_s[0] < 2.0  # bound: what is promised
        victim.wait()
        workers.members = tuple(one for one in workers.members if one.name != "eve")
        report = asyncio.run(seed(database, store, plan, schema="eventmark", cluster=workers))
    assert report.resumed and 0 < report.events < plan.events
    events = "select count(distinct global_sequence_id), max(global_sequence_id) from eventmark.domain_events"
    assert fetch(database, f"select (count, max)::text from ({events}) e") == "(60000,60000)"
    assert fetch(database, "select sum(events) from eventmark.eventmark_seed_batches") == plan.events


@pytest.mark.long
def test_a_hunt_has_its_writers_and_consumers_on_the_workers(
    workers: ClusterWorkers, used: list[str], database: str
) -> None:
    plan = HuntPlan(subject=engine_subject("horizon"), events=1500, seconds=20.0, paced_s=0.3, held_s=0.3)
    found = hunt(database, "hunted", plan, cluster=workers)
    assert set(used) == {"ada", "bob"}
    assert len(used) == 6  # two with consumers, the paced writer, and three
    assert found.committed >= 1500
    assert (found.lost, found.duplicated, found.out_of_order) == (0, 0, 0)
    assert found.verdict is not Verdict.BROKEN
    assert found.visible_ms is not None


@pytest.mark.long
def test_events_are_delivered_from_one_worker_to_another(
    workers: ClusterWorkers, used: list[str], server: Server, corpus: str
) -> None:
    job = replace(job_on(server, corpus), cluster=workers)
    sizes = replace(SIZES["quick"], delivery_s=0.5, deliveries_per_s=50.0, ways=(DEFAULT_WAY,))
    with executor_of_workers(job) as executor:
        setting = Setting(job=job, executor=executor, sizes=sizes, progress=no_progress)
        (found,) = measure_deliveries(setting)
    assert sorted(used) == ["ada", "bob"]
    assert found.appends and not found.lost
    assert found.doubt_ms == 0 and found.sure  # one machine has one clock


@pytest.mark.long
def test_a_tenant_and_its_aggressor_work_from_two_workers(
    workers: ClusterWorkers, used: list[str], server: Server, corpus: str
) -> None:
    job = replace(job_on(server, corpus), cluster=workers)
    victim, aggressor = chosen_tenants(job, sample := draw_sample(job), "", "")
    plan = LoadPlan(
        mix=parse_mix("append_events[1]=1"), seconds=0.5, arrivals=Arrivals("poisson", 50.0), pool_max=2,
        tenants=(victim,), warm_rounds=1,
    )  # fmt: skip
    duel = Duel(
        job=job, sample=sample, victim=plan, victim_tenant=victim, aggressor_tenant=aggressor, users=1, follows=True
    )  # fmt: skip
    leg = run_leg(duel, "bulk-append", 1, workers, workers)
    assert used == [workers.members[0].name, workers.members[1].name]
    assert leg.work is not None and leg.work.calls
    assert sum(one.succeeded for one in leg.outcome.operations.values()) > 5
    assert leg.lag_s and min(leg.lag_s) > -0.001


@pytest.mark.parametrize("verb", ["seed", "verify", "stream", "isolate", "certify", "soak"])
def test_every_verb_of_a_cluster_looks_for_it_before_anything_else(verb: str, command: Command) -> None:
    refused = command(verb, "--workers", "dask://nowhere")
    assert refused.code == 2
    assert "names no scheduler" in refused.err


def test_verbs_that_choose_their_processes_take_no_number_of_them(command: Command) -> None:
    for verb in ("verify", "stream"):
        refused = command(verb, "--workers", "3")
        assert refused.code == 2
        assert f"{verb} chooses how many processes it has" in refused.err
    assert "which --existing does not put" in command("certify", "--existing", "--workers", "dask://x:1").err


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
