"""Tenants: a few large ones own most of the events, each lives in a time zone of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventmark.workload.shape import CorpusShape

WEIGHT_SPREAD = 0.2
TIME_ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Singapore",
    "Europe/London",
    "America/Los_Angeles",
    "Australia/Sydney",
    "America/Sao_Paulo",
    "Asia/Kolkata",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One tenant; ``weight`` is its share of all events, 0..1."""

    tenant_id: str
    weight: float
    large: bool
    time_zone: str


def make_tenants(count: int, random: np.random.Generator, shape: CorpusShape) -> tuple[Tenant, ...]:
    """``count`` tenants, the large ones first. Weights differ by a fifth within each kind and sum to 1."""
    large_count = max(1, round(count * shape.large_tenants))
    weights = np.concatenate(
        [
            _spread(large_count, shape.large_events, random),
            _spread(count - large_count, 1 - shape.large_events, random),
        ]
    )
    return tuple(
        Tenant(
            tenant_id=f"tenant-{number:04d}",
            weight=float(weight),
            large=number < large_count,
            time_zone=TIME_ZONES[number % len(TIME_ZONES)],
        )
        for number, weight in enumerate(weights)
    )


def _spread(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    weights = random.uniform(1 - WEIGHT_SPREAD, 1 + WEIGHT_SPREAD, count)
    return np.asarray(weights / weights.sum() * share)
