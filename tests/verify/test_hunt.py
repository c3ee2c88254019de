"""Short hunts with real processes: the safe orderings come out clean, the control is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eventmark.engine import ORDERINGS
from eventmark.results.results import OrderingResult, Verdict
from eventmark.seeding.progress import Progress, no_progress
from eventmark.verify import HuntPlan, engine_subject, hunt

LOSSLESS = [name for name, ordering in ORDERINGS.items() if ordering.lossless]


def hunted(
    dsn: str, ordering: str, *, events: int, keep: Path | None = None, progress: Progress = no_progress
) -> OrderingResult:
    plan = HuntPlan(subject=engine_subject(ordering), events=events, seconds=120, paced_s=0.5, held_s=0.5)
    return hunt(dsn, "hunted", plan, replay="again", keep_history=keep, progress=progress)


def assert_clean(result: OrderingResult, events: int) -> None:
    assert result.verdict is Verdict.MET, result.findings
    # Where the machine is crowded an append may go unanswered for longer than its timeout: unknown, and accounted for.
    assert (result.lost, result.duplicated, result.out_of_order) == (0, 0, 0)
    assert result.committed >= events
    assert result.conflicts > 0
    assert result.rolled_back > 0
    assert result.delivered > 0
    assert all(finding.verdict is Verdict.MET for finding in result.findings)


def test_horizon_is_clean_and_its_price_is_reported(database: str) -> None:
    stages: list[str] = []
    result = hunted(database, "horizon", events=3000, progress=lambda stage, *_: stages.append(stage))
    assert_clean(result, 3000)
    # What follows the writers may take longer than they did: it is no silence after "done".
    assert list(dict.fromkeys(stages)) == ["verify horizon", "catch up horizon", "check horizon"]
    assert result.append_ms is not None and 0 < result.append_ms.p50 < result.append_ms.max
    assert result.visible_ms is not None and result.handled_ms is not None
    assert result.handled_ms.p50 > result.visible_ms.p50  # of the same appends, one by one
    assert result.events_per_s > result.appends_per_s > 0


def test_naive_is_caught_and_its_history_kept(database: str, tmp_path: Path) -> None:
    result = hunted(database, "naive", events=3000, keep=tmp_path / "history.npz")
    assert result.verdict is Verdict.BROKEN
    assert result.lost > 0
    assert any("transaction" in one.observed and one.name == "I7" for one in result.findings)
    kept = np.load(tmp_path / "history.npz")
    assert len(kept["stored"]) == result.committed


@pytest.mark.long
@pytest.mark.parametrize("ordering", LOSSLESS)
def test_every_safe_ordering_is_clean(database: str, ordering: str) -> None:
    assert_clean(hunted(database, ordering, events=100_000), 100_000)
