"""The streams that a worker appends to: those of the corpus, and a bounded number of new ones."""

from __future__ import annotations

from random import Random

from eventmark.domain import StreamId
from eventmark.operations.streams import NEW_STREAM_SHARE, NEW_STREAMS_MAX, StreamVersions
from eventmark.seeding import SampledStream

APPENDS = 60_000


def test_new_streams_come_for_as_long_as_the_load_lasts_and_a_bounded_number_is_remembered() -> None:
    seeded = [
        SampledStream(
            stream=StreamId(tenant_id=f"tenant-{n % 3}", aggregate_type="Order", aggregate_id=f"{n}"), version=1
        )
        for n in range(100)
    ]  # fmt: skip
    versions, random = StreamVersions(seeded), Random(1)
    made, again = set(), set()
    for _ in range(APPENDS):
        known = versions.take(random)
        if known.version == 0:
            made.add(known.stream.aggregate_id)
        elif known.stream.aggregate_id in made:
            again.add(known.stream.aggregate_id)
        versions.settle(known, known.version + 1)
    assert abs(len(made) / APPENDS - NEW_STREAM_SHARE) < 0.01  # not fewer once many are known
    assert NEW_STREAMS_MAX * 0.9 < len(again) <= NEW_STREAMS_MAX
