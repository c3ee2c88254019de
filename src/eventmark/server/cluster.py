"""A cluster of our own: made, configured, started, stopped and removed; with anybody's binaries.

The postmaster runs in a session of its own, so that Ctrl-C at the terminal does not reach it. A small
watcher holds a pipe to us: should we end without stopping the server, killed or crashed, it stops it.
"""

from __future__ import annotations

import errno
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eventmark.errors import CannotRunError, UsageError
from eventmark.server.account import readable_installation, server_account
from eventmark.server.directory import ClusterDirectory
from eventmark.server.tuning import Setting

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
START_ATTEMPTS_MAX = 5
SUPERUSER = "eventmark"

# Waits for a line; end of file instead means that we are gone. $1 postmaster, $2 files to remove or ''.
_WATCHER = """
read -r line && exit 0
kill -INT "$1"
for i in $(seq 1200); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
[ -z "$2" ] || rm -rf -- "$2"
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _check_port_free(port: int) -> None:
    """Raises ``UsageError`` for what is no port, ``CannotRunError`` for one that cannot be had."""
    if not 1 <= port <= 65535:
        raise UsageError(f"{port} is not a port", remedy="a port is 1 to 65535; leave it out for a free one")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise CannotRunError(
                f"port {port} of 127.0.0.1 {why}", remedy="choose another with --port, or leave it out"
            ) from error


class Cluster:
    """One data directory below ``directory``, and its postmaster while started.

    ``port`` None takes a free one. ``temporary`` lets the watcher remove the files when we are killed.
    """

    def __init__(
        self, installation: Path, directory: Path, *, port: int | None = None, temporary: bool = False
    ) -> None:
        self._account = server_account()
        self._bin = readable_installation(installation, self._account) / "bin"
        self._files = ClusterDirectory(directory, self._account)
        self._fixed_port = port
        self._temporary = temporary
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self.port = port or 0
        self.password = ""

    @property
    def directory(self) -> Path:
        return self._files.root

    @property
    def pid(self) -> int | None:
        """The postmaster's process, None while stopped."""
        return self._process.pid if self._process else None

    def prepare(self, settings: Sequence[Setting]) -> bool:
        """Make the cluster, or take the one kept here, and write its settings. True if it was kept.

        Raises ``CannotRunError`` for a directory that is not ours, of another major version, in use, or
        not writable; what was made until then is removed.
        """
        if self._fixed_port is not None:
            _check_port_free(self._fixed_port)
        kept = self._files.holds_cluster(major_version=self.version_num() // 10000)
        if kept:
            self.password = self._files.read_password()
        else:
            self._initialise()
        lines = [f"{setting.name} = '{setting.value}'  # {setting.reason}" for setting in settings]
        self._files.write_settings(
            [
                *lines,
                "listen_addresses = '127.0.0.1'",
                "unix_socket_directories = ''",
                "cluster_name = 'eventmark'",
                "lc_messages = 'C'",
            ]
        )
        return kept

    def start(self) -> None:
        """Start the postmaster and wait until it answers."""
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            self.port = self._fixed_port or free_port()
            _check_port_free(self.port)
            self._launch()
            try:
                self._wait_until_ready()
            except CannotRunError:
                # Somebody else took the free port between our look at it and the server's.
                taken = "could not create any TCP/IP sockets" in self._files.log_of_this_start()
                if self._fixed_port is None and taken and attempt < START_ATTEMPTS_MAX:
                    continue
                raise
            return

    def stop(self) -> None:
        """Fast shutdown; immediate when that takes too long or is interrupted once more."""
        if self._process is not None:
            for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(how)
                try:
                    self._process.wait(STOP_TIMEOUT_S)
                except (subprocess.TimeoutExpired, KeyboardInterrupt):
                    continue
                break
        self._process = None
        self._dismiss_watcher()

    def remove(self) -> None:
        """Delete the files of the cluster, if it was made here; one that was kept stays."""
        self._files.remove()

    def _launch(self) -> None:
        with self._files.open_log() as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._files.data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._account.popen_arguments(),
            )
        doomed = str(self.directory) if self._temporary else ""
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "sh", str(self._process.pid), doomed],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _dismiss_watcher(self) -> None:
        if self._watcher is None or self._watcher.stdin is None:
            return
        with suppress(BrokenPipeError):
            self._watcher.stdin.write(b"stopped\n")
            self._watcher.stdin.close()
        self._watcher.wait()
        self._watcher = None

    def _initialise(self) -> None:
        self._files.make()
        try:
            self.password = secrets.token_hex(16)
            self._files.write_password(self.password)
            with tempfile.NamedTemporaryFile("w", prefix="eventmark-") as file:
                file.write(self.password)
                file.flush()
                self._account.own(Path(file.name))
                self._run(
                    "initdb", "-D", str(self._files.data), "-U", SUPERUSER, "-A", "scram-sha-256",
                    "--pwfile", file.name, "-E", "UTF8", "--locale=C", "--no-sync", "--data-checksums",
                    *(["--set", "scram_iterations=1"] if self.version_num() >= 160000 else []),
                )  # fmt: skip
        except BaseException:
            self._files.remove()
            raise

    def version_num(self) -> int:
        """The version of the binaries, as the server states it: 180006."""
        match = re.search(r"(\d+)(?:\.(\d+))?", self._run("postgres", "--version"))
        if match is None:
            raise CannotRunError(f"{self._bin / 'postgres'} does not state its version")
        return int(match[1]) * 10000 + int(match[2] or 0)

    def _run(self, program: str, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._bin / program, *arguments],
                capture_output=True, text=True, timeout=START_TIMEOUT_S, cwd="/", check=False,
                **self._account.popen_arguments(),
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotRunError(
                f"cannot run {self._bin / program}: {error}", remedy="check the installation"
            ) from error
        if done.returncode != 0:
            raise CannotRunError(f"{program} failed: {_cause(done.stderr)}", remedy="see its message")
        return str(done.stdout)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                self._dismiss_watcher()
                raise CannotRunError(
                    f"the server did not start: {_cause(self._files.log_of_this_start())}",
                    remedy=f"its log was {self._files.log}",
                )
            if self._files.status() in ("ready", "standby"):
                return
            time.sleep(0.02)
        self.stop()
        raise CannotRunError(
            f"the server was not ready within {START_TIMEOUT_S:g} s", remedy="see whether the disk is slow"
        )


def _cause(text: str) -> str:
    """The first line that tells of an error, since others follow from it; the last line where none does."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL" in line or "PANIC" in line or "error:" in line]
    return (errors or lines[-1:] or ["no message"])[0].strip()
