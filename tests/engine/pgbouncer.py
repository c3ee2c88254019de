"""PgBouncer before a test's server."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from eventmark.server.account import server_account
from eventmark.server.cluster import free_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SERVER_CONNECTIONS = 2
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"
)


@contextmanager
def pooler(
    dsn: str, user: str, password: str, *, pool_mode: str = "transaction", options: str = ""
) -> Iterator[str]:
    """A DSN that leads through PgBouncer; each transaction, or each client, gets one of a few server connections.

    ``options`` are more lines of its file, which stand over these.
    """
    server, port, account = urlsplit(dsn), free_port(), server_account()
    with tempfile.TemporaryDirectory(prefix="eventmark-") as name:
        place = Path(name)
        (place / "users").write_text(f'"{user}" "{password}"\n')
        (place / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {place / 'users'}\n"
            f"pool_mode = {pool_mode}\ndefault_pool_size = {SERVER_CONNECTIONS if pool_mode == 'transaction' else 20}\nlogfile = {place / 'log'}\n"
            + options
        )
        for path in (place, *place.iterdir()):
            account.own(path)
        assert PGBOUNCER is not None
        process = subprocess.Popen(
            [PGBOUNCER, "-q", str(place / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **account.popen_arguments(),
        )  # fmt: skip
        try:
            yield urlunsplit(server._replace(netloc=f"{user}:{password}@127.0.0.1:{port}"))
        finally:
            process.terminate()
            process.wait(20)


async def answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, statement_cache_size=0)
    except OSError:
        return False
    await connection.close()
    return True
