"""The directory of a cluster of our own: whose it is, what lies in it, and who may delete it.

eventmark-cluster    the marker: only a directory with it is ever reused or deleted
password             of the superuser, readable by us alone
server.log
data/                the data directory, the server's account's alone
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from eventmark.errors import CannotRunError
from eventmark.server.account import Account
from eventmark.server.own_files import open_file, read_file, write_file

MARKER_FILE = "eventmark-cluster"
STOPPING_TIMEOUT_S = 30.0


class ClusterDirectory:
    """``root`` with the files of one cluster, whose server runs as ``account``."""

    def __init__(self, root: Path, account: Account) -> None:
        self.root = root.resolve()  # programs are run from elsewhere; only here may a link lead to it
        self.data = self.root / "data"
        self.log = self.root / "server.log"
        self._account = account
        self._made_cluster = False
        self._made_root = False
        self._log_start = 0

    def holds_cluster(self, *, major_version: int) -> bool:
        """Whether a stopped cluster of ours is here; False for an empty directory or none.

        Raises ``CannotRunError`` for anything else.
        """
        try:
            return self._holds_cluster(major_version)
        except OSError as error:
            raise CannotRunError(
                f"cannot read {error.filename or self.root}: {error.strerror}",
                remedy="name another directory, or run as the user who made it",
            ) from error

    def _holds_cluster(self, major_version: int) -> bool:
        if not self.root.exists() or (self.root.is_dir() and not any(self.root.iterdir())):
            return False
        if not (self.root / MARKER_FILE).is_file():
            raise CannotRunError(
                f"{self.root} is not empty and holds no cluster of Eventmark's",
                remedy="name an empty or new directory",
            )
        version_file = self.data / "PG_VERSION"
        if not version_file.exists():
            raise CannotRunError(
                f"the cluster in {self.root} was never finished", remedy="delete this directory"
            )
        kept_major = read_file(version_file).strip()
        if kept_major != str(major_version):
            raise CannotRunError(
                f"the cluster in {self.root} is of PostgreSQL {kept_major}, "
                f"these binaries are of {major_version}",
                remedy="name another directory, or delete this one",
            )
        self._check_account()
        self._check_not_running()
        return True

    def _check_account(self) -> None:
        uid = os.geteuid() if self._account.uid is None else self._account.uid
        if self.data.lstat().st_uid != uid:
            raise CannotRunError(
                f"the cluster in {self.root} belongs to another user",
                remedy="name another directory, or run as the user who made it",
            )

    def _check_not_running(self) -> None:
        """Wait for a server that is stopping; clear away what a killed one left behind."""
        deadline = time.monotonic() + STOPPING_TIMEOUT_S
        while (pid := self._postmaster()) is not None:
            if self.status() != "stopping" or time.monotonic() > deadline:
                raise CannotRunError(
                    f"the cluster in {self.root} is running already, as process {pid}",
                    remedy="wait for the other run to end, or name another directory",
                )
            time.sleep(0.1)
        # Process ids come back after a restart of the machine; the server would take a stranger for itself.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster(self) -> int | None:
        """The process of the server running here, None when there is none."""
        lines = self._pid_lines()
        if not lines or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        try:
            command_line = psutil.Process(pid).cmdline()
        except psutil.AccessDenied:
            return pid
        except psutil.Error:
            return None
        return pid if str(self.data) in command_line else None

    def status(self) -> str:
        """What the postmaster says of itself: starting, ready, stopping; empty without one."""
        lines = self._pid_lines()
        return lines[7].strip() if len(lines) > 7 else ""

    def _pid_lines(self) -> list[str]:
        try:
            return read_file(self.data / "postmaster.pid").splitlines()
        except FileNotFoundError:
            return []

    def make(self) -> None:
        """The directories and the marker, ready for initdb."""
        self._made_root = not self.root.exists()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_file(self.root / MARKER_FILE, "This cluster was made by Eventmark and may be deleted.\n")
            self._made_cluster = True
            self.data.mkdir(mode=0o700)
            self._account.own(self.data)
        except OSError as error:
            self.remove()
            raise CannotRunError(
                f"cannot write to {self.root}: {error.strerror}", remedy="name another directory"
            ) from error
        if not self._account.may("w", self.data):
            self.remove()
            raise CannotRunError(
                f"the server's user {self._account.name!r} cannot reach {self.root}",
                remedy="name a directory that other users may enter, for example below /var/tmp",
            )

    def write_password(self, password: str) -> None:
        write_file(self.root / "password", password)

    def read_password(self) -> str:
        """Of the cluster kept here."""
        try:
            return read_file(self.root / "password")
        except OSError as error:
            raise CannotRunError(
                f"cannot read {self.root / 'password'}: {error.strerror}",
                remedy="name another directory, or run as the user who made it",
            ) from error

    def write_settings(self, lines: Sequence[str]) -> None:
        """The whole of postgresql.auto.conf."""
        try:
            write_file(self.data / "postgresql.auto.conf", "\n".join(lines) + "\n", owner=self._account)
        except OSError as error:
            raise CannotRunError(
                f"cannot write to {self.data}: {error.strerror}", remedy="name another directory"
            ) from error

    def open_log(self) -> BinaryIO:
        """The server's log, to append to; what this start adds to it begins here. Raises ``CannotRunError``.

        It can hold data, as statements that failed: it is ours alone to read.
        """
        try:
            log = os.fdopen(open_file(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")
        except OSError as error:
            raise CannotRunError(
                f"cannot write to {self.log}: {error.strerror}", remedy="delete it, or name another directory"
            ) from error
        self._log_start = log.tell()
        return log

    def log_of_this_start(self) -> str:
        try:
            with os.fdopen(open_file(self.log, os.O_RDONLY), "rb") as log:
                log.seek(self._log_start)
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def remove(self) -> None:
        """Delete the cluster if it was made by this object; a directory that was here before stays."""
        if not self._made_cluster:
            return
        shutil.rmtree(self.data, ignore_errors=True)
        for path in (self.log, self.root / "password", self.root / MARKER_FILE):
            path.unlink(missing_ok=True)
        if self._made_root:
            with suppress(OSError):  # somebody put something of theirs beside the cluster
                self.root.rmdir()
        self._made_cluster = False
