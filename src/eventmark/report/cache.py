"""What takes long to make and stays the same, kept in the user's cache folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from eventmark.results.files import write_as_is


def kept_text(name: str, make: Callable[[], str]) -> str:
    """The text of that name, made where it is not kept yet, or where somebody else may have written it.

    ``name`` has to hold the version of what makes it. Without a folder to write to it is made each time.
    """
    try:
        path = _folder() / name
    except RuntimeError:  # nobody's home is known
        return make()
    with suppress(OSError, UnicodeDecodeError):
        if _is_ours_alone(path.parent) and _is_ours_alone(path):
            return path.read_text(encoding="utf-8")
    text = make()
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours_alone(path.parent):
            write_as_is(path, text.encode())
    return text


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "eventmark"


def _is_ours_alone(path: Path) -> bool:
    status = path.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and not path.is_symlink()
