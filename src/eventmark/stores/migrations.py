"""The migrations of somebody's application as a store's schema: which files, in which order, which parts of them.

The files are read from where they are. What of them is not run, and what they call the store's schema, stands in
store.toml: nothing is left out in silence.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eventmark.errors import UsageError

KINDS = ("extensions", "roles", "grants", "schemas", "settings", "transactions", "maintenance")
"""Of statements that may be left out: a schema of Eventmark's own does not need them."""

_FLYWAY = re.compile(r"(?P<kind>[VBU])(?P<version>\d+(?:[._]\d+)*)__.*\.sql")
_REPEATABLE = re.compile(r"R__.*\.sql")
_DOWN = re.compile(r"(?:.*[._-])?down\.sql", re.IGNORECASE)
# dbmate, goose, sql-migrate, rambler, Play and node-pg-migrate write both ways into one file.
_SECTION = re.compile(
    r"\s*(?:--|#)\s*"
    r"(?:(?:migrate:|\+goose\s+|\+migrate\s+|rambler\s+|(?:---\s*)?!)(up|down)s?\b.*|(up|down)\s+migration\s*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How migrations are read: what they call the store's schema, and the kinds of statements that are not run."""

    schemas: tuple[str, ...] = ()
    leave_out: frozenset[str] = frozenset()

    @property
    def told(self) -> str:
        """For a digest; nothing where there are no rules."""
        return repr((self.schemas, sorted(self.leave_out))) if self.schemas or self.leave_out else ""


NO_RULES = Rules()
"""Of a schema.sql, which was written for Eventmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFile:
    """A file of SQL statements that make a store's tables."""

    path: Path
    text: str
    rules: Rules = NO_RULES


def migration_files(directory: Path, patterns: Sequence[str]) -> list[Path]:
    """The files that ``patterns`` name, relative to ``directory``: files, folders, and globs, in the order they run.

    Flyway's are in the order of their versions, repeatable ones last; others in the order of the patterns, those of
    one pattern in natural order. Files that undo others are left out. Raises ``UsageError``.
    """
    files = [path for pattern in patterns for path in _matching(directory, pattern)]
    files = list(dict.fromkeys(files))
    versions = Counter(
        (match["kind"], _version(match)) for path in files if (match := _FLYWAY.fullmatch(path.name))
    )
    if twice := [version for (_, version), count in versions.items() if count > 1]:
        raise UsageError(
            f"two migrations have version {'.'.join(map(str, twice[0]))}", remedy="name one of them"
        )
    baseline = max((version for kind, version in versions if kind == "B"), default=None)
    return sorted((path for path in files if _runs(path, baseline)), key=_place) if versions else files


def up_sections(text: str) -> str:
    """The text without the sections that undo it; lines keep their numbers."""
    lines = text.split("\n")
    way = "up"
    for number, line in enumerate(lines):
        if match := _SECTION.fullmatch(line):
            way = (match[1] or match[2]).lower()
        if match or way == "down":
            lines[number] = ""
    return "\n".join(lines)


def _matching(directory: Path, pattern: str) -> list[Path]:
    place = Path(os.path.normpath(directory / Path(pattern).expanduser()))
    if place.is_file():
        return [place]
    parts = [*place.parts, "**", "*.sql"] if place.is_dir() else list(place.parts)
    fixed = len(place.parts) if place.is_dir() else _fixed(place)
    matches = Path(*parts[:fixed]).glob("/".join(parts[fixed:])) if fixed < len(parts) else ()
    files = [path for path in matches if path.is_file()]
    if not files:
        raise UsageError(
            f"there is no file {place}",
            remedy="name files, folders or patterns such as ../db/migration/V*.sql",
        )
    return upward(files)


def upward(files: Iterable[Path]) -> list[Path]:
    """Files in natural order, without those that undo others."""
    return sorted(
        (path for path in files if not _DOWN.fullmatch(path.name)), key=lambda path: _natural(str(path))
    )


def _fixed(path: Path) -> int:
    """How many parts of a path come before the first one that is a pattern."""
    patterns = (
        number for number, part in enumerate(path.parts) if any(character in part for character in "*?[")
    )
    return next(patterns, len(path.parts))


def _runs(path: Path, baseline: tuple[int, ...] | None) -> bool:
    """Whether Flyway would run a file in an empty database that begins with ``baseline``."""
    match = _FLYWAY.fullmatch(path.name)
    if match is None:
        return True
    version = _version(match)
    if match["kind"] == "B":
        return version == baseline
    return match["kind"] == "V" and (baseline is None or version > baseline)


def _place(path: Path) -> tuple[int, tuple[int, ...], str]:
    """Where a file stands among Flyway's."""
    match = _FLYWAY.fullmatch(path.name)
    if match is None:
        return (2 if _REPEATABLE.fullmatch(path.name) else 1, (), path.name)
    return (0, _version(match), "")


def _version(match: re.Match[str]) -> tuple[int, ...]:
    parts = [int(part) for part in re.split(r"[._]", match["version"])]
    while len(parts) > 1 and parts[-1] == 0:  # 1.0 is 1
        parts.pop()
    return tuple(parts)


def _natural(name: str) -> list[tuple[int, str]]:
    """``2_x`` before ``10_x``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
