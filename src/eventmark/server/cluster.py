"""A cluster of our own: made, configured, started, stopped and removed; with anybody's binaries.

The postmaster runs in a session of its own, so that Ctrl-C at the terminal does not reach it, and as
another user where we are root, which PostgreSQL refuses to run as.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmark.errors import CannotRunError
from eventmark.server.tuning import Setting

MARKER_FILE = "eventmark-cluster"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
SUPERUSER = "eventmark"


@dataclass(frozen=True, slots=True)
class Account:
    """The system user the server runs as; None for our own."""

    uid: int | None
    gid: int | None

    def popen_arguments(self) -> dict[str, Any]:
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_account() -> Account:
    """Ourselves, or for root the user ``postgres``, or else ``nobody``."""
    if os.geteuid() != 0:
        return Account(None, None)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise CannotRunError(
        "PostgreSQL does not run as root and there is no user 'postgres' or 'nobody' to run it as",
        remedy="run Eventmark as an ordinary user",
    )


def readable_installation(root: Path, account: Account) -> Path:
    """``root``, or a copy of it where the server's user may not reach ``root`` (a venv below /root)."""
    if account.uid is None or _reachable(root, account):
        return root
    copy = Path(tempfile.gettempdir()) / f"eventmark-postgresql-{root.stat().st_mtime_ns}"
    if not copy.exists():
        staging = Path(tempfile.mkdtemp(prefix="eventmark-postgresql-"))
        shutil.copytree(root, staging / "copy", symlinks=True)
        staging.chmod(0o755)
        with suppress(OSError):  # another run was faster
            (staging / "copy").rename(copy)
        shutil.rmtree(staging, ignore_errors=True)
    return copy


def _reachable(root: Path, account: Account) -> bool:
    probe = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(root / "bin" / "initdb")]
    return subprocess.run(probe, check=False, cwd="/", **account.popen_arguments()).returncode == 0


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_port_free(port: int) -> None:
    """Raises ``CannotRunError`` when something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotRunError(
                f"port {port} of 127.0.0.1 is in use", remedy="choose another with --port, or leave it out"
            ) from error


class Cluster:
    """One data directory below ``directory``, and its postmaster while started."""

    def __init__(self, installation: Path, directory: Path, *, port: int) -> None:
        self._account = server_account()
        self._bin = readable_installation(installation, self._account) / "bin"
        self.directory = directory
        self.data_directory = directory / "data"
        self.log_file = directory / "server.log"
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def bin_directory(self) -> Path:
        return self._bin

    def prepare(self, settings: Sequence[Setting]) -> bool:
        """Make the cluster, or take the one kept here, and write its settings. True if it was kept.

        Raises ``CannotRunError`` for a directory that is not ours, of another major version, or in use.
        """
        kept = self._check_directory()
        if not kept:
            self._initialise()
        self._write_settings(settings)
        return kept

    def start(self) -> None:
        """Start the postmaster and wait until it answers."""
        check_port_free(self.port)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data_directory],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._account.popen_arguments(),
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Fast shutdown; immediate when that takes too long."""
        if self._process is None:
            return
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
            break
        self._process = None

    def remove(self) -> None:
        """Delete the cluster's files; only those of a cluster that carries our marker."""
        if (self.directory / MARKER_FILE).exists():
            shutil.rmtree(self.directory, ignore_errors=True)

    def _check_directory(self) -> bool:
        marker = self.directory / MARKER_FILE
        if not self.directory.exists() or not any(self.directory.iterdir()):
            return False
        if not marker.exists():
            raise CannotRunError(
                f"{self.directory} is not empty and holds no cluster of Eventmark's",
                remedy="name an empty or new directory",
            )
        if not (self.data_directory / "PG_VERSION").exists():
            shutil.rmtree(self.data_directory, ignore_errors=True)
            return False
        kept_major = (self.data_directory / "PG_VERSION").read_text().strip()
        if kept_major != str(self.major_version()):
            raise CannotRunError(
                f"the cluster in {self.directory} is of PostgreSQL {kept_major}, "
                f"these binaries are {self.major_version()}",
                remedy="name another directory, or delete this one",
            )
        self._check_not_running()
        return True

    def _check_not_running(self) -> None:
        pid_file = self.data_directory / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text().split("\n", 1)[0])
        command_line = Path(f"/proc/{pid}/cmdline")
        if command_line.exists() and str(self.data_directory).encode() in command_line.read_bytes():
            raise CannotRunError(
                f"the cluster in {self.directory} is running already, as process {pid}",
                remedy="wait for the other run to end, or name another directory",
            )

    def _initialise(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / MARKER_FILE).write_text(
                "This cluster was made by Eventmark and may be deleted.\n"
            )
            if self._account.uid is not None and self._account.gid is not None:
                os.chown(self.directory, self._account.uid, self._account.gid)
            self.directory.chmod(0o755)
        except OSError as error:
            raise CannotRunError(
                f"cannot write to {self.directory}: {error.strerror}", remedy="name another directory"
            ) from error
        self._run(
            "initdb", "-D", str(self.data_directory), "-U", SUPERUSER, "-A", "trust",
            "-E", "UTF8", "--locale=C", "--no-sync", "--data-checksums",
        )  # fmt: skip

    def _write_settings(self, settings: Sequence[Setting]) -> None:
        lines = [f"{setting.name} = '{setting.value}'  # {setting.reason}" for setting in settings]
        lines += [
            f"port = {self.port}",
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            "cluster_name = 'eventmark'",
            "lc_messages = 'C'",
        ]
        (self.data_directory / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")

    def major_version(self) -> int:
        """The major version of the binaries."""
        return self.version_num() // 10000

    def version_num(self) -> int:
        """The version of the binaries, as the server states it: 180006."""
        words = self._run("postgres", "--version").split()
        number = next(word for word in words if word[0].isdigit())
        major, _, minor = number.partition(".")
        return int(major) * 10000 + int(minor or 0)

    def _run(self, program: str, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._bin / program, *arguments],
                capture_output=True, text=True, timeout=START_TIMEOUT_S, cwd="/", check=False,
                **self._account.popen_arguments(),
            )  # fmt: skip
        except OSError as error:
            raise CannotRunError(f"cannot run {self._bin / program}: {error}") from error
        if done.returncode != 0:
            raise CannotRunError(f"{program} failed: {_last_line(done.stderr)}")
        return str(done.stdout)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        status_file = self.data_directory / "postmaster.pid"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                raise CannotRunError(f"the server did not start: {_last_line(self.log_file.read_text())}")
            # The postmaster writes "ready" in the last line of its pid file once it accepts connections.
            if status_file.exists() and status_file.read_text().rstrip().endswith("ready"):
                return
            time.sleep(0.02)
        self.stop()
        raise CannotRunError(f"the server was not ready within {START_TIMEOUT_S:g} s")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "error:" in line]
    return (fatal or lines or ["no message"])[-1].strip()
