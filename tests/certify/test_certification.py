"""A certification in the time it has, with parts that are recorded: schedule, interruption, resumption, what cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from eventmark.certify import certification
from eventmark.certify.certification import Certification, Stopped
from eventmark.certify.criteria import Part
from eventmark.certify.extents import CommonGround, Extent, extents_of
from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.job import Existing, Job
from eventmark.jobs.kernel import Interrupted
from eventmark.jobs.profiles import find_profile
from eventmark.results.results import RunResult, Verdict
from eventmark.results.targets import DEFAULT_TARGETS, Target
from eventmark.seeding import Progress, no_progress
from eventmark.server import Server
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan
from tests.certify.conftest import all_met, part_result

SERVER = Server(
    kind="embedded", dsn="postgresql://u@127.0.0.1/x", version="18", version_num=180000, tuning=(), bin_directory=None
)  # fmt: skip


@dataclass
class Recorded:
    """Parts that end at once with what is recorded of them; what is done is written down."""

    results: Mapping[Part, RunResult | BaseException]
    seconds: Mapping[Part, float] = field(default_factory=dict)
    done: list[Part] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def extents(self, ground: CommonGround) -> dict[Part, list[Extent]]:
        return {
            part: [Extent(seconds=self.seconds.get(part, 5.0), profile="quick", make=self._maker(part))]
            for part in Part
        }

    def _maker(self, part: Part) -> Callable[[CommonGround, float], Any]:
        recorded = self

        class Experiment:
            def run(self, job: Job, progress: Progress) -> RunResult:
                recorded.done.append(part)
                found = recorded.results.get(part, part_result("advise"))
                if isinstance(found, BaseException):
                    raise found
                return found

        return lambda ground, rest_s: Experiment()


@pytest.fixture
def certify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RunResult]]:
    """``certify(recorded, minutes=2, resume=False)``; the store is checked by nobody."""
    monkeypatch.setattr(certification, "prepare_store", lambda job: 0)

    def run(
        recorded: Recorded,
        *,
        minutes: int = 2,
        resume: bool = False,
        job: Job | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> RunResult:
        monkeypatch.setattr(certification, "extents_of", recorded.extents)
        return Certification(
            ground=CommonGround(job=job or a_job(), out=tmp_path, workers=1, pool=4), minutes=minutes, resume=resume,
            view=lambda: nullcontext((no_progress, lambda pulse, waits: None)), say=recorded.said.append, clock=clock,
        ).run()  # fmt: skip

    yield run


def a_job(events: int = 50_000, store: str = "eaf") -> Job:
    return Job(
        server=SERVER, store=store, definition=find_store(store), schema="corpus", corpus=CorpusPlan(events),
        profile=find_profile("standard"), targets=DEFAULT_TARGETS, command="eventmark certify", place=Path(gettempdir()),
        with_floors=False,
    )  # fmt: skip


def verdicts(result: RunResult) -> dict[str, Verdict | None]:
    return {one.name: one.verdict for one in result.criteria}


def test_parts_are_done_in_their_order_and_all_of_it_is_one_result(certify: Callable[..., RunResult]) -> None:
    recorded = Recorded(all_met())
    result = certify(recorded)
    assert recorded.done == list(Part)
    assert result.verdict is Verdict.MET
    assert set(verdicts(result).values()) == {Verdict.MET}
    names = [section.name for section in result.sections]
    assert len(set(names)) == len(names)
    assert {one.evidence for one in result.criteria} <= {*names, "orderings", "operations", "plans"}
    assert "append_events[1], under load" in result.operations
    assert not any(section.closing for section in result.sections)


def test_what_does_not_fit_is_said_beforehand_and_leaves_its_criterion_undecided(
    certify: Callable[..., RunResult],
) -> None:
    recorded = Recorded(all_met(), seconds={Part.SOAK: 300.0})
    result = certify(recorded)
    assert Part.SOAK not in recorded.done
    assert "  not done  soak: it takes 5 min, more than the minutes leave" in recorded.said
    assert recorded.said.index("  not done  soak: it takes 5 min, more than the minutes leave") < 12
    memory = next(one for one in result.criteria if one.name == "memory")
    assert (memory.verdict, memory.reason) == (Verdict.INCONCLUSIVE, "soak: not done in 2 minutes")
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_part_that_was_passed_over_is_done_when_what_had_its_time_no_longer_fits(
    certify: Callable[..., RunResult],
) -> None:
    """The soak has the time that sweep would need; then isolation takes much longer than was thought."""
    now_s = 0.0
    seconds = dict.fromkeys(Part, 1.0) | {Part.SOAK: 95.0, Part.SWEEP: 30.0}
    recorded = Recorded(all_met(), seconds=seconds)
    passed = all_met()[Part.ISOLATION]

    class Slow(dict[Part, RunResult]):
        def get(self, part: Part, default: object = None) -> RunResult:  # type: ignore[override]
            nonlocal now_s
            now_s += 60.0 if part is Part.ISOLATION else 1.0
            return super().get(part, passed)

    recorded.results = Slow(all_met())
    certify(recorded, clock=lambda: now_s)
    assert Part.SOAK not in recorded.done
    assert recorded.done.index(Part.SWEEP) > recorded.done.index(Part.ISOLATION)


@pytest.mark.parametrize(("each_s", "advised"), [(5.0, True), (7.0, False)])
def test_how_long_parts_took_decides_what_there_is_time_for(
    certify: Callable[..., RunResult], each_s: float, advised: bool
) -> None:
    """Eleven parts of 5 s fit into a minute; where each takes 7 s, the last has no time, which is seen beforehand."""
    now_s = 0.0

    class Timed(dict[Part, RunResult]):
        def get(self, part: Part, default: object = None) -> RunResult:  # type: ignore[override]
            nonlocal now_s
            now_s += each_s
            return super().get(part, all_met()[Part.GROWTH])

    recorded = Recorded(Timed(all_met()), seconds={Part.SOAK: each_s})
    certify(recorded, minutes=1, clock=lambda: now_s)
    assert (Part.ADVICE in recorded.done) is advised
    assert now_s <= 60.0


def test_too_few_minutes_for_anything_are_refused_at_once(certify: Callable[..., RunResult]) -> None:
    recorded = Recorded(all_met(), seconds={Part.OPERATIONS: 200.0})
    with pytest.raises(UsageError, match="1 minutes are too few") as refused:
        certify(recorded, minutes=1)
    assert "--minutes 4 or more" in refused.value.remedy
    assert recorded.done == []


def test_interrupted_it_holds_what_there_is_and_goes_on_with_the_next_part(
    certify: Callable[..., RunResult],
) -> None:
    first = Recorded({**all_met(), Part.LOAD: KeyboardInterrupt()})
    with pytest.raises(Interrupted) as interrupted:
        certify(first)
    found = verdicts(interrupted.value.result)
    assert (found["no-event-lost"], found["indexes"]) == (Verdict.MET, Verdict.MET)
    assert found["targets-under-load"] is Verdict.INCONCLUSIVE
    assert "--resume" in interrupted.value.result.criteria[1].remedy
    second = Recorded(all_met())
    result = certify(second, resume=True)
    assert second.done == [part for part in Part if part not in (Part.VERIFY, Part.OPERATIONS, Part.CLIFFS)]
    assert result.verdict is Verdict.MET


def test_without_resume_nothing_of_before_counts(certify: Callable[..., RunResult]) -> None:
    certify(Recorded(all_met()))
    again = Recorded(all_met())
    certify(again)
    assert again.done == list(Part)


@pytest.mark.parametrize(
    ("job", "what"),
    [
        (a_job(events=60_000), "events"),
        (a_job(store="eaf-v3"), "store"),
        (replace(a_job(), aged=True), "corpus"),
        (replace(a_job(), targets={**DEFAULT_TARGETS, "read_snapshot": Target("p95", 1.0)}), "targets"),
    ],
)
def test_parts_of_something_else_are_not_gone_on_with(
    certify: Callable[..., RunResult], job: Job, what: str
) -> None:
    certify(Recorded(all_met()))
    with pytest.raises(UsageError, match=f"was made with another .*{what}"):
        certify(Recorded(all_met()), resume=True, job=job)


def test_there_has_to_be_something_to_go_on_with(certify: Callable[..., RunResult]) -> None:
    with pytest.raises(UsageError, match="holds no certification"):
        certify(Recorded(all_met()), resume=True)


def test_a_part_that_cannot_be_done_is_said_and_the_others_are(certify: Callable[..., RunResult]) -> None:
    recorded = Recorded({**all_met(), Part.GROWTH: CannotRunError("the disk of / has 1 GiB free")})
    result = certify(recorded)
    assert recorded.done == list(Part)
    growth = next(one for one in result.criteria if one.name == "growth")
    assert growth.verdict is Verdict.INCONCLUSIVE
    assert "the disk of / has 1 GiB free" in growth.reason


def test_what_nobody_answers_for_ends_it_with_what_there_is(certify: Callable[..., RunResult]) -> None:
    recorded = Recorded({**all_met(), Part.CLIFFS: ConnectionResetError("gone")})
    with pytest.raises(Stopped) as stopped:
        certify(recorded)
    assert isinstance(stopped.value.error, ConnectionResetError)
    assert verdicts(stopped.value.result)["no-event-lost"] is Verdict.MET
    assert recorded.done[-1] is Part.CLIFFS


@pytest.mark.parametrize("events", [1_000, 50_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_extents_ascend_and_a_corpus_that_is_too_small_has_none_of_growth(events: int, profile: str) -> None:
    job = replace(a_job(events), profile=find_profile(profile))
    found = extents_of(CommonGround(job=job, out=Path(), workers=1, pool=4))
    assert list(found) == list(Part)
    for part, extents in found.items():
        seconds = [one.seconds for one in extents]
        assert seconds == sorted(seconds)
        assert bool(extents) is (part is not Part.GROWTH or events >= 20_000)


def test_of_data_in_use_the_parts_that_write_or_burden_it_are_left_out_and_said_beforehand(
    certify: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Job] = []
    monkeypatch.setattr(certification, "prepare_existing", checked.append)
    monkeypatch.setattr(certification, "prepare_store", lambda job: pytest.fail("it would make a schema"))
    job = replace(a_job(), existing=Existing())
    extents = extents_of(CommonGround(job=job, out=Path(), workers=1, pool=4))
    assert {part for part, found in extents.items() if found} == {Part.OPERATIONS, Part.CLIFFS}
    recorded = Recorded(all_met())
    recorded.extents = lambda ground: {  # type: ignore[method-assign]
        part: found if extents[part] else [] for part, found in Recorded.extents(recorded, ground).items()
    }
    result = certify(recorded, job=job)
    assert (recorded.done, checked) == ([Part.OPERATIONS, Part.CLIFFS], [job])
    assert any(
        line.startswith("  not done  lost events: nothing is written with --existing")
        for line in recorded.said
    )
    assert result.verdict is Verdict.MET
    assert verdicts(result)["no-event-lost"] is None
    assert (
        result.skipped["soak"]
        == "soak: nothing is written with --existing; it takes a corpus: eventmark soak"
    )
    with pytest.raises(UsageError, match="was made with another corpus"):
        certify(recorded, resume=True)
