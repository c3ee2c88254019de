"""A Dask cluster on this machine, started by Dask's own commands, as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eventmark.server.cluster import free_port

ROOT = Path(__file__).parents[1]
START_S = 60.0


@dataclass
class DaskCluster:
    """``logs`` are what the scheduler and the workers print; ``host`` is the scheduler's address."""

    port: int
    logs: Path
    host: str = "127.0.0.1"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"dask://{self.host}:{self.port}"

    def start(
        self, name: str, ready: str, *arguments: str, within: Sequence[str] = (), given: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """``within`` is the command that runs it, ``given`` its environment beside ours."""
        log = self.logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*within, sys.executable, "-m", "dask", *arguments], stdout=out, stderr=out, cwd=self.logs,
                env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"} | dict(given or {}),
            )  # fmt: skip
        self.processes[name] = process
        deadline_s = time.monotonic() + START_S
        while ready not in log.read_text() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert ready in log.read_text(), log.read_text()
        return process

    def add_worker(
        self, name: str, *own: str, within: Sequence[str] = (), given: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        return self.start(
            name, "Registered to:", "worker", f"tcp://{self.host}:{self.port}", "--no-nanny", "--nthreads", "1",
            "--no-dashboard", "--name", name, *own, within=within, given=given,
        )  # fmt: skip

    def said(self) -> str:
        return "".join(path.read_text() for path in self.logs.glob("*.log"))


@contextmanager
def dask_cluster(logs: Path, *workers: str, host: str = "127.0.0.1") -> Iterator[DaskCluster]:
    cluster = DaskCluster(free_port(), logs, host)
    try:
        cluster.start(
            "scheduler", "Scheduler at:", "scheduler", "--host", host, "--port", str(cluster.port),
            "--no-dashboard", "--no-jupyter",
        )  # fmt: skip
        for name in workers:
            cluster.add_worker(name)
        yield cluster
    finally:
        for process in reversed(cluster.processes.values()):
            process.kill()
            process.wait()
