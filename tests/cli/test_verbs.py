"""Each verb alone: what it measured is in a result and its reports, as after a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventmark.results.files import read_result
from eventmark.results.targets import DEFAULT_TARGETS
from tests.cli.conftest import Command

REPORTS = {"result.json", "report.html", "report.md", "junit.xml", "jmh.json", "metrics.prom"}


@pytest.mark.long
@pytest.mark.usefixtures("whole_page")
def test_plans_and_operations_alone_end_with_a_result_of_their_own(
    command: Command, database: str, tmp_path: Path
) -> None:
    corpus = ("--events", "20k", "--profile", "quick", "--server", database)
    explained = command("explain", *corpus, "--out", "plans")
    assert explained.code == 0, explained.err
    assert {path.name for path in (tmp_path / "plans").iterdir()} == REPORTS
    plans = read_result(tmp_path / "plans" / "result.json")
    assert (plans.operations, plans.corpus) == ({}, None)
    assert {plan.statement for plan in plans.plans} >= {"append_events", "load_aggregate", "stream_events"}
    assert [phase.name for phase in plans.phases] == ["doctor", "seed", "plans"]
    assert "No operation was measured" not in (tmp_path / "plans" / "report.html").read_text(encoding="utf-8")

    measured = command("bench", *corpus, "--out", "bench", "--no-floors", "--json")
    document = json.loads(measured.out)
    assert measured.code == {"MET": 0, "BROKEN": 1, "INCONCLUSIVE": 3}[document["verdict"]]
    assert set(document["operations"]) == set(DEFAULT_TARGETS)
    assert (document["plans"], document["corpus"]) == ([], None)
    assert {path.name for path in (tmp_path / "bench").iterdir()} == REPORTS


@pytest.mark.parametrize("events", ["1", pytest.param("30", marks=pytest.mark.long)])
def test_a_tiny_corpus_is_measured_as_far_as_it_goes(
    command: Command, database: str, tmp_path: Path, events: str
) -> None:
    done = command("bench", "--events", events, "--profile", "quick", "--server", database, "--no-floors")
    assert done.code in (0, 1, 3), done.err
    result = read_result(tmp_path / "out" / "result.json")
    assert "seed 1,000 events or more" in result.skipped["append_events[1]"]
    assert all(one.failed == 0 for one in result.operations.values())
    assert "create_head_token" in result.operations
