"""Names that people choose from a list, and the error for one that is not on it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from eventmark.errors import UsageError

ALL = "all"


def unknown(what: str, name: str, known: Iterable[str], *, remedy: str = "", source: str = "") -> UsageError:
    """The error for a ``what`` called ``name``, with the nearest of those ``known``; ``source`` is where it stands."""
    names = list(known)
    nearest = difflib.get_close_matches(name, names, 1)
    guess = f", did you mean {nearest[0]!r}?" if nearest else ""
    where = f"{source}: " if source else ""
    return UsageError(f"{where}unknown {what} {name!r}{guess}", remedy=remedy or f"use {', '.join(names)}")


def chosen(text: str, known: Iterable[str], what: str) -> tuple[str, ...]:
    """``all``, or names with commas between them. Raises ``UsageError`` for a name that is not known."""
    names = tuple(known)
    if text.strip() == ALL:
        return names
    wanted = tuple(name.strip() for name in text.split(","))
    for name in wanted:
        if name not in names:
            raise unknown(what, name, names, remedy=f"use {', '.join(names)} or {ALL}")
    return wanted
