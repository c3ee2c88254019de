"""Workers on a Dask cluster beside local ones: the same rate, and what distribution costs (docs/adr/0031).

``python -m tools.studies.distribution docs/adr/0031-dask-carries-the-workers.json``, as root: each worker of a cluster
is in a network namespace of its own, the server on this machine is reached by all at one address. In turns A B B A,
every load by the command that a user types.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eventmark.server.cluster import Cluster
from eventmark.server.installations import embedded_installation
from eventmark.stats.ratios import Ratio, paired_ratio
from tests.dask_cluster import DaskCluster, dask_cluster
from tests.networks import Network, network

ROUNDS = 6  # each measures both ways twice
SECONDS = 6
USERS = 16
RATE_PER_S = 400
EVENTS = "200k"
ROOT = Path(__file__).parents[2]

LOCAL = "local processes"
HERE = "Dask workers on one machine"
APART = "Dask workers in networks of their own"


@contextmanager
def reachable_server(directory: Path) -> Iterator[tuple[int, str]]:
    """The port and the password of a server that other networks of this machine reach."""
    cluster = Cluster(embedded_installation(), directory / "cluster")
    cluster.prepare([])
    data = cluster.directory / "data"
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("listen_addresses = '*'\nshared_preload_libraries = 'pg_stat_statements'\n")
        settings.write("shared_buffers = '1GB'\nmax_wal_size = '8GB'\n")
    with (data / "pg_hba.conf").open("a") as hosts:
        hosts.write("host all all 10.213.0.0/16 scram-sha-256\n")
    cluster.start()
    try:
        yield cluster.port, cluster.password
    finally:
        cluster.stop()
        cluster.remove()


def load(dsn: str, workers: str, out: Path, *how: str) -> dict[str, float]:
    """Operations a second, and the client's processor microseconds of each, of one load."""
    subprocess.run(
        [
            Path(sys.executable).with_name("eventmark"), "load", "--server", dsn, "--events", EVENTS, "--no-baselines",
            "--seconds", str(SECONDS), "--workers", workers, "--out", str(out), *how,
        ],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, cwd=out.parent, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    per_s = result["figures"]["operations_per_s"]["value"]
    table = next(
        table for section in result["sections"] for table in section["tables"] if table["title"] == "Workers"
    )
    return {"per_s": per_s, "cpu_us": 1e6 * sum(row[1] for row in table["rows"]) / per_s}


def beside(dsn: str, ways: Sequence[tuple[str, str]], figure: str, out: Path, *how: str) -> dict[str, Any]:
    """The second way's figure as a multiple of the first's, round by round."""
    rounds: dict[str, list[float]] = {name: [] for name, _ in ways}
    for number in range(-1, ROUNDS):  # the first is to warm up
        turns: dict[str, list[float]] = {name: [] for name, _ in ways}
        for name, workers in [*ways, *reversed(ways)]:
            turns[name].append(load(dsn, workers, out, *how)[figure])
        for name, values in turns.items() if number >= 0 else ():
            rounds[name].append(sum(values) / len(values))
    (base, own), (other, others) = rounds.items()
    ratio: Ratio = paired_ratio(others, own)
    return {
        "ratio": [round(value, 4) for value in (ratio.value, ratio.low, ratio.high)],
        base: [round(value, 1) for value in own], other: [round(value, 1) for value in others],
    }  # fmt: skip


def cluster_apart(stack: ExitStack, folder: Path, networks: Sequence[Network], password: str) -> DaskCluster:
    cluster = stack.enter_context(dask_cluster(folder, host=networks[0].gateway))
    for number, one in enumerate(networks):
        cluster.add_worker(
            f"worker-{number}", "--host", one.address, within=one.within, given={"PGPASSWORD": password}
        )
    return cluster


def measure(folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        networks = [stack.enter_context(network(number)) for number in range(1, 5)]
        port, password = stack.enter_context(reachable_server(folder))
        os.environ["PGPASSWORD"] = password
        dsn, out = f"postgresql://eventmark@{networks[0].gateway}:{port}/postgres", folder / "out"
        logs = {name: folder / name for name in ("here", "two", "four")}
        for path in logs.values():
            path.mkdir()
        here = stack.enter_context(dask_cluster(logs["here"], "worker-0", "worker-1")).address
        two = cluster_apart(stack, logs["two"], networks[:2], password).address
        four = cluster_apart(stack, logs["four"], networks, password).address
        users = ("--users", str(USERS))
        load(dsn, "2", out, *users)  # seeds
        return {
            "client CPU of an operation, microseconds, 2 workers": beside(
                dsn, [(LOCAL, "2"), (HERE, here)], "cpu_us", out, "--rate", str(RATE_PER_S)
            ),
            "operations a second, 2 workers": beside(dsn, [(LOCAL, "2"), (APART, two)], "per_s", out, *users),
            "operations a second, 4 workers": beside(
                dsn, [(LOCAL, "4"), (APART, four)], "per_s", out, *users
            ),
        }


def main(path: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers, workers and networks end with us
    with tempfile.TemporaryDirectory(prefix="eventmark-study-") as folder:
        Path(folder).chmod(0o755)  # the server's account reads below it
        measured = measure(Path(folder))
    document = {
        "distributed": version("distributed"), "python": sys.version.split()[0], "cores": os.cpu_count(),
        "events": EVENTS, "users": USERS, "rate_per_s": RATE_PER_S, "seconds": SECONDS, "rounds": ROUNDS,
        "measured": measured,
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
