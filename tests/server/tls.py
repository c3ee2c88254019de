"""A server that takes TLS only, by a certificate for localhost of an authority of its own, and has few connections."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError
from eventmark.server import Server, provision
from eventmark.server.account import server_account
from eventmark.server.installations import local_installation
from tests.database import execute

CONNECTIONS_MAX = 12
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def _is_installed() -> bool:
    try:
        return bool(local_installation()) and shutil.which("openssl") is not None
    except CannotRunError:
        return False


needs_tls = pytest.mark.skipif(not _is_installed(), reason="no installed PostgreSQL, or no openssl")


def make_certificates(place: Path) -> None:
    """ca.crt, server.crt and server.key."""
    (place / "ext").write_text("subjectAltName=DNS:localhost")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    openssl("req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=Tests", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", *_KEY, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "ext", "-out", "server.crt",
    )  # fmt: skip


@contextmanager
def tls_server(place: Path) -> Iterator[Server]:
    """Its ``dsn`` is its superuser's, with localhost for its host and without an sslmode."""
    make_certificates(place)
    for path in (place, place / "server.crt", place / "server.key"):
        server_account().own(path)
    (place / "server.key").chmod(0o600)
    settings = {
        "ssl": "on", "ssl_cert_file": f"{place}/server.crt", "ssl_key_file": f"{place}/server.key",
        "max_connections": str(CONNECTIONS_MAX),
    }  # fmt: skip
    with provision("local", durable=False, settings=settings) as server:
        assert server.directory is not None
        [rules] = server.directory.rglob("pg_hba.conf")
        rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        execute(server.admin_dsn, "select pg_reload_conf()")
        yield replace(server, dsn=server.admin_dsn.replace("127.0.0.1", "localhost"))
