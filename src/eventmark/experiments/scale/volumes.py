"""Which volumes one log is measured at while it grows, and the plan of that log."""

from __future__ import annotations

from dataclasses import replace

from eventmark.config import parse_count
from eventmark.errors import UsageError
from eventmark.workload import BATCH_EVENTS, COHORT_EVENTS, CorpusPlan

TIMES = 10
TIMES_QUICK = 4
VOLUMES_MAX = 12
FIRST_MIN = 2 * BATCH_EVENTS
"""Fewer events have no stream of 1000."""


def volumes_of(first: int, to: str = "", steps: str = "", *, quick: bool = False) -> tuple[int, ...]:
    """Ascending: ``steps`` where they are named, else ``first`` times 1, 2, 5, 10, 20, ... up to ``to``.

    ``to`` is ten times ``first`` where it is not named; the quick profile doubles ``first`` twice. Raises
    ``UsageError``.
    """
    if steps:
        volumes = tuple(parse_count(part) for part in steps.split(","))
        if to and parse_count(to) != volumes[-1]:
            raise UsageError(
                f"--steps end at {volumes[-1]:,} events, --to is {parse_count(to):,}",
                remedy="name one of them",
            )
    else:
        last = parse_count(to) if to else first * (TIMES_QUICK if quick else TIMES)
        volumes = (*_between(first, last, quick=quick), last)
    return _checked(volumes)


def plan_of(corpus: CorpusPlan, volumes: tuple[int, ...]) -> CorpusPlan:
    """The log of the largest volume, of which every smaller one is the beginning, whole streams.

    ``corpus`` says everything else.
    """
    return replace(corpus, events=volumes[-1], cohort_events=_cohort_events(volumes))


def _between(first: int, last: int, *, quick: bool) -> tuple[int, ...]:
    volumes, power = [], 1
    while first * power < last:
        for times in (1, 2) if quick else (1, 2, 5):
            if first * power * times < last:
                volumes.append(first * power * times)
        power *= 4 if quick else 10
    return tuple(volumes)


def _checked(volumes: tuple[int, ...]) -> tuple[int, ...]:
    if list(volumes) != sorted(set(volumes)):
        raise UsageError("the volumes must increase", remedy="write for example --steps 1M,2M,5M,10M")
    if not 2 <= len(volumes) <= VOLUMES_MAX:
        raise UsageError(
            f"{len(volumes)} volumes cannot be compared",
            remedy=f"name 2 to {VOLUMES_MAX}, 4 or more for a law",
        )
    if volumes[0] < FIRST_MIN:
        raise UsageError(
            f"{volumes[0]:,} events have no stream of 1000 events", remedy=f"begin with {FIRST_MIN:,} or more"
        )
    unit = _cohort_events(volumes)
    for volume in volumes:
        if volume % unit:
            raise UsageError(
                f"{volume:,} events would end within streams", remedy=f"name multiples of {unit:,} events"
            )
    return volumes


def _cohort_events(volumes: tuple[int, ...]) -> int:
    """As many as are made at one go: the smallest volume, where that is less than usual."""
    return min(COHORT_EVENTS, max(volumes[0] // BATCH_EVENTS * BATCH_EVENTS, BATCH_EVENTS))
