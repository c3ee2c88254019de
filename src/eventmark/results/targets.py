"""Targets: which quantile of an operation must stay below which latency."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmark.choices import unknown
from eventmark.errors import UsageError
from eventmark.text_files import NotTextError, read_text

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
DEFAULT_QUANTILE = "p95"
LIMIT_MS_MAX = 120_000.0  # two minutes, the longest latency a histogram holds
_UNIT_MS = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}
_WORDS = re.compile(
    r"(?P<name>[^=]+)=\s*(?:(?P<quantile>\w+)\s*<)?\s*(?P<limit>\d+(?:\.\d+)?)\s*(?P<unit>[a-zµ]+)\s*"
)
TARGET_EXAMPLE = "append_events[1]=p99<5ms"


@dataclass(frozen=True, slots=True)
class Target:
    """The ``quantile`` of an operation's latency must be below ``limit_ms``."""

    quantile: str
    limit_ms: float

    def __str__(self) -> str:
        return f"{self.quantile} < {self.limit_ms:g} ms"


DEFAULT_TARGETS: dict[str, Target] = {
    name: Target(DEFAULT_QUANTILE, limit_ms)
    for name, limit_ms in {
        "append_events[1]": 10.0,
        "append_events[10]": 20.0,
        "append_events[100]": 50.0,
        "load_aggregate[1000]": 20.0,
        "stream_events[1000]": 50.0,
        "store_snapshot": 10.0,
        "read_snapshot": 5.0,
        "create_head_token": 1.0,
        "create_tail_token": 1.0,
        "create_token_at": 1.0,
        "compare_tokens": 1.0,
    }.items()
}
WITHOUT_DEFAULT = ("load_aggregate[longest]",)
"""What may have a target, and has none unless it is given one."""

NAMES = (*DEFAULT_TARGETS, *WITHOUT_DEFAULT)

OWN_SUFFIX = ".sql"


def is_own(name: str) -> bool:
    """Whether an operation is a statement of the user's own, called as its file is. It has the target it is given."""
    return name.endswith(OWN_SUFFIX)


def read_targets(path: Path) -> dict[str, Target]:
    """The table ``[targets]`` of a TOML file, to be laid over other targets. Raises ``UsageError``."""
    try:
        document = tomllib.loads(read_text(path))
    except (OSError, NotTextError) as error:
        raise UsageError(
            f"the targets in {path} cannot be read: {error}", remedy="name a TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", remedy="correct it") from error
    for key in document:
        if key != "targets":
            raise UsageError(f"{path}: unknown key {key!r}", remedy="targets stand below [targets]")
    return targets_from(document.get("targets", {}), str(path))


def targets_from(table: object, source: str) -> dict[str, Target]:
    """Targets from a table of ``operation = milliseconds`` or ``operation = {quantile, limit_ms}``.

    ``source`` is what errors name. Raises ``UsageError``.
    """
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{source}: targets must be a table", remedy='write [targets] and "append_events[1]" = 10'
        )
    return {name: _target(name, value, source) for name, value in table.items()}


def parse_targets(texts: Iterable[str]) -> dict[str, Target]:
    """Targets written as ``operation=quantile<limit``, such as ``append_events[1]=p99<5ms``; the last of a name holds.

    The limit is in us, ms or s; without a quantile it is of the p95. Raises ``UsageError``.
    """
    return dict(_parsed(text) for text in texts)


def _parsed(text: str) -> tuple[str, Target]:
    source, match = "--target", _WORDS.fullmatch(text)
    name = (match["name"] if match else text.partition("=")[0]).strip()
    if name not in NAMES and not is_own(name):
        raise _unknown(name, source)
    if match is None or match["unit"] not in _UNIT_MS:
        raise UsageError(
            f"{source}: the target of {name} must be a quantile below a time in us, ms or s, got {text!r:.80}",
            remedy=f"write for example '{TARGET_EXAMPLE}'",
        )
    limit_ms = float(match["limit"]) * _UNIT_MS[match["unit"]]
    quantile = match["quantile"] or DEFAULT_QUANTILE
    return name, _target(name, {"quantile": quantile, "limit_ms": limit_ms}, source)


def _unknown(name: str, source: str) -> UsageError:
    remedy = f"operations are {', '.join(NAMES)}, and statements of your own, such as orders.sql"
    return unknown("operation", name, NAMES, remedy=remedy, source=source)


def _target(name: str, value: Any, source: str) -> Target:
    if name not in NAMES and not is_own(name):
        raise _unknown(name, source)
    quantile = DEFAULT_QUANTILE
    if isinstance(value, Mapping):
        more = set(value) - {"quantile", "limit_ms"}
        if more or "limit_ms" not in value:
            raise UsageError(
                f"{source}: the target of {name} needs limit_ms, and may have quantile",
                remedy='write { quantile = "p99", limit_ms = 10 }',
            )
        quantile, value = value.get("quantile", quantile), value["limit_ms"]
    if not isinstance(quantile, str) or quantile not in QUANTILES:
        raise UsageError(
            f"{source}: unknown quantile {quantile!r} of {name}", remedy=f"use {', '.join(QUANTILES)}"
        )
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= LIMIT_MS_MAX  # false for what is not a number
    ):
        raise UsageError(
            f"{source}: the target of {name} must be a number of milliseconds above 0 "
            f"and at most {LIMIT_MS_MAX:g}, got {value!r:.40}",
            remedy="write for example 10",
        )
    return Target(quantile, float(value))
