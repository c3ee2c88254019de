"""Experiments that are interrupted keep what they measured until then, show it, and decide nothing by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from eventmark.experiments.cliffs.cliffs import Cliffs
from eventmark.experiments.group_append.group_append import GroupAppend
from eventmark.experiments.isolation.isolation import Isolation
from eventmark.experiments.isolation.one_service import OneService
from eventmark.experiments.isolation.row_level_security import RowLevelSecurity
from eventmark.experiments.load.capacity import CapacityPlan, CapacitySearch
from eventmark.experiments.load.load import Load
from eventmark.experiments.load.sweep import Sweep
from eventmark.experiments.run.main_job import Plans
from eventmark.experiments.soak.soak import Soak
from eventmark.experiments.streaming.streaming import Streaming
from eventmark.jobs.bottleneck import SECTION_NAME
from eventmark.jobs.job import Job, draw_sample
from eventmark.jobs.kernel import Experiment, Interrupted
from eventmark.jobs.profiles import PROFILES
from eventmark.loadgen.generator import run_load
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import LoadPlan
from eventmark.results.results import Verdict
from eventmark.workload.arrivals import Arrivals
from tests.experiments.results import assert_kept

APPEND, READ = "append_events[1]", "read_snapshot"
HOUR_S = 3600.0


def load(**changes: object) -> LoadPlan:
    plan = LoadPlan(
        mix=parse_mix(f"{APPEND}=1, {READ}=1"), seconds=HOUR_S, arrivals=Arrivals("poisson", 100), pool_max=2,
        warm_rounds=1,
    )  # fmt: skip
    return replace(plan, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """``experiment`` interrupted when ``stage`` has come to ``done``; ``sections`` are what it shows of the part."""

    experiment: Experiment
    stage: str
    done: float
    sections: tuple[str, ...]


CASES = [
    Case(Load(plan=load()), "generate", 1.0, ("load", "generator")),
    Case(
        CapacitySearch(plan=CapacityPlan(load=load(), probe_s=0.5, confirm_s=60.0, confirm_max_s=60.0)),
        "capacity", 2, ("capacity", "load", "generator"),
    ),
    Case(Plans(), "plans", 4, ()),
]  # fmt: skip
LONG_CASES = [
    Case(Soak(load=load(), events_per_s=50), "generate", 1.0, ("soak", "garbage", "upkeep", "load", "generator")),
    Case(Streaming(), "catch up", 0, ("consumption",)),
    Case(Cliffs(), "cliffs", 20, ("plan-cliffs",)),
    Case(Load(plan=load(arrivals=None, users=20, think_s=1.0, pool_max=4)), "generate", 1.0, ("load", "generator")),
    Case(
        Sweep(operations=(READ, APPEND), clients=(1, 2), seconds=0.3, warm_rounds=1),
        "sweep", 1, ("sweep", "sweep-read-snapshot"),
    ),
    Case(
        Isolation(kinds=("aggregate-loads", "bulk-append"), rate_per_s=40, leg_s=0.5, rounds=1, warm_rounds=1),
        "isolate", 2, ("isolation", "isolation-aggregate-loads"),
    ),
    Case(
        OneService(
            setting=Isolation(
                kinds=("aggregate-loads", "bulk-append"), rate_per_s=40, leg_s=0.5, rounds=1, warm_rounds=1
            )
        ),
        "isolate", 4, ("isolation", "isolation-aggregate-loads"),
    ),
    Case(RowLevelSecurity(), "measure", 1, ()),
    Case(GroupAppend(), "measure", 1, ("group-append",)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(stage: str, done: float) -> Callable[[str, float, float], None]:
    """Ctrl-C, once, when this stage has come so far."""
    left = [True]

    def progress(at: str, amount: float, total: float) -> None:
        if left and at.startswith(stage) and amount >= done:
            left.clear()
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.mark.parametrize(
    "case",
    [*CASES, *(pytest.param(case, marks=pytest.mark.long) for case in LONG_CASES)],
    ids=lambda case: f"{case.experiment.name}-{case.stage}",
)
def test_what_was_measured_until_then_is_kept_and_shown(case: Case, job: Job, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as ended:
        case.experiment.run(replace(job, profile=PROFILES["quick"]), interrupting(case.stage, case.done))
    result = ended.value.result
    assert result.verdict is Verdict.INCONCLUSIVE, result.reasons
    assert any(one.startswith("interrupted after ") for one in result.reasons), result.reasons
    assert tuple(one.name for one in result.sections if one.name != SECTION_NAME) == case.sections
    measured = sum(one.samples for one in result.operations.values()) > 0
    assert measured or result.plans or case.experiment.name in ("sweep", "plan cliffs")
    assert all(one.failed == 0 for one in result.operations.values())
    assert_kept(result, tmp_path)


@pytest.mark.parametrize("offer", [{"workers": 2}, {"arrivals": None, "users": 4}])
def test_an_interrupted_load_accounts_for_every_operation_that_was_due(
    job: Job, offer: dict[str, object]
) -> None:
    parts: list[LoadOutcome] = []
    with pytest.raises(KeyboardInterrupt):
        run_load(
            job, draw_sample(job), load(**offer), progress=interrupting("generate", 0.5), cut=parts.append
        )
    (part,) = parts
    assert 0.5 <= part.seconds < HOUR_S
    for one in part.operations.values():
        assert one.offered == one.succeeded + one.conflicted + one.failed + one.skipped
        assert one.succeeded > 0 and one.at_s.max() <= part.seconds
