"""A corpus of the user's own shape: its tenants' shares, the lengths of its streams, the sizes of its payloads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from eventmark.errors import UsageError
from eventmark.workload import CorpusPlan, CorpusShape, make_batch, parse_sizes
from tests.cli.conftest import Command


def test_events_spread_as_their_shape_asks() -> None:
    sizes = parse_sizes("50%:200-300, 50%:20000-30000")
    shape = CorpusShape(large_tenants=0.1, large_events=0.9, stream_length=20, payload_sizes=sizes)
    events = [
        event for number in range(2) for event in make_batch(CorpusPlan(20_000, shape=shape), number).events
    ]
    tenants = Counter(event.tenant_id for event in events)
    assert sum(count for _, count in tenants.most_common(2)) == pytest.approx(0.9 * len(events), rel=0.01)
    small = [event for event in events if 200 <= len(event.payload) <= 300]
    large = [event for event in events if 20_000 <= len(event.payload) <= 30_000]
    assert len(small) + len(large) == len(events)
    assert len(small) == pytest.approx(len(events) / 2, rel=0.05)
    usual = make_batch(CorpusPlan(10_000), 0).events
    assert (
        len({event.aggregate_id for event in events[:10_000]})
        < len({event.aggregate_id for event in usual}) / 2
    )


@pytest.mark.parametrize(
    "text", ["70%:100-500", "100%:500-100", "100%:1-2", "100%:1-", "much", "0%:100-200,100%:100-200"]
)
def test_what_are_no_sizes_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sizes(text)


@pytest.mark.parametrize(
    "shape",
    [{"large_tenants": 1.0}, {"large_events": 0.1}, {"stream_length": float("nan")}, {"stream_length": 0}],
)
def test_a_shape_that_cannot_be_is_refused(shape: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        CorpusShape(**shape)


def test_the_corpus_table_of_the_settings_shapes_the_corpus_of_every_verb(
    command: Command, database: str
) -> None:
    Path("eventmark.toml").write_text(
        '[corpus]\nevents = "2k"\nlarge_events = "90%"\nlarge_tenants = "10%"\nstream_length = 8\n'
        'payload_sizes = "100%:300-400"\n'
    )
    assert command("seed", "--server", database).code == 0
    audited = command("audit", "--server", database)
    assert audited.code in (0, 3), audited.out
    assert re.search("tenants 90/10.*MET", audited.out), audited.out
    assert re.search("payload sizes.*MET", audited.out), audited.out
    assert "is there already" in command("seed", "--server", database).out
    assert command("seed", "--server", database, "--stream-length", "4").code == 4
    Path("eventmark.toml").write_text("[corpus]\nstreem_length = 8\n")
    done = command("seed", "--server", database)
    assert done.code == 2 and "did you mean 'stream_length'?" in done.err
