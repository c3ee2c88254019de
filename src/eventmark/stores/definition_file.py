"""Values of a store's settings file, and errors that name the line they stand on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eventmark.errors import StoreDefinitionError

COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class DefinitionFile:
    """Values of a TOML file, and errors that name the line they stand on."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.splitlines()

    def error(self, key: str, message: str, remedy: str = "") -> StoreDefinitionError:
        pattern = re.compile(rf"\s*(\[\s*)?\"?{re.escape(key)}\"?\s*[\]=]")
        line = next((number for number, line in enumerate(self._lines, 1) if pattern.match(line)), 1)
        return StoreDefinitionError(message, path=str(self.path), line=line, remedy=remedy)

    def check_keys(self, table: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in table:
            if key not in known:
                raise self.error(
                    key, f"unknown key {key!r}{nearest(key, known)}", f"known are {', '.join(known)}"
                )

    def text(
        self, table: Mapping[str, Any], key: str, pattern: re.Pattern[str] | None = None, *, default: str
    ) -> str:
        value = table.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"{key} must be a text, got {value!r}")
        if pattern is not None and value and not pattern.fullmatch(value):
            raise self.error(key, f"{key} {value!r} is not allowed", f"it must match {pattern.pattern}")
        return value

    def table(self, settings: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = settings.get(key, {})
        if not isinstance(value, dict):
            raise self.error(
                key, f"{key} must be a table", f"write [{key}] and lines of name = value below it"
            )
        return value

    def columns(
        self,
        settings: Mapping[str, Any],
        key: str,
        known: tuple[str, ...],
        required: tuple[str, ...],
        *,
        has_tenants: bool,
    ) -> dict[str, str]:
        """The mapping, all names as they are where the file has none."""
        if not has_tenants:
            known = tuple(name for name in known if name != "tenant_id")
        if key not in settings:
            return {name: name for name in known}
        table = self.table(settings, key)
        if not has_tenants and "tenant_id" in table:
            raise self.error(
                "tenant_id", f'{key} maps tenant_id, and tenants = "none"', "delete one of the lines"
            )
        self.check_keys(table, known)
        mapped = {name: self.text(table, name, COLUMN, default="") for name in table}
        for name in required:
            if not mapped.get(name) and name in known:
                unless = ', or write tenants = "none" above [tables]' if name == "tenant_id" else ""
                raise self.error(
                    key, f"{key} does not map {name}", f'add a line: {name} = "your_column"{unless}'
                )
        for name, column in mapped.items():
            if (twice := [other for other in mapped if mapped[other] == column])[0] != name:
                raise self.error(
                    name, f"{key} maps {twice[0]} and {name} to one column, {column!r}", "map one of them"
                )
        return mapped

    def choice(self, settings: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
        """One of ``allowed``, the first where the file has none."""
        value = settings.get(key, allowed[0])
        if value not in allowed:
            raise self.error(key, f"{key} {value!r} is not allowed", f"write one of {', '.join(allowed)}")
        return str(value)

    def number(self, settings: Mapping[str, Any], key: str, allowed: tuple[int, ...], *, default: int) -> int:
        value = settings.get(key, default)
        if type(value) is not int or value not in allowed:
            raise self.error(
                key, f"{key} {value!r} is not allowed", f"write one of {', '.join(map(str, allowed))}"
            )
        return value

    def texts(self, settings: Mapping[str, Any], key: str, *, known: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts, empty where the file has none; of those ``known``, if any are."""
        value = settings.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(
                key, f"{key} must be a list of texts, got {value!r}", f'write {key} = ["one", "other"]'
            )
        for item in value if known else ():
            if item not in known:
                raise self.error(
                    key, f"{key} names {item!r}{nearest(item, known)}", f"known are {', '.join(known)}"
                )
        return tuple(value)

    def expressions(self, settings: Mapping[str, Any], key: str) -> dict[str, str]:
        """SQL expressions by the names of columns."""
        table = self.table(settings, key)
        for name in table:
            if not COLUMN.fullmatch(name) or not self.text(table, name, default=""):
                raise self.error(name, f"{key}: {name!r} is not a column and its SQL expression")
        return dict(table)


def nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {matches[0]!r}?" if matches else ""
