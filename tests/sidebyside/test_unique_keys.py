"""A unique index that the candidate lost is named; one that still refuses as much is not."""

from __future__ import annotations

import pytest

from eventmark.experiments.gate.gate_section import gate_sections
from eventmark.sidebyside.bout import Bout
from eventmark.sidebyside.contest import Rules
from eventmark.sidebyside.sides import Side
from eventmark.sidebyside.unique_keys import UniqueKey, lost_keys, read_unique_keys
from tests.database import connected, execute

STREAM = UniqueKey(table="events", columns=["tenant", "stream", "version"])


def test_keys_are_read_as_the_server_has_them_and_of_a_partitioned_table_once(database: str) -> None:
    execute(
        database,
        "create schema kept",
        "create table kept.events (id int primary key, stream text, version int, gone bool) partition by hash (id)",
        "create table kept.events_0 partition of kept.events for values with (modulus 1, remainder 0)",
        "create unique index on kept.events_0 (lower(stream), version) include (gone) where not gone",
        "create index on kept.events (stream)",
        "create table kept.snapshots (stream text, version int)",
        "create unique index on kept.snapshots (lower(stream), version) include (stream) where version > 0",
    )
    found = connected(database, lambda connection: read_unique_keys(connection, "kept"))
    assert [str(key) for key in found] == [
        "events (id)", "snapshots (lower(stream), version) where (version > 0)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("candidate", "lost"),
    [
        ([], [STREAM]),
        ([STREAM], []),
        ([UniqueKey(table="events", columns=["stream", "version"])], []),
        ([UniqueKey(table="events", columns=["tenant", "stream", "version", "id"])], [STREAM]),
        ([UniqueKey(table="other", columns=STREAM.columns)], [STREAM]),
        ([UniqueKey(table="events", columns=STREAM.columns, condition="not gone")], [STREAM]),
        (None, []),
    ],
)
def test_a_key_is_lost_unless_another_one_refuses_as_much(
    candidate: list[UniqueKey] | None, lost: list[UniqueKey]
) -> None:
    assert lost_keys([STREAM], candidate) == lost
    assert lost_keys(None, candidate) == []


def test_the_report_names_what_is_no_longer_unique_and_what_to_run() -> None:
    side = Side(role="base", named="main", store="./own")
    [section] = gate_sections((side, side), Bout(rules=Rules(), table={}, lost_keys=[STREAM]))
    [hint] = [text for text in section.text if "unique" in text]
    assert "events (tenant, stream, version)" in hint and "eventmark verify" in hint
