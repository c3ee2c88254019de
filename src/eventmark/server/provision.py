"""A server to test on: embedded, local, a container, or one that exists already."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from eventmark.errors import CannotRunError, UsageError
from eventmark.redaction import is_dsn, redact, register
from eventmark.server import machine
from eventmark.server.cluster import SUPERUSER, Cluster
from eventmark.server.dsn import VERSION_NUM_MIN, check_server, read_dsn, split_password
from eventmark.server.installations import embedded_installation, local_installation, program_places
from eventmark.server.pooler import refuse_lost_settings
from eventmark.server.processes import postmaster_of
from eventmark.server.programs import fitting_programs, is_encrypted, service_of
from eventmark.server.read_only import read_only_dsn
from eventmark.server.role import STORE_ROLE, make_store_role, store_dsn
from eventmark.server.search_path import (
    confined_dsn,
    extension_schemas,
    unconfined_dsn,
    with_options,
    without_options,
)
from eventmark.server.session_settings import replaced_settings, session_options
from eventmark.server.tuning import Setting, production_settings

DATABASE = "postgres"
_CONTAINER_IMAGE = "postgres:18"
_CONTAINER_SHARED_MEMORY_BYTES = 64 * 2**20  # what a container's /dev/shm has unless told otherwise

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers. ``pid`` is its postmaster's, where it runs on this machine; ``directory`` is known only
    of one that we started.

    ``dsn`` is what a store's SQL runs by: of ``STORE_ROLE`` on servers of our own. ``replaced_settings`` are those of
    its role, database or server that its sessions do not have: see ``session_settings``.
    Of one that is ``read_only`` they write nothing, and keep all settings: see ``read_only_dsn``.
    """

    kind: str
    dsn: str = field(repr=False)
    version: str
    version_num: int
    tuning: tuple[Setting, ...]
    bin_directory: Path | None
    directory: Path | None = None
    pid: int | None = None
    kept: bool = False
    extension_schemas: tuple[str, ...] = ()
    superuser_dsn: str = field(default="", repr=False)
    replaced_settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    read_only: bool = False

    def __post_init__(self) -> None:
        for dsn in filter(None, (self.dsn, self.superuser_dsn)):
            register(*split_password(dsn)[1].values(), public=(SUPERUSER, STORE_ROLE))

    def confined(self, schema: str) -> Server:
        """The same, with sessions whose unqualified names lead to ``schema``, then to those of extensions."""
        return replace(self, dsn=confined_dsn(self.dsn, schema, self.extension_schemas))

    @property
    def admin_dsn(self) -> str:
        """For what needs a superuser, on servers of our own. Never where a store's SQL or its triggers run."""
        return self.superuser_dsn or self.dsn

    @property
    def ours(self) -> bool:
        """Whether Eventmark started it, so that all that is in it is its own."""
        return self.kind != "dsn"

    @property
    def address(self) -> str:
        """The DSN without its password, to show."""
        return redact(without_options(unconfined_dsn(self.dsn), session_options(self.replaced_settings)))

    @property
    def program_dsn(self) -> str:
        """The DSN for the command line of psql or pgbench, which every user of the machine can read."""
        return split_password(self.dsn)[0]

    @property
    def program_environment(self) -> dict[str, str]:
        """What such a program needs in its environment besides ``program_dsn``."""
        secrets = split_password(self.dsn)[1]
        # What they print is read: in the words and with the decimal point of no country. Their texts are UTF-8,
        # whatever the role's client_encoding is.
        environment = {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
        if password := secrets.get("password"):
            environment["PGPASSWORD"] = password
        if key_password := secrets.get("sslpassword"):
            environment |= service_of({"sslpassword": key_password})
        return environment


@contextmanager
def provision(
    spec: str = "embedded",
    *,
    directory: Path | None = None,
    keep: bool = False,
    port: int | None = None,
    durable: bool = True,
    settings: Mapping[str, str] | None = None,
    read_only: bool = False,
) -> Iterator[Server]:
    """A server as ``spec`` says: ``embedded``, ``local``, ``docker`` or a ``postgresql://`` DSN.

    A cluster of our own lives in ``directory`` (a temporary one when None) and is removed afterwards
    unless ``keep``; a cluster that was kept there before stays in any case. ``durable=False`` turns fsync
    off, for tests of correctness only. ``settings`` of a cluster of our own stand over its tuning. Whatever
    ends this process, killing included, the server is stopped. ``read_only`` is for a DSN alone.
    Raises ``UsageError`` or ``CannotRunError``.
    """
    if read_only and not is_dsn(spec):
        raise UsageError(
            "--existing reads the data of a server that runs already",
            remedy="name it: --server postgresql://user@host/database",
        )
    if spec == "embedded":
        manager = _own_cluster(spec, embedded_installation(), directory, keep, port, durable, settings or {})
    elif spec == "local":
        manager = _own_cluster(spec, local_installation(), directory, keep, port, durable, settings or {})
    elif spec == "docker":
        manager = _container()
    elif is_dsn(spec):
        manager = _existing(read_dsn(spec), read_only=read_only)
    else:
        raise UsageError(
            f"unknown server {_shown(spec)}",
            remedy="use embedded, local, docker or postgresql://user@host/database",
        )
    with manager as server:
        yield server


def _shown(spec: str) -> str:
    """What was given for a server; what is no word may hold a password."""
    return repr(spec) if re.fullmatch(r"[\w.-]{0,40}", spec) else redact(spec)


@contextmanager
def _own_cluster(
    kind: str,
    installation: Path,
    directory: Path | None,
    keep: bool,
    port: int | None,
    durable: bool,
    chosen: Mapping[str, str],
) -> Iterator[Server]:
    cluster_directory = directory or _temporary_directory()
    try:
        cluster = Cluster(
            installation, cluster_directory, port=port, temporary=directory is None and not keep
        )
        version_num = cluster.version_num()
        if version_num < VERSION_NUM_MIN:
            raise CannotRunError(
                f"{installation} is PostgreSQL {_version(version_num)}", remedy="install 15 or later"
            )
        settings = _overlaid(_settings(installation, cluster_directory, version_num, durable), chosen)
        try:
            kept = cluster.prepare(settings)
            cluster.start()
            dsn = f"postgresql://{SUPERUSER}:{cluster.password}@127.0.0.1:{cluster.port}/{DATABASE}"
            yield Server(
                kind=kind,
                **_run(_prepared(dsn, settings)),
                version=_version(version_num),
                version_num=version_num,
                tuning=settings,
                bin_directory=installation / "bin",
                directory=cluster_directory.absolute(),
                pid=cluster.pid,
                kept=kept,
            )
        finally:
            cluster.stop()
            if not keep:
                cluster.remove()
    finally:
        if directory is None and not keep:
            shutil.rmtree(cluster_directory, ignore_errors=True)


def _temporary_directory() -> Path:
    temporary = Path(tempfile.mkdtemp(prefix="eventmark-"))
    temporary.chmod(0o711)  # the server's user passes through to its data directory, and sees nothing else
    return temporary


def _version(version_num: int) -> str:
    return f"{version_num // 10000}.{version_num % 10000}"


async def _prepared(dsn: str, settings: tuple[Setting, ...]) -> dict[str, Any]:
    """What a server of our own is reached by, once a superuser has made the role of lesser rights."""
    with_statistics = any(setting.name == "shared_preload_libraries" for setting in settings)
    await make_store_role(dsn, with_statistics=with_statistics)
    return {
        "dsn": store_dsn(dsn),
        "superuser_dsn": dsn,
        "extension_schemas": await _extension_schemas(dsn),
    }


async def _extension_schemas(dsn: str) -> tuple[str, ...]:
    connection = await asyncpg.connect(dsn)
    try:
        return await extension_schemas(connection)
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The coroutine's answer, also where an event loop runs already."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


def _settings(installation: Path, directory: Path, version_num: int, durable: bool) -> tuple[Setting, ...]:
    settings = production_settings(
        memory_bytes=machine.memory_bytes(),
        cpu_count=machine.cpu_count(),
        version_num=version_num,
        disk_free_bytes=machine.disk_free_bytes(directory),
        shared_memory_bytes=machine.dynamic_shared_memory_bytes(),
        with_statistics=_has_statistics(installation),
    )
    if durable:
        return settings
    unsafe = {"fsync": "off", "shared_buffers": "128MB", "max_wal_size": "1GB", "min_wal_size": "80MB"}
    return tuple(
        replace(setting, value=unsafe[setting.name], reason="not durable: tests of correctness only")
        if setting.name in unsafe
        else setting
        for setting in settings
    )


def _overlaid(settings: tuple[Setting, ...], chosen: Mapping[str, str]) -> tuple[Setting, ...]:
    kept = tuple(setting for setting in settings if setting.name not in chosen)
    return kept + tuple(Setting(name, value, "as asked for") for name, value in chosen.items())


def _has_statistics(installation: Path) -> bool:
    """Whether the contributed library is there; the server would not start with one that is not."""
    return any(installation.glob("lib*/**/pg_stat_statements.*"))


@contextmanager
def _existing(dsn: str, *, read_only: bool) -> Iterator[Server]:
    version_num, version = _run(check_server(dsn, read_only=read_only))
    _run(refuse_lost_settings(dsn, redact(dsn)))
    replaced = {} if read_only else _run(replaced_settings(dsn))
    dsn = _run(read_only_dsn(dsn)) if read_only else with_options(dsn, session_options(replaced))
    yield _with_programs(
        Server(
            kind="dsn",
            dsn=dsn,
            pid=_run(_postmaster(dsn)),
            extension_schemas=_run(_extension_schemas(dsn)),
            version=version,
            version_num=version_num,
            tuning=(),
            bin_directory=None,
            replaced_settings=replaced,
            read_only=read_only,
        )
    )


async def _postmaster(dsn: str) -> int | None:
    """Its process, where the server runs on this machine."""
    connection = await asyncpg.connect(dsn)
    try:
        return postmaster_of(await connection.fetchval("select pg_backend_pid()"))
    finally:
        await connection.close()


def _with_programs(server: Server) -> Server:
    """With psql and pgbench, for a server whose own we do not have."""
    encrypted = _run(is_encrypted(server.dsn))
    environment = server.program_environment
    programs = fitting_programs(program_places(), server.program_dsn, environment, encrypted=encrypted)
    return replace(server, bin_directory=programs)


@contextmanager
def _container() -> Iterator[Server]:
    image = os.environ.get("EVENTMARK_DOCKER_IMAGE", _CONTAINER_IMAGE)
    settings = production_settings(
        memory_bytes=machine.memory_bytes(),
        cpu_count=machine.cpu_count(),
        version_num=VERSION_NUM_MIN,  # an image of another version has to start with them, too
        shared_memory_bytes=_CONTAINER_SHARED_MEMORY_BYTES,
    )
    with _started_container(image, settings) as dsn:
        version_num, version = _run(check_server(dsn))
        server = Server(
            kind="docker", **_run(_prepared(dsn, settings)), version=version, version_num=version_num, tuning=settings,
            bin_directory=None,
        )  # fmt: skip
        yield _with_programs(server)


@contextmanager
def _started_container(image: str, settings: tuple[Setting, ...]) -> Iterator[str]:
    """The DSN of a container that answers; it is removed afterwards, interrupted starts included."""
    container_class = _container_class()
    logging.getLogger("testcontainers").setLevel(logging.WARNING)  # it tells of each step
    name = f"eventmark-{secrets.token_hex(8)}"
    command = " ".join(["postgres", *(f"-c {setting.name}={setting.value}" for setting in settings)])
    container = None
    try:
        try:
            container = container_class(image, password=secrets.token_hex(16), driver=None)
            if _daemon_is_here():
                container.ports = {"5432": ("127.0.0.1", None)}  # its own call knows no addresses
            container.with_name(name).with_command(command).start()
            dsn = container.get_connection_url()
        except Exception as error:  # the library raises whatever its transport does
            raise CannotRunError(
                f"no container of {image}: {type(error).__name__}",
                remedy="check that Docker runs and has the image",
            ) from error
        yield dsn
    finally:
        if container is not None:
            _remove_container(container, name)


def _remove_container(container: Any, name: str) -> None:
    """By its name: one whose start was interrupted is not yet known to its own object."""
    with suppress(Exception):  # there is none, or no daemon
        container.get_docker_client().client.containers.get(name).remove(force=True, v=True)


def _container_class() -> Any:
    """Testcontainers' own, whose place depends on its release. Raises ``UsageError`` without it."""
    for module in ("testcontainers.community.postgres", "testcontainers.postgres"):
        try:
            return import_module(module).PostgresContainer
        except ImportError:
            continue
    raise UsageError("--server docker needs Testcontainers", remedy="pip install 'eventmark[docker]'")


def _daemon_is_here() -> bool:
    """Whether the daemon's ports are this machine's own, so that they need not be anybody else's."""
    direct = (
        os.environ.get("TESTCONTAINERS_CONNECTION_MODE") == "docker_host" or not Path("/.dockerenv").exists()
    )
    return direct and os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
