"""What holds for every experiment: the rules of the kernel, asked of each experiment there is."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import msgspec
import numpy as np
import pytest

import eventmark.adviser
import eventmark.experiments
from eventmark.errors import CannotRunError
from eventmark.jobs import kernel
from eventmark.jobs.bottleneck import SECTION_NAME
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment, Interrupted, concluded
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import Evidence
from eventmark.judgement.machine import BUSY_SHARE
from eventmark.judgement.operation import client_of, judged_operation
from eventmark.results.results import (
    ClientHealth,
    Finding,
    OperationResult,
    RunResult,
    Section,
    Verdict,
)
from eventmark.results.targets import Target
from tests.experiments.results import environment

MET, BROKEN, INCONCLUSIVE = Verdict.MET, Verdict.BROKEN, Verdict.INCONCLUSIVE
FIT_CLIENT = client_of(0.1, loop_lag_ms_p99=0.1)
SLOW_FLUSH = Finding(name="commit", verdict=BROKEN, observed="9 ms", expected="at most 2 ms")
NOT_DURABLE = Finding(name="durability", verdict=BROKEN, observed="fsync off", expected="fsync on")
EVIDENCE = Evidence(seconds=1.0, cores=2, looks=40, waits={})


def all_experiments() -> list[type[Experiment]]:
    for package in (eventmark.experiments, eventmark.adviser):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    made = [one for one in Experiment.__subclasses__() if one.__module__.startswith("eventmark.")]
    # A dataclass with slots is made twice; the module has the second.
    found = [one for one in made if vars(import_module(one.__module__))[one.__name__] is one]
    return sorted(found, key=lambda one: one.name)


EXPERIMENTS = all_experiments()
every = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)


def operation(latency_ms: float, client: ClientHealth = FIT_CLIENT, **more: Any) -> OperationResult:
    """Measured against a target of 10 ms."""
    samples = np.full(1000, int(latency_ms * 1e6), np.int64)
    return judged_operation(
        [samples], Target("p95", 10.0), np.random.default_rng(1), mode="sample", throughput_per_s=1.0, client=client,
        **more,
    )  # fmt: skip


SLOW, QUICK = operation(50.0), operation(1.0)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "environment_of", lambda job, fitness, machines: environment(fitness))


def job() -> Any:
    return SimpleNamespace(
        command="eventmark", profile=SimpleNamespace(name="quick"), corpus=SimpleNamespace(seed=1, events=1000),
        aged=False, existing=None, server=SimpleNamespace(directory=None),
    )  # fmt: skip


def run_for(job: Any, *, fitness: Sequence[Finding] = (), others_share: Any = lambda stretches: 0.0) -> Any:
    return SimpleNamespace(
        job=job, fitness=list(fitness), phases=[], skipped={}, unseen={}, now_s=1.0, at_s=lambda at_s: at_s,
        sampled=list, began_at=SimpleNamespace(isoformat=lambda timespec: "2026-01-01T00:00:00+00:00"),
        others_share=others_share, so_far=None, machines={},
    )  # fmt: skip


def result_of(
    experiment: type[Experiment],
    found: Findings,
    *,
    fitness: tuple[Finding, ...] = (),
    busy: float | None = 0.0,
    busy_in: dict[tuple[float, float], float] | None = None,
    evidence: Evidence | None = EVIDENCE,
) -> RunResult:
    run = run_for(
        job(), fitness=fitness, others_share=lambda stretches: (busy_in or {}).get(stretches[0], busy)
    )
    return concluded(object.__new__(experiment), run, found, evidence, (0.0, 1.0))


@every
def test_a_result_states_which_experiment_made_it(experiment: type[Experiment]) -> None:
    assert result_of(experiment, Findings(operations={"a": QUICK})).scenario == experiment.name


def test_names_of_experiments_are_different() -> None:
    assert len({one.name for one in EXPERIMENTS}) == len(EXPERIMENTS) >= 20


@every
def test_a_slow_operation_is_broken_on_a_fit_machine(experiment: type[Experiment]) -> None:
    result = result_of(experiment, Findings(operations={"a": SLOW}))
    assert (result.verdict, result.operations["a"].verdict) == (BROKEN, BROKEN)


@every
def test_times_on_an_unfit_machine_are_never_broken(experiment: type[Experiment]) -> None:
    timed = Finding(name="drift", verdict=BROKEN, observed="2 times", expected="1.25 times", timed=True)
    section = Section(name="a", title="A", verdict=BROKEN, findings=[timed])
    found = Findings(operations={"a": SLOW}, sections=[section])
    result = result_of(experiment, found, fitness=(SLOW_FLUSH,))
    assert result.verdict is INCONCLUSIVE
    assert result.operations["a"].verdict is INCONCLUSIVE
    assert "commit" in result.operations["a"].reason
    assert (result.sections[0].verdict, result.sections[0].findings[0].verdict) == (
        INCONCLUSIVE,
        INCONCLUSIVE,
    )


@every
def test_what_failed_or_was_counted_is_broken_on_an_unfit_machine_too(experiment: type[Experiment]) -> None:
    failed = operation(50.0, failed=3)
    assert result_of(experiment, Findings(operations={"a": failed}), fitness=(SLOW_FLUSH,)).verdict is BROKEN
    counted = Finding(name="pages", verdict=BROKEN, observed="9", expected="1")
    section = Section(name="a", title="A", verdict=BROKEN, findings=[counted])
    assert result_of(experiment, Findings(sections=[section]), fitness=(SLOW_FLUSH,)).verdict is BROKEN


@every
def test_what_is_met_on_a_slow_machine_is_met(experiment: type[Experiment]) -> None:
    result = result_of(experiment, Findings(operations={"a": QUICK}), fitness=(SLOW_FLUSH,), busy=0.87)
    assert (result.verdict, result.reasons) == (MET, [])


@every
def test_a_server_that_is_not_durable_takes_the_certainty_out_of_what_is_met(
    experiment: type[Experiment],
) -> None:
    result = result_of(experiment, Findings(operations={"a": QUICK}), fitness=(NOT_DURABLE,))
    assert result.verdict is INCONCLUSIVE
    assert "fsync off" in result.reasons[0]


@every
def test_a_busy_machine_is_named_first_and_breaks_nothing_by_time(experiment: type[Experiment]) -> None:
    result = result_of(experiment, Findings(operations={"a": SLOW}), busy=0.87)
    assert result.verdict is INCONCLUSIVE
    assert result.reasons[0] == "other processes used 87% of the cores: run it on a quiet machine"


@every
def test_a_moment_of_other_work_before_the_run_counts_only_where_the_run_was_not_seen(
    experiment: type[Experiment],
) -> None:
    before = (Finding(name="other work", verdict=BROKEN, observed="60% busy", expected="10%"),)
    assert (
        result_of(experiment, Findings(operations={"a": SLOW}), fitness=before, busy=0.01).verdict is BROKEN
    )
    unseen = result_of(experiment, Findings(operations={"a": SLOW}), fitness=before, busy=None)
    assert unseen.verdict is INCONCLUSIVE


@every
def test_ten_disturbed_seconds_condemn_what_was_measured_in_them_alone(experiment: type[Experiment]) -> None:
    disturbed, quiet = operation(50.0, stretches=[(0.0, 10.0)]), operation(50.0, stretches=[(10.0, 3600.0)])
    result = result_of(
        experiment, Findings(operations={"disturbed": disturbed, "quiet": quiet}), busy=0.01,
        busy_in={(0.0, 10.0): BUSY_SHARE, (10.0, 3600.0): 0.0},
    )  # fmt: skip
    assert result.operations["disturbed"].verdict is INCONCLUSIVE
    assert result.operations["quiet"].verdict is BROKEN


@every
def test_a_client_that_was_the_bottleneck_breaks_nothing(experiment: type[Experiment]) -> None:
    full = client_of(0.97, loop_lag_ms_p99=1.0)
    assert full.bottleneck
    decided = operation(50.0, full, verdict=(BROKEN, "2 × pgbench's rate"))
    result = result_of(experiment, Findings(operations={"a": operation(50.0, full), "b": decided}))
    assert result.verdict is INCONCLUSIVE
    assert {one.verdict for one in result.operations.values()} == {INCONCLUSIVE}


@every
def test_every_report_ends_with_its_bottleneck(experiment: type[Experiment]) -> None:
    result = result_of(experiment, Findings(operations={"a": QUICK}))
    assert result.sections[-1].name == SECTION_NAME


@every
def test_the_size_of_the_corpus_is_among_the_figures(experiment: type[Experiment]) -> None:
    result = result_of(experiment, Findings(operations={"a": QUICK}))
    assert ("corpus_events" in result.figures) is experiment.seeds


@every
def test_nothing_measured_is_inconclusive(experiment: type[Experiment]) -> None:
    assert result_of(experiment, Findings()).verdict is INCONCLUSIVE


@every
def test_an_experiment_makes_neither_verdicts_nor_results_of_its_own(experiment: type[Experiment]) -> None:
    """What the kernel does once cannot drift apart in copies: no experiment has the means to do it."""
    assert "run" not in vars(experiment)
    for path in Path(inspect.getfile(experiment)).parent.glob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not names & {"RunResult", "OperationResult"} & called(path), path
        assert not names & {"doubted", "doubted_finding", "judge_latency", "run_experiment", "concluded"}, (
            path
        )


def called(path: Path) -> set[str]:
    """Names that a module calls."""
    return {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_findings_that_are_not_timed_are_left_as_they_are() -> None:
    counted = Finding(name="pages", verdict=BROKEN, observed="9", expected="1")
    section = Section(name="a", title="A", verdict=BROKEN, findings=[counted])
    result = result_of(EXPERIMENTS[0], Findings(sections=[section]), busy=0.9)
    assert result.sections[0] == section
    assert msgspec.structs.replace(counted, timed=True).timed


@every
@pytest.mark.parametrize("part", [QUICK, SLOW], ids=["quick", "slow"])
def test_an_interrupted_run_keeps_what_was_measured_and_is_never_met(
    experiment: type[Experiment], part: OperationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(self: Experiment, run: Run) -> Findings:
        run.so_far = lambda: Findings(operations={"first": part}, evidence=EVIDENCE)
        raise KeyboardInterrupt

    ended = interrupted(experiment, measure, monkeypatch)
    assert isinstance(ended, Interrupted)
    assert list(ended.result.operations) == ["first"]
    assert ended.result.verdict is (INCONCLUSIVE if part is QUICK else BROKEN)
    assert "interrupted after" in ended.result.reasons[0]
    assert ended.result.sections[-1].name == SECTION_NAME


@every
def test_a_run_interrupted_before_anything_was_measured_has_no_result(
    experiment: type[Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing() -> Findings:
        raise CannotRunError("nothing was measured to its end")

    def measure(self: Experiment, run: Run) -> Findings:
        run.so_far = nothing
        raise KeyboardInterrupt

    assert type(interrupted(experiment, measure, monkeypatch)) is KeyboardInterrupt


def interrupted(
    experiment: type[Experiment],
    measure: Callable[[Experiment, Run], Findings],
    monkeypatch: pytest.MonkeyPatch,
) -> BaseException:
    """How a run of the experiment ends, whose measuring is replaced."""

    @contextmanager
    def entered(job: Any, progress: Any, *, events_to_come: int) -> Iterator[Any]:
        run = run_for(job)
        run.phase = lambda name: nullcontext()
        run.watch = lambda: watch
        yield run

    watch: Any = MagicMock()
    watch.evidence.return_value = EVIDENCE
    watch.__exit__.return_value = None
    for name in ("prepare_store", "check_room", "fill"):
        monkeypatch.setattr(kernel, name, lambda *_: 0)
    monkeypatch.setattr(kernel, "Run", entered)
    monkeypatch.setattr(experiment, "measure", measure)
    monkeypatch.setattr(experiment, "job_for", lambda self, job: job)
    monkeypatch.setattr(experiment, "scratch_events", lambda self, job: 0)
    monkeypatch.setattr(experiment, "connections", 0)
    monkeypatch.setattr(experiment, "own_statements", {})
    with pytest.raises(KeyboardInterrupt) as ended:
        object.__new__(experiment).run(job())
    return ended.value
