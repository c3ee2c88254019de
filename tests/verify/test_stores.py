"""Stores of SQL files are hunted as the engine is: the naive one loses events, the example does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmark.results.results import OrderingResult, Verdict
from eventmark.stores import write_template
from eventmark.verify import HuntPlan, hunt, store_subject


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


def hunted(dsn: str, store: str, *, events: int = 4000) -> OrderingResult:
    plan = HuntPlan(subject=store_subject(store), events=events, seconds=120, paced_s=0.5, held_s=0.5)
    return hunt(dsn, "hunted", plan)


def rewrite(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def test_a_store_that_goes_by_the_last_number_loses_events(database: str) -> None:
    result = hunted(database, "eaf-v3")
    assert result.verdict is Verdict.BROKEN
    assert result.lost > 0
    assert {one.name for one in result.findings if one.verdict is Verdict.BROKEN} == {"I7"}


def test_the_example_loses_nothing_and_every_invariant_is_checked(database: str, own: Path) -> None:
    result = hunted(database, str(own))
    assert result.verdict is Verdict.MET, result.findings
    assert (result.ordering, result.consumers) == ("my-store", 4)
    assert result.committed >= 4000
    assert result.delivered > 0
    assert result.conflicts > 0
    assert result.rolled_back > 0


def test_a_store_without_event_ids_that_appends_one_by_one_is_hunted_by_its_payloads(
    database: str, own: Path
) -> None:
    rewrite(own / "store.toml", ('event_id = "id"\n', ""))
    rewrite(own / "schema.sql", ("    id uuid not null,\n", ""), ("data jsonb", "data text"))
    rewrite(own / "indexes.sql", ("create unique index events_id on {schema}.events (tenant, id);", ""))
    for name in ("load_aggregate", "stream_events", "stream_tenant_events"):
        rewrite(own / f"{name}.sql", (" id as event_id,", ""))
    (own / "append_events.sql").write_text(
        "-- name: append_events\n"
        "-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_type text, payload text,"
        " metadata jsonb, timestamp timestamptz\n"
        "insert into {schema}.events (tenant, stream, version, type, data, meta, recorded_at)"
        " values (:tenant_id, :aggregate_id, :sequence_number, :event_type, :payload, :metadata, :timestamp)"
    )
    result = hunted(database, str(own), events=2000)
    assert result.verdict is Verdict.MET, result.findings
    assert result.committed >= 2000


def test_a_payload_that_is_not_stored_as_sent_is_found(database: str, own: Path) -> None:
    rewrite(
        own / "append_events.sql",
        ("select :tenant_id, :aggregate_id, :expected_version + place, id, type, data",
         "select :tenant_id, :aggregate_id, :expected_version + place, id, type, data - 'text'"),
    )  # fmt: skip
    result = hunted(database, str(own), events=1000)
    assert result.verdict is Verdict.BROKEN
    assert "stored otherwise than sent" in result.reason


def test_a_store_that_nobody_can_consume_is_not_said_to_hold(database: str, own: Path) -> None:
    for name in ("stream_events", "stream_tenant_events"):
        (own / f"{name}.sql").unlink()
    assert "consumers" in dict(store_subject(str(own)).absent)
    assert hunted(database, str(own), events=1000).verdict is Verdict.INCONCLUSIVE
