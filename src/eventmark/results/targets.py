"""Targets: which quantile of an operation must stay below which latency."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmark.errors import UsageError
from eventmark.text_files import NotTextError, read_text

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
DEFAULT_QUANTILE = "p95"
LIMIT_MS_MAX = 120_000.0  # two minutes, the longest latency a histogram holds


@dataclass(frozen=True, slots=True)
class Target:
    """The ``quantile`` of an operation's latency must be below ``limit_ms``."""

    quantile: str
    limit_ms: float


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


def _target(name: str, value: Any, source: str) -> Target:
    if name not in DEFAULT_TARGETS:
        nearest = difflib.get_close_matches(name, DEFAULT_TARGETS, 1)
        raise UsageError(
            f"{source}: unknown operation {name!r}" + (f", did you mean {nearest[0]!r}?" if nearest else ""),
            remedy=f"operations are {', '.join(DEFAULT_TARGETS)}",
        )
    quantile = DEFAULT_QUANTILE
    if isinstance(value, Mapping):
        unknown = set(value) - {"quantile", "limit_ms"}
        if unknown or "limit_ms" not in value:
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
