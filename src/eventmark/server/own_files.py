"""Files next to a server's data, opened so that no link planted there leads root elsewhere.

The server's account owns the data directory, and whoever runs SQL as its superuser may have put anything there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from eventmark.server.account import Account

PRIVATE = 0o600
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe with no reader must not keep us waiting


def open_file(path: Path, flags: int, *, owner: Account | None = None) -> int:
    """A descriptor of the plain file ``path``, neither it nor its directory a link; readable by its owner alone.

    A new one belongs to ``owner``, or to us. Raises ``OSError`` for a link, or anything but a plain file.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    try:
        descriptor = os.open(path.name, flags | _NO_LINK, PRIVATE, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.ELOOP, "it is a link, or no plain file", str(path))
        if flags & os.O_CREAT:
            os.fchmod(descriptor, PRIVATE)
            if owner is not None and owner.uid is not None and owner.gid is not None:
                os.fchown(descriptor, owner.uid, owner.gid)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: Path) -> str:
    """Its text. Raises ``OSError``."""
    with os.fdopen(open_file(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
        return file.read()


def write_file(path: Path, text: str, *, owner: Account | None = None) -> None:
    """All of it anew: under another name first, so that whatever stood there is replaced and never written through.

    Raises ``OSError``.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    name = f".{path.name}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, PRIVATE, dir_fd=directory)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if owner is not None and owner.uid is not None and owner.gid is not None:
                os.fchown(descriptor, owner.uid, owner.gid)
            file.write(text)
        os.rename(name, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)
