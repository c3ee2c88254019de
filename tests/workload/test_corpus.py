"""The corpus: its shape, its determinism, its independence of who makes which batch."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from eventmark.errors import UsageError
from eventmark.workload import (
    BATCH_EVENTS,
    PROFILES,
    SNAPSHOT_EVERY_EVENTS,
    CorpusPlan,
    EventRow,
    example_payloads,
    make_batch,
    transaction_ids_needed,
)


@pytest.fixture(scope="module")
def plan() -> CorpusPlan:
    return CorpusPlan(60_000, seed=7)


@pytest.fixture(scope="module")
def events(plan: CorpusPlan) -> list[EventRow]:
    return [event for number in range(plan.batch_count) for event in make_batch(plan, number).events]


def test_the_corpus_has_exactly_the_events_asked_for_numbered_without_gap(events: list[EventRow]) -> None:
    assert [event.global_sequence_id for event in events] == list(range(1, 60_001))


def test_a_fifth_of_the_tenants_own_four_fifths_of_the_events(
    plan: CorpusPlan, events: list[EventRow]
) -> None:
    counts = Counter(event.tenant_id for event in events)
    owned = sum(count for _, count in counts.most_common(plan.tenant_count // 5))
    assert owned / len(events) == pytest.approx(0.8, abs=0.01)
    assert len(counts) == plan.tenant_count


def test_streams_are_contiguous_from_one_and_ordered_by_transaction(events: list[EventRow]) -> None:
    streams = defaultdict(list)
    for event in events:
        streams[event.tenant_id, event.aggregate_id].append(event)
    for stream in streams.values():
        assert [event.sequence_number for event in stream] == list(range(1, len(stream) + 1))
        assert [event.expected_version for event in stream] == list(range(len(stream)))
        assert all(a.transaction_id <= b.transaction_id for a, b in pairwise(stream))
        assert len({event.aggregate_type for event in stream}) == 1


def test_stream_lengths_have_a_long_tail_and_some_of_exactly_1000_for_both_kinds_of_tenant(
    plan: CorpusPlan, events: list[EventRow]
) -> None:
    counts = Counter((event.tenant_id, event.aggregate_id) for event in events)
    lengths = np.array(list(counts.values()))
    assert lengths.max() == 1000
    assert np.median(lengths) < lengths.mean() < 15
    large = {tenant.tenant_id for tenant in plan.tenants if tenant.large}
    owners = [tenant_id in large for (tenant_id, _), count in counts.items() if count == 1000]
    assert owners.count(True) >= 2
    assert owners.count(False) >= 2


def test_payload_sizes_are_70_25_5(events: list[EventRow]) -> None:
    sizes = np.array([len(event.payload) for event in events])
    assert sizes.min() >= 100
    assert sizes.max() <= 10_000
    assert np.mean(sizes <= 500) == pytest.approx(0.70, abs=0.01)
    assert np.mean((sizes >= 1000) & (sizes <= 5000)) == pytest.approx(0.25, abs=0.01)
    assert np.mean(sizes > 5000) == pytest.approx(0.05, abs=0.01)


def test_payload_and_metadata_are_json_of_the_event(events: list[EventRow]) -> None:
    for event in events[::97]:
        payload = json.loads(event.payload)
        assert payload[f"{event.aggregate_type.lower()}Id"] == event.aggregate_id[:8]
        assert payload["revision"] == event.sequence_number
        assert set(json.loads(event.metadata)) == {"user", "traceId", "causationId", "correlationId"}


def test_lean_events_are_small_and_know_their_revision_and_correlation() -> None:
    events = make_batch(CorpusPlan(10_000, payload_profile="lean"), 0).events
    assert all(30 <= len(event.payload) <= 60 for event in events)
    assert all(json.loads(event.payload)["revision"] == event.sequence_number for event in events[::97])
    metadata = [json.loads(event.metadata) for event in events]
    assert all(set(one) == {"correlationId"} for one in metadata)
    assert len({one["correlationId"] for one in metadata}) < len(events) / 3


def test_the_first_cohorts_of_a_log_are_whole_streams_and_a_corpus_of_their_own() -> None:
    plan = CorpusPlan(40_000, seed=5, cohort_events=20_000)
    every = [event for number in range(plan.batch_count) for event in make_batch(plan, number).events]
    first, later = every[:20_000], {event.aggregate_id for event in every[20_000:]}
    lengths = Counter((event.tenant_id, event.aggregate_id) for event in first)
    assert not {aggregate for _, aggregate in lengths} & later
    assert list(lengths.values()).count(1000) == 4
    large = {tenant.tenant_id for tenant in plan.tenants if tenant.large}
    assert sum(event.tenant_id in large for event in first) / len(first) == pytest.approx(0.8, abs=0.01)
    times = [event.timestamp_utc for event in every]
    assert times == sorted(times)


def test_a_correlation_spans_several_aggregates_of_one_tenant_and_causes_come_before(
    events: list[EventRow],
) -> None:
    groups = defaultdict(list)
    place = {UUID(event.event_id): number for number, event in enumerate(events)}
    for number, event in enumerate(events):
        metadata = msgspec.json.decode(event.metadata)
        groups[metadata["correlationId"]].append(event)
        if metadata["causationId"]:
            assert place[UUID(metadata["causationId"])] < number
    assert all(len({event.tenant_id for event in group}) == 1 for group in groups.values())
    spanning = [group for group in groups.values() if len({event.aggregate_id for event in group}) > 1]
    assert len(spanning) > len(groups) / 2


def test_tenants_work_in_their_own_business_hours(plan: CorpusPlan, events: list[EventRow]) -> None:
    zones = {tenant.tenant_id: ZoneInfo(tenant.time_zone) for tenant in plan.tenants}
    local = [event.timestamp_utc.astimezone(zones[event.tenant_id]) for event in events[::20]]
    working = np.mean([at.weekday() < 5 and 8 <= at.hour < 18 for at in local])
    assert working > 0.7  # 50 of a week's 168 hours, evenly spread, would be 0.3
    assert np.mean([at.hour < 5 for at in local]) < 0.03


def test_the_log_is_in_time_order_and_scatters_each_stream(events: list[EventRow]) -> None:
    times = [event.timestamp_utc for event in events]
    assert times == sorted(times)
    places = defaultdict(list)
    for number, event in enumerate(events):
        places[event.aggregate_id].append(number)
    longest = max(places.values(), key=len)
    assert np.median(np.diff(longest)) > 10


def test_event_ids_are_unique_and_of_version_7(events: list[EventRow]) -> None:
    assert len({event.event_id for event in events}) == len(events)
    assert all(UUID(event.event_id).version == 7 for event in events[::101])


def test_every_hundredth_event_of_a_stream_has_a_snapshot(plan: CorpusPlan) -> None:
    batch = make_batch(plan, 3)
    due = [
        (event.tenant_id, event.aggregate_id, event.sequence_number)
        for event in batch.events
        if event.sequence_number % SNAPSHOT_EVERY_EVENTS == 0
    ]
    assert due
    assert [(row.tenant_id, row.aggregate_id, row.sequence_number) for row in batch.snapshots] == due


def test_a_batch_is_the_same_by_any_process_and_in_any_order() -> None:
    one, other = CorpusPlan(130_000, seed=3), CorpusPlan(130_000, seed=3)
    forwards = [make_batch(one, number) for number in (0, 12)]
    backwards = [make_batch(other, number) for number in (12, 0)]
    assert forwards == backwards[::-1]


def test_another_seed_makes_another_corpus() -> None:
    assert make_batch(CorpusPlan(1000, seed=1), 0) != make_batch(CorpusPlan(1000, seed=2), 0)


def test_the_last_batch_holds_what_is_left() -> None:
    plan = CorpusPlan(BATCH_EVENTS + 3)
    assert plan.batch_count == 2
    assert len(make_batch(plan, 1).events) == 3


@pytest.mark.parametrize("events", [1, 2, 9, 500, 4000])
def test_small_corpora_are_whole(events: int) -> None:
    assert len(make_batch(CorpusPlan(events), 0).events) == events


def test_transaction_ids_are_counted_up_to_the_last_event() -> None:
    plan = CorpusPlan(25)
    last = make_batch(plan, 0, first_transaction_id=100).events[-1]
    assert last.transaction_id == 100 + transaction_ids_needed(plan.events) - 1


@pytest.mark.parametrize(
    "wrong",
    [{"events": 0}, {"events": -5}, {"events": 10**12}, {"events": 10, "tenant_count": 1},
     {"events": 10, "seed": -1}, {"events": 10, "cohort_events": 15_000}, {"events": 10, "cohort_events": 0}, {"events": 10, "payload_profile": "huge"}],
)  # fmt: skip
def test_a_plan_out_of_range_is_refused_with_a_remedy(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError) as refused:
        CorpusPlan(**wrong)  # type: ignore[arg-type]
    assert refused.value.remedy


def test_example_payloads_are_json_of_the_plans_sizes() -> None:
    payloads = example_payloads(2000, np.random.default_rng(1))
    for payload in payloads:
        json.loads(payload)
    assert np.mean([len(payload) <= 500 for payload in payloads]) == pytest.approx(0.7, abs=0.05)


def test_example_payloads_of_every_profile_are_within_its_sizes() -> None:
    for profile, classes in PROFILES.items():
        sizes = [len(payload) for payload in example_payloads(300, np.random.default_rng(1), profile)]
        assert min(size.low_bytes for size in classes) <= min(sizes)
        assert max(sizes) <= max(size.high_bytes for size in classes)
