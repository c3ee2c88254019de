"""Targets: how quick an operation has to be. Defaults, and what a file puts over them."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmark.errors import UsageError
from eventmark.measure.quantiles import QUANTILES

DEFAULT_QUANTILE = "p95"
_TARGETS_TABLE = "targets"
_TARGET_KEYS = ("quantile", "limit_ms")


@dataclass(frozen=True, slots=True)
class Target:
    """The ``quantile`` of an operation has to stay below ``limit_ms``."""

    quantile: str
    limit_ms: float

    def __post_init__(self) -> None:
        assert self.quantile in QUANTILES, self.quantile
        assert 0 < self.limit_ms < math.inf, self.limit_ms


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
    """The default targets with those of a TOML file over them.

    Either form, both in one file when they do not name the same operation::

        [targets]
        "append_events[1]" = 8

        ["load_aggregate[1000]"]
        quantile = "p99"
        limit_ms = 40

    What a table leaves out keeps its default. Raises ``UsageError`` naming file and key.
    """
    tables = _read_toml(path)
    short = tables.pop(_TARGETS_TABLE, {})
    if not isinstance(short, dict):
        raise UsageError(f"{path}: {_TARGETS_TABLE}: {short!r} is not a table", remedy=f"[{_TARGETS_TABLE}]")
    twice = sorted(short.keys() & tables.keys())
    if twice:
        raise UsageError(f"{path}: {_quoted(twice[0])} is given twice", remedy="keep one of the two")
    return targets_from({**tables, **short}, str(path))


def targets_from(mapping: Mapping[str, Any], source: str) -> dict[str, Target]:
    """The default targets with those of ``mapping`` over them.

    Maps an operation to its limit in milliseconds or to ``{quantile, limit_ms}``. ``source`` names the place
    in messages. Raises ``UsageError``.
    """
    targets = dict(DEFAULT_TARGETS)
    for name, given in mapping.items():
        if name not in DEFAULT_TARGETS:
            raise UsageError(
                f"{source}: {_quoted(name)}: no such operation", remedy=_nearest(name, DEFAULT_TARGETS)
            )
        targets[name] = _target_from(given, DEFAULT_TARGETS[name], f"{source}: {_quoted(name)}")
    return targets


def _target_from(given: object, default: Target, where: str) -> Target:
    if not isinstance(given, Mapping):
        return Target(default.quantile, _limit_from(given, where))
    for key in given:
        if key not in _TARGET_KEYS:
            raise UsageError(f"{where}: no such key: {key!r}", remedy=_nearest(key, _TARGET_KEYS))
    quantile = given.get("quantile", default.quantile)
    if not isinstance(quantile, str) or quantile not in QUANTILES:
        raise UsageError(
            f"{where}: quantile: {quantile!r} is not measured", remedy=f"one of {', '.join(QUANTILES)}"
        )
    limit_ms = given.get("limit_ms", default.limit_ms)
    return Target(quantile, _limit_from(limit_ms, f"{where}: limit_ms"))


def _limit_from(given: object, where: str) -> float:
    remedy = "a number of milliseconds above 0"
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise UsageError(f"{where}: {given!r} is not a number", remedy=remedy)
    try:
        limit_ms = float(given)
    except OverflowError:
        limit_ms = math.inf
    if not 0 < limit_ms < math.inf:  # false for nan as well
        raise UsageError(f"{where}: {given} is no limit", remedy=remedy)
    return limit_ms


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # editors on Windows write a mark first
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}", remedy="save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{path}: {error}", remedy='a name with brackets needs quotes: "append_events[1]"'
        ) from error


def _nearest(name: object, known: Mapping[str, object] | tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {_quoted(nearest[0])}?" if nearest else f"one of {', '.join(known)}"


def _quoted(name: object) -> str:
    return f'"{name}"'
