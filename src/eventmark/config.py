"""Settings of a run: from ``eventmark.toml``, overlaid by flags. Checked by name, type and range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from eventmark.errors import UsageError

CORPUS_SCHEMA = (
    "eventmark_corpus"  # not the library's default: a corpus never stands where a store in use does
)
_COUNT = re.compile(r"(?P<number>[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?)\s*(?P<unit>[kKmMgG]?)")
_COUNT_LENGTH_MAX = 40
DSN_KEYS = ("server", "base", "candidate")
PORT_MAX = 65_535
SHARE_MAX = 10.0
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is made of. Field names are the keys of ``eventmark.toml`` and the names of the flags."""

    events: str = "1M"
    tenants: int = 20
    payload: str = "realistic"
    payload_samples: str = ""
    anonymise: bool = False
    payload_sizes: str = ""
    large_tenants: str = "20%"
    large_events: str = "80%"
    stream_length: float = 4.0
    seed: int = 1
    profile: str = "standard"
    store: str = "eaf"
    server: str = "embedded"
    schema: str = CORPUS_SCHEMA
    targets: str = ""
    target: Sequence[str] = ()
    out: str = "out"
    directory: str = ""
    keep: bool = False
    port: int = 0
    metrics_port: int = 0
    replace: bool = False
    baselines: bool = True
    json: bool = False
    verbose: bool = False
    aged: bool = False
    ordering: str = "all"
    exhibit: str = "all"
    to: str = ""
    steps: str = ""
    seconds: int = 0  # 0: as long as the verb and the profile say
    mix: str = ""
    rate: int = 500
    arrivals: str = "poisson"
    stages: str = ""
    users: int = 0
    think_ms: int = 0
    workers: str = ""  # a number, or a cluster; empty: one per core, a few at most
    pool: int = 20
    deadline_ms: int = 10_000
    through: str = "wire"
    contended_percent: int = 0
    profiler: str = ""
    cases: str = "all"
    capacity: str = ""
    against: str = "all"
    victim: str = ""
    aggressor: str = ""
    aggressor_users: int = 4
    inflation_max: float = 2.0
    one_service: bool = False
    tenant_pool_max: int = 0  # 0: by the pool and the cores
    base: str = "HEAD"
    candidate: str = "."
    only: str = ""
    slowdown: str = "10%"
    fail_on: str = "any"
    baseline: str = ""
    summary: str = ""
    parts: str = "all"
    existing: bool = False
    allow_appends: bool = False
    allow_scans: bool = False

    @property
    def event_count(self) -> int:
        return parse_count(self.events)


def parse_count(text: str) -> int:
    """``50k``, ``1M``, ``1_000_000``, ``2.5M`` as a number. Raises ``UsageError`` below 1 and for anything else."""
    match = _COUNT.fullmatch(text.strip()) if len(text) <= _COUNT_LENGTH_MAX else None
    if match is None:
        raise UsageError(
            f"{text[:_COUNT_LENGTH_MAX]!r} is not a number of events",
            remedy="write for example 50k, 1M or 250000",
        )
    count = Decimal(match["number"].replace("_", "")) * _UNITS[match["unit"].lower()]
    if count < 1 or count != int(count):
        raise UsageError(f"{text!r} is not a number of events above 0", remedy="write for example 50k or 1M")
    return int(count)


def parse_share(text: str) -> float:
    """``10%`` or ``0.1`` as 0.1. Raises ``UsageError`` for what is no share above 0 and up to 1000%."""
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= SHARE_MAX:
        raise UsageError(f"{text!r} is not a share", remedy="write for example 10%")
    return share


def load_settings(flags: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Settings:
    """Defaults, overlaid by what was given (not None) as flags or in a settings file.

    ``defaults`` are a verb's own, where they are not everybody's. Raises ``UsageError``.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings = replace(Settings(**(defaults or {})), **given)
    _ = settings.event_count
    for port in (settings.port, settings.metrics_port):
        if not 0 <= port <= PORT_MAX:
            raise UsageError(
                f"{port} is not a port", remedy=f"a port is 1 to {PORT_MAX}; leave it out for a free one"
            )
    return settings
