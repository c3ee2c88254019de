"""Clusters of a test's own, that can be killed, filled, copied and promoted; and disks that are small."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from eventmark.engine import install_schema
from eventmark.errors import CannotRunError
from eventmark.server import Server
from eventmark.server.account import server_account
from eventmark.server.cluster import Cluster, free_port
from eventmark.server.directory import MARKER_FILE
from eventmark.server.tuning import Setting
from tests.engine.builders import SCHEMA, until

CRASHES = {"stopped at once": signal.SIGQUIT, "killed": signal.SIGKILL}


class OwnCluster:
    """A cluster that a test may do anything to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def dsn(self) -> str:
        return f"postgresql://eventmark:{self.cluster.password}@127.0.0.1:{self.cluster.port}/postgres"

    @property
    def data(self) -> Path:
        return self.cluster.directory / "data"

    async def install(self, ordering: str = "horizon") -> None:
        connection = await asyncpg.connect(self.dsn)
        await install_schema(connection, SCHEMA, ordering=ordering)
        await connection.close()

    async def crash(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the postmaster without a checkpoint: nothing is written any more."""
        assert self.cluster.pid is not None
        os.kill(self.cluster.pid, how)
        await asyncio.to_thread(self.cluster.stop)

    async def lose(self) -> None:
        """As when its machine is gone: all its processes at once.

        Killing the postmaster alone leaves the others going for a moment, in which they show commits that no
        synchronous replica has confirmed.
        """
        assert self.cluster.pid is not None
        postmaster = psutil.Process(self.cluster.pid)
        postmaster.suspend()  # it starts no more
        everybody = [*postmaster.children(recursive=True), postmaster]
        for how in (psutil.Process.suspend, psutil.Process.kill):
            for process in everybody:
                with suppress(psutil.NoSuchProcess):
                    how(process)
        await asyncio.to_thread(self.cluster.stop)

    async def start(self) -> None:
        """Again; the processes of a postmaster that was killed may need a moment to notice."""
        await until(self._started)

    async def _started(self) -> bool:
        try:
            await asyncio.to_thread(self.cluster.start)
        except CannotRunError as error:
            if "still in use" in str(error) or "in use" in str(error):
                return False
            raise
        return True


@contextmanager
def own_cluster(
    server: Server,
    settings: dict[str, str] | None = None,
    *,
    prepare: Callable[[Path], None] = lambda _: None,
) -> Iterator[OwnCluster]:
    """A running cluster of the test server's version; ``prepare`` is given its data directory before it starts."""
    with _directory() as place:
        cluster = _prepared(server, place, settings or {})
        try:
            prepare(place / "data")
            cluster.start()
            yield OwnCluster(cluster)
        finally:
            cluster.stop()
            cluster.remove()


@contextmanager
def replica_of(
    server: Server, primary: OwnCluster, settings: dict[str, str] | None = None
) -> Iterator[OwnCluster]:
    """A standby that streams from ``primary``."""
    assert server.bin_directory is not None
    account, source = server_account(), primary.cluster
    with _directory() as place:
        (place / MARKER_FILE).write_text("a copy\n")
        (place / "password").write_text(source.password)
        (place / "data").mkdir(mode=0o700)
        account.own(place / "data")
        conninfo = f"host=127.0.0.1 port={source.port} user=eventmark"
        subprocess.run(
            [
                server.bin_directory / "pg_basebackup", "--checkpoint=fast", "--no-sync",
                "-D", place / "data", "-d", conninfo,
            ],
            check=True, cwd="/", env={**os.environ, "PGPASSWORD": source.password}, **account.popen_arguments(),
        )  # fmt: skip
        (place / "data" / "standby.signal").touch()
        account.own(place / "data" / "standby.signal")
        standby = {"primary_conninfo": f"{conninfo} password={source.password}", **(settings or {})}
        cluster = _prepared(server, place, standby)
        try:
            cluster.start()
            yield OwnCluster(cluster)
        finally:
            cluster.stop()
            shutil.rmtree(place / "data", ignore_errors=True)


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    """A folder, the server's own, that holds so much and no more; skips where none can be mounted."""
    place = Path(tempfile.mkdtemp(prefix="eventmark-"))
    size = f"size={mebibytes}m,mode=700"
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip("a small disk cannot be mounted here: " + mounted.stderr.decode().strip())
        try:
            server_account().own(place)
            yield place
        finally:
            # Lazily: a server that a failed test has left running goes when its own fixture ends.
            subprocess.run(["umount", "--lazy", place], check=True)
    finally:
        place.rmdir()


def fill(disk: Path, *, leaving_bytes: int = 0) -> Path:
    """A file that takes what is free on a disk."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):  # others take from the same room
        while (free := os.statvfs(disk)).f_bavail * free.f_frsize > leaving_bytes:
            file.write(bytes(min(free.f_bavail * free.f_frsize - leaving_bytes, 2**16)))
    return path


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="eventmark-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _prepared(server: Server, place: Path, settings: dict[str, str]) -> Cluster:
    assert server.bin_directory is not None
    cluster = Cluster(server.bin_directory.parent, place, port=free_port(), temporary=True)
    own = [Setting(name, value, "for this test") for name, value in settings.items()]
    cluster.prepare([one for one in server.tuning if one.name not in settings] + own)
    return cluster
