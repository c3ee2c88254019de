"""One cohort: 100,000 events of the log, or as many as the plan says, made at one go, independent of all others.

A cohort covers a slice of the history and holds whole streams: its tenants' shares follow their weights and
how active they are in the slice, its streams are drawn until the shares are used up, its events are laid
out in the tenants' operational time and then ordered by time. So an aggregate's events lie scattered over
its cohort, as in a table that grew by use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eventmark.workload.calendar import HISTORY_START
from eventmark.workload.lifecycles import LIFECYCLES, draw_lifecycles, event_type_codes
from eventmark.workload.payloads import AMOUNT_MAX, ITEM_MAX, PROSE_MAX, opening
from eventmark.workload.plan import CorpusPlan

LONGEST_STREAM_EVENTS = 1000
LONGEST_STREAMS_MAX = 2  # per cohort and kind of tenant
_LENGTH_SIGMA = 1.05
_CORRELATED_EVENTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """A cohort's events as columns, in the log's order, and its aggregates' texts.

    ``aggregate`` and ``correlation`` point into the arrays and lists of their kind, ``cause`` at the event
    of this cohort that caused this one, -1 for none. Ids are 16 bytes each.
    """

    first_event: int
    tenant: np.ndarray
    aggregate: np.ndarray
    sequence: np.ndarray
    at_us: np.ndarray
    event_type: np.ndarray
    payload_bytes: np.ndarray
    event_ids: np.ndarray  # (events, 16)
    correlation: np.ndarray
    correlation_ids: np.ndarray  # (correlations, 16)
    cause: np.ndarray
    amount: np.ndarray
    item: np.ndarray
    prose: np.ndarray
    aggregate_ids: list[str]
    stream_ids: list[str]
    aggregate_types: list[str]
    openings: list[str]  # of each aggregate's payloads, up to their revision


@lru_cache(maxsize=1)
def make_cohort(plan: CorpusPlan, number: int) -> Cohort:
    random = plan.random("cohort", number)
    first_event = number * plan.cohort_events
    count = min(plan.cohort_events, plan.events - first_event)
    slice_hours = plan.calendar.slice_hours(number, plan.cohort_count)
    quotas, owners = _share_out(plan, number, slice_hours, count)
    tenant_of, length = _draw_streams(quotas, owners, plan.shape.stream_length, random)
    lifecycle = draw_lifecycles(len(length), random)
    aggregate = np.repeat(np.arange(len(length)), length)
    sequence = np.arange(count) - np.repeat(np.cumsum(length) - length, length) + 1
    event_type = event_type_codes(lifecycle[aggregate], sequence, length[aggregate], random)
    at_us = _event_times(plan, slice_hours, tenant_of, length, random)
    order = np.argsort(at_us, kind="stable")  # stable: within a stream the sequence decides
    tenant = tenant_of[aggregate[order]]
    correlation, cause, correlation_count = _correlate(tenant, plan.tenant_count)
    types = [LIFECYCLES[index].aggregate_type for index in lifecycle.tolist()]
    aggregate_ids = [dashed(text) for text in hex_ids(_random_ids(len(length), random))]
    return Cohort(
        first_event=first_event,
        tenant=tenant,
        aggregate=aggregate[order],
        sequence=sequence[order],
        at_us=at_us[order],
        event_type=event_type[order],
        payload_bytes=plan.draw_payload_bytes(count, random),
        event_ids=_time_ordered_ids(at_us[order], random),
        correlation=correlation,
        correlation_ids=_random_ids(correlation_count, random),
        cause=cause,
        amount=random.integers(0, AMOUNT_MAX, count),
        item=random.integers(0, ITEM_MAX, count),
        prose=random.integers(0, PROSE_MAX, count),
        aggregate_ids=aggregate_ids,
        stream_ids=[f"{kind}:{name}" for kind, name in zip(types, aggregate_ids, strict=True)],
        aggregate_types=types,
        openings=[opening(kind, name) for kind, name in zip(types, aggregate_ids, strict=True)],
    )


def hex_ids(ids: np.ndarray) -> list[str]:
    """Ids of 16 bytes as text of 32 hexadecimal digits."""
    text = ids.tobytes().hex()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def _share_out(
    plan: CorpusPlan, number: int, slice_hours: tuple[float, float], count: int
) -> tuple[np.ndarray, list[int]]:
    """How many of the cohort's events each tenant has, and the tenants that have a stream of the longest length."""
    activity = [
        float(np.ptp(plan.calendar.operational_time(tenant.time_zone, slice_hours)))
        for tenant in plan.tenants
    ]
    weights = np.array([tenant.weight for tenant in plan.tenants]) * np.array(activity)
    large = np.array([tenant.large for tenant in plan.tenants])
    for kind, share in ((large, plan.shape.large_events), (~large, 1 - plan.shape.large_events)):
        weights[kind] *= share / weights[kind].sum()
    quotas = _apportion(weights, count)
    owners = [index for kind in (large, ~large) for index in _make_room_for_longest(quotas, kind, number)]
    return quotas, owners


def _make_room_for_longest(quotas: np.ndarray, kind: np.ndarray, number: int) -> list[int]:
    """The tenants of a kind whose turn it is; their quotas raised to what they need at the others' cost."""
    places = np.flatnonzero(kind)
    wanted = min(len(places), _longest_streams(int(quotas[places].sum())))
    turns = np.roll(places, -wanted * number)
    chosen, others = turns[:wanted], turns[wanted:]
    missing = int(np.maximum(LONGEST_STREAM_EVENTS - quotas[chosen], 0).sum())
    if missing and len(others):
        quotas[chosen] = np.maximum(quotas[chosen], LONGEST_STREAM_EVENTS)
        quotas[others] = _apportion(quotas[others].astype(float), int(quotas[others].sum()) - missing)
    return [index for index in chosen.tolist() if quotas[index] >= LONGEST_STREAM_EVENTS]


def _longest_streams(events: int) -> int:
    """How many streams of exactly the longest length a kind of tenants has among ``events``."""
    return min(LONGEST_STREAMS_MAX, events // (2 * LONGEST_STREAM_EVENTS))


def _apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """``total`` shared out by weight in whole numbers, the largest remainders first."""
    exact = weights / weights.sum() * total
    shares = np.floor(exact).astype(np.int64)
    short = total - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:short]] += 1
    return np.asarray(shares)


def _draw_streams(
    quotas: np.ndarray, owners: list[int], median: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tenant and length of each of the cohort's streams; each tenant's lengths sum to its quota."""
    tenants, lengths = [], []
    for index, quota in enumerate(quotas.tolist()):
        own = owners.count(index)
        drawn = _draw_lengths(quota - own * LONGEST_STREAM_EVENTS, median, random)
        lengths.append(np.concatenate([np.full(own, LONGEST_STREAM_EVENTS), drawn]))
        tenants.append(np.full(own + len(drawn), index))
    return np.concatenate(tenants), np.concatenate(lengths)


def _draw_lengths(total: int, median: float, random: np.random.Generator) -> np.ndarray:
    """Long-tailed stream lengths, from 1 to below the longest, that sum to ``total``."""
    if total <= 0:
        return np.empty(0, dtype=np.int64)
    lengths = np.empty(0, dtype=np.int64)
    while lengths.sum() < total:
        drawn = np.exp(random.normal(np.log(median), _LENGTH_SIGMA, total // 6 + 10))
        more = np.clip(np.rint(drawn).astype(np.int64), 1, LONGEST_STREAM_EVENTS - 1)
        lengths = np.concatenate([lengths, more])
    ends = np.cumsum(lengths)
    last = int(np.searchsorted(ends, total))
    lengths = lengths[: last + 1].copy()
    lengths[last] -= int(ends[last]) - total
    return np.asarray(lengths)


def _event_times(
    plan: CorpusPlan,
    slice_hours: tuple[float, float],
    tenant_of: np.ndarray,
    length: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Microseconds since the history's start of each event, ordered by stream and sequence."""
    # Short streams take a part of the slice, long ones nearly all of it.
    duration = np.minimum(0.95, random.beta(1.2, 3.0, len(length)) + length / LONGEST_STREAM_EVENTS)
    start = random.random(len(length)) * (1 - duration)
    stream = np.repeat(np.arange(len(length)), length)
    within = np.sort(random.random(len(stream)) + stream) - stream
    at = start[stream] + within * duration[stream]
    at_us = np.empty(len(stream), dtype=np.int64)
    tenant = tenant_of[stream]
    for number, planned in enumerate(plan.tenants):
        mine = tenant == number
        begin, end = plan.calendar.operational_time(planned.time_zone, slice_hours)
        at_us[mine] = plan.calendar.microseconds_at(planned.time_zone, begin + at[mine] * (end - begin))
    return at_us


def _correlate(tenant: np.ndarray, tenant_count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Four events in a row of one tenant, of any aggregates, share a correlation and a chain of causes."""
    by_tenant = np.argsort(tenant, kind="stable")
    counts = np.bincount(tenant, minlength=tenant_count)
    rank = np.arange(len(tenant)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = rank % _CORRELATED_EVENTS == 0
    correlation = np.empty(len(tenant), dtype=np.int64)
    correlation[by_tenant] = np.cumsum(starts) - 1
    cause = np.empty(len(tenant), dtype=np.int64)
    cause[by_tenant] = np.where(starts, -1, np.concatenate([[-1], by_tenant[:-1]]))
    return correlation, cause, int(starts.sum())


def _time_ordered_ids(at_us: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """UUIDs of version 7: they rise with time, so that their index grows at its end."""
    milliseconds = (at_us // 1000 + int(HISTORY_START.timestamp() * 1000)).astype(np.uint64)
    high = (milliseconds << np.uint64(16)) | np.uint64(0x7000) | _bits(random, len(at_us), 12)
    return _joined(high, np.uint64(1 << 63) | _bits(random, len(at_us), 62))


def _random_ids(count: int, random: np.random.Generator) -> np.ndarray:
    """UUIDs of version 4."""
    high = (_bits(random, count, 64) & np.uint64(0xFFFF_FFFF_FFFF_0FFF)) | np.uint64(0x4000)
    return _joined(high, np.uint64(1 << 63) | _bits(random, count, 62))


def _joined(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return np.stack([high, low], axis=1).astype(">u8").view(np.uint8)


def _bits(random: np.random.Generator, count: int, bits: int) -> np.ndarray:
    return random.integers(0, (1 << bits) - 1, count, dtype=np.uint64, endpoint=True)


def dashed(text: str) -> str:
    """A UUID's 32 digits in its usual form."""
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
