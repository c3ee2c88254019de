"""A job's work on the machines of a cluster: what travels there, and what does not.

The DSN travels without its password, which libpq finds there as it does anywhere: in PGPASSWORD or a password file.
The folder of a user's store travels by its content.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from psycopg.conninfo import conninfo_to_dict

from eventmark.config import Settings
from eventmark.errors import CannotRunError, UsageError
from eventmark.redaction import is_dsn, redact_text
from eventmark.results.results import Finding, HostEnvironment
from eventmark.server import Server, host_environment
from eventmark.server.dsn import read_dsn, split_password
from eventmark.server.fitness import machine_findings
from eventmark.server.loop import on_loop
from eventmark.stores import store_names
from eventmark.workers.cluster import SCHEME, ClusterWorkers, Member, cluster_workers

FOLDER_BYTES_MAX = 16 * 2**20
_REACH_TIMEOUT_S = 10.0
_LOCAL = ("", "localhost", "127.", "::1", "/")
_SERVER = "select pg_postmaster_start_time()::text || ' ' || current_database()"


@contextmanager
def chosen_cluster(settings: Settings) -> Iterator[ClusterWorkers | None]:
    """The cluster that ``--workers`` names; None where it is a number. Raises ``UsageError`` and ``CannotRunError``."""
    if not settings.workers.startswith(SCHEME):
        yield None
        return
    for flag, value in (("--profiler", settings.profiler), ("--metrics-port", settings.metrics_port)):
        if value:
            raise UsageError(
                f"{flag} sees the processes of this machine alone", remedy=f"leave it out with --workers {SCHEME}"
            )  # fmt: skip
    with cluster_workers(settings.workers) as cluster:
        _check_address(settings.server, cluster)
        yield cluster


@contextmanager
def on_cluster(cluster: ClusterWorkers | None, server: Server, store: str) -> Iterator[None]:
    """The cluster made ready for work on this server and store. Raises ``CannotRunError`` where a worker can't."""
    if cluster is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="eventmark-") as folder:
        passwords = Path(folder) / "passwords"
        cluster.pack = _Packing(store, _files_of(store), _written(passwords, server.dsn))
        wanted = on_loop(_server_at(server.dsn))
        reached = cluster.on_each(reach, Reach(server.dsn))
        for member, answer in zip(cluster.members, reached, strict=True):
            if answer != wanted:
                raise CannotRunError(
                    f"worker {member} reaches another server by the address {server.address}",
                    remedy="name the server by an address that is the same on all machines",
                )
        yield


def machines_elsewhere(cluster: ClusterWorkers | None) -> tuple[dict[str, HostEnvironment], list[Finding]]:
    """The machines of the workers that are not on this one, by worker; and how fit each machine is."""
    away = [] if cluster is None else [member for member in cluster.members if not member.is_here]
    if cluster is None or not away:
        return {}, []
    first = {worker.place: worker for worker in reversed(away)}
    seen = dict(zip(first, cluster.on_each(look_at_machine, None, list(first.values())), strict=True))
    findings = [
        msgspec.structs.replace(finding, observed=f"worker {first[machine]}: {finding.observed}")
        for machine, (_, fitness) in seen.items()
        for finding in fitness
    ]
    return {worker.name: seen[worker.place][0] for worker in away}, findings


def look_at_machine(_: None) -> tuple[HostEnvironment, list[Finding]]:
    """On a worker: its machine."""
    return host_environment(), machine_findings()


@dataclass(frozen=True, slots=True)
class Reach:
    """Which server to look for."""

    dsn: str


def reach(task: Reach) -> str:
    """On a worker: what tells the server from others. Raises ``CannotRunError``."""
    try:
        return on_loop(_server_at(task.dsn))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = str(error).partition("\n")[0] or "no answer in time"
        raise CannotRunError(
            f"it cannot reach the server: {redact_text(reason)}",
            remedy="check that its machine may connect, and has the password in PGPASSWORD or a password file",
        ) from None


async def _server_at(dsn: str) -> str:
    connection = await asyncpg.connect(dsn, timeout=_REACH_TIMEOUT_S)
    try:
        return str(await connection.fetchval(_SERVER))
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class _Packing:
    """Makes parcels. ``passwords`` is a file for workers on this machine, which may have no other."""

    store: str
    files: Mapping[str, bytes]
    passwords: Path

    def __call__(self, member: Member, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Parcel:
        passfile = str(self.passwords) if member.is_here else ""
        return Parcel(
            work,
            tuple(_without_password(argument, passfile) for argument in arguments),
            self.store,
            self.files,
        )


@dataclass(frozen=True, slots=True)
class Parcel:
    """Work and its arguments as they travel; called on the worker, it gives them the DSN and the store there."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    store: str
    files: Mapping[str, bytes]

    def __call__(self) -> Any:
        with tempfile.TemporaryDirectory(prefix="eventmark-") as folder:
            for name, content in self.files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return self.work(*(self._arrived(argument, Path(folder)) for argument in self.arguments))

    def _arrived(self, argument: Any, folder: Path) -> Any:
        """With the DSN, and where it names the store that came along, that."""
        if isinstance(argument, tuple):
            return tuple(self._arrived(part, folder) for part in argument)
        if hasattr(argument, "dsn"):
            argument = replace(argument, dsn=read_dsn(argument.dsn))
        if self.files and getattr(argument, "store", "") == self.store:
            argument = replace(argument, store=str(folder / Path(next(iter(self.files))).parts[0]))
        return argument


def _without_password(argument: Any, passfile: str) -> Any:
    if isinstance(argument, tuple):
        return tuple(_without_password(part, passfile) for part in argument)
    if not hasattr(argument, "dsn"):
        return argument
    dsn, _ = split_password(argument.dsn)
    if passfile:
        dsn += f"{'&' if '?' in dsn else '?'}passfile={passfile}"
    return replace(argument, dsn=dsn)


def _written(path: Path, dsn: str) -> Path:
    """A password file of libpq's with the DSN's password, for this user alone."""
    password = split_password(dsn)[1].get("password", "")
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:*:{escaped}\n" if password else "", encoding="utf-8")
    return path


def _files_of(store: str) -> dict[str, bytes]:
    """The files of a user's store by their paths, the folder's own name first; none of a bundled store."""
    if store in store_names():
        return {}
    folder = Path(store).expanduser().resolve()
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    if sum(path.stat().st_size for path in paths) > FOLDER_BYTES_MAX:
        raise UsageError(
            f"{store} holds more than {FOLDER_BYTES_MAX // 2**20} MiB, which do not travel to workers",
            remedy="remove the files that are not part of the store from its folder",
        )
    return {str(path.relative_to(folder.parent)): path.read_bytes() for path in paths}


def _check_address(server: str, cluster: ClusterWorkers) -> None:
    """Raises ``UsageError`` where workers elsewhere would look for the server on their own machine."""
    away = next((member for member in cluster.members if not member.is_here), None)
    hosts = str(conninfo_to_dict(read_dsn(server)).get("host", "")).split(",") if is_dsn(server) else [""]
    local = next((host for host in hosts if host in _LOCAL or host.startswith(("127.", "/"))), None)
    if away is not None and local is not None:
        raise UsageError(
            f"worker {away} is on another machine or network, and the server is at {local or 'localhost'}",
            remedy="name the server by an address that every worker reaches",
        )
