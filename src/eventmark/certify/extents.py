"""How thoroughly each part can be done: its extents, what each takes, and the experiment that it is.

Times are of two cores, and are estimates: the schedule is made anew before each part, with the time that is left and
what the parts before it took.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eventmark.adviser.advice import Advice
from eventmark.certify.criteria import GROWN_EVENTS, Part
from eventmark.engine.orderings import HORIZON, NAIVE
from eventmark.experiments.cliffs.cliffs import COPIED_EVENTS_MAX, Cliffs
from eventmark.experiments.hunt.verification import Verification
from eventmark.experiments.isolation.aggressors import KINDS
from eventmark.experiments.isolation.isolation import Isolation
from eventmark.experiments.isolation.isolation_report import PAIRS_MIN
from eventmark.experiments.load.capacity import CapacityPlan, CapacitySearch
from eventmark.experiments.load.load import Load
from eventmark.experiments.load.sweep import SERVED, Sweep
from eventmark.experiments.run.main_job import MainJob
from eventmark.experiments.scale.scale import Scale
from eventmark.experiments.scale.volumes import FIRST_MIN, volumes_of
from eventmark.experiments.soak.soak import EVENTS_PER_S, Soak, events_per_operation
from eventmark.experiments.soak.soaked import SOAKED_LEAST_S
from eventmark.experiments.stress.stress import Stress
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.profiles import PROFILES
from eventmark.loadgen.generator import Watcher
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.plan import LoadPlan
from eventmark.workload.arrivals import Arrivals

PREPARE_S = 6.0
"""What every part takes besides its work: the store checked, the corpus as it was, the machine examined."""

LOADED_PER_S = 25_000.0
"""Events loaded per second, as long as nothing was loaded yet."""

SWEPT = ("append_events[1]", "load_aggregate[1000]", "stream_events[1000]")
SWEEP_LEVELS = 7
LEVEL_LEAST_S = 1.0
"""In less, the server's sessions are looked at too seldom to tell what limited them."""

LOADED_LEAST_S = 30.0
"""In less, the rarest operations of the mix have too few samples to be bounded."""

VOLUME_S = {"quick": 12.0, "short": 130.0}
"""What one volume of a growing log takes to measure, by effort."""

GROWTH_FIRST_EVENTS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonGround:
    """What the parts of a certification have in common."""

    job: Job
    out: Path
    workers: int
    pool: int
    watch: Watcher | None = None
    loaded_per_s: float = LOADED_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A part in one extent: the ``seconds`` it takes, the ``profile`` it is done by, and what makes it.

    ``make`` is given the seconds that are left over. ``decides``: it is long enough to decide the part's criterion.
    """

    seconds: float
    profile: str
    make: Callable[[CommonGround, float], Experiment]
    events_max: int | None = None
    decides: bool = True

    def job(self, ground: CommonGround) -> Job:
        corpus = ground.job.corpus
        if self.events_max is not None and corpus.events > self.events_max:
            corpus = replace(corpus, events=self.events_max)
        return replace(ground.job, profile=PROFILES[self.profile], corpus=corpus)


def extents_of(ground: CommonGround) -> dict[Part, Sequence[Extent]]:
    """Of every part, ascending by what they take; none of a part that the profile or the corpus rules out."""
    if ground.job.existing is not None:
        return _in_use(ground)
    extents: Mapping[Part, Sequence[Extent]] = {
        Part.VERIFY: _verify(ground), Part.OPERATIONS: _operations(ground), Part.CLIFFS: _cliffs(ground),
        Part.LOAD: [_load(seconds) for seconds in (10.0, 30.0, 60.0)],
        Part.CAPACITY: [
            _capacity(*effort) for effort in ((0.5, 2.0, 5.0, 8), (2.0, 15.0, 40.0, 12), (5.0, 90.0, 120.0, 16))
        ],
        Part.SWEEP: [
            _sweep(SWEPT, 0.6), _sweep(SWEPT, 1.5), _sweep(SERVED, 1.5), _sweep(SERVED, 3.0),
        ],
        Part.ISOLATION: [_isolation(1.0, 3, "quick"), _isolation(3.0, 6, "quick"), _isolation(5.0, 6, "standard")],
        Part.STRESS: [_plain(30.0, "quick", Stress), _plain(80.0, "standard", Stress)],
        Part.SOAK: [_soak(SOAKED_LEAST_S)],
        Part.GROWTH: _growth(ground),
        Part.ADVICE: [_advice(60.0, "quick"), _advice(260.0, "standard")],
    }  # fmt: skip
    return _of_profile(ground, extents)


def _in_use(ground: CommonGround) -> dict[Part, Sequence[Extent]]:
    """Of data in use: what reads alone, at the pace that is kept there."""
    appends = 3.0 if ground.job.existing is not None and ground.job.existing.appends else 0.0
    extents: dict[Part, Sequence[Extent]] = {part: [] for part in Part}
    extents[Part.OPERATIONS] = [
        _plain(40.0 + 7 * appends, "quick", MainJob), _plain(200.0 + 30 * appends, "standard", MainJob),
    ]  # fmt: skip
    extents[Part.CLIFFS] = [_plain(30.0, "quick", Cliffs)]
    return _of_profile(ground, extents)


def _of_profile(
    ground: CommonGround, by_part: Mapping[Part, Sequence[Extent]]
) -> dict[Part, Sequence[Extent]]:
    quick = ground.job.profile.name == "quick"
    return {
        part: [extent for extent in extents if extent.profile == "quick" or not quick]
        for part, extents in by_part.items()
    }


def _plain(seconds: float, profile: str, make: Callable[[], Experiment]) -> Extent:
    return Extent(seconds=seconds + PREPARE_S, profile=profile, make=lambda ground, rest_s: make())


def _verify(ground: CommonGround) -> Sequence[Extent]:
    orderings = (HORIZON.name, NAIVE.name) if ground.job.definition.engine else ()

    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Verification(orderings=orderings, seconds=60.0, out=ground.out)

    return [
        Extent(seconds=12.0, profile="quick", make=make, events_max=20_000),
        Extent(seconds=125.0, profile="standard", make=make, events_max=200_000),
    ]


def _operations(ground: CommonGround) -> Sequence[Extent]:
    """The first part on the corpus: seeding is its as well."""
    job = ground.job
    seeding_s = job.corpus.events / ground.loaded_per_s
    times = 2.0 if job.with_floors else 1.0
    return [
        _plain(25.0 * times + seeding_s, "quick", MainJob),
        _plain(150.0 * times + seeding_s, "standard", MainJob),
    ]


def _cliffs(ground: CommonGround) -> Sequence[Extent]:
    """A copy of the corpus is filled twice, through its indexes."""
    copied = min(ground.job.corpus.events, COPIED_EVENTS_MAX)
    return [_plain(20.0 + 2 * copied / ground.loaded_per_s, "quick", Cliffs)]


def _load_plan(ground: CommonGround, seconds: float, *, warm_rounds: int = 2) -> LoadPlan:
    """A thousand events a second by the usual mix, which has every operation that asks the server."""
    mix = parse_mix("")
    return LoadPlan(
        mix=mix, seconds=seconds, arrivals=Arrivals("poisson", EVENTS_PER_S / events_per_operation(mix)),
        workers=ground.workers, pool_max=ground.pool, seed=ground.job.corpus.seed, warm_rounds=warm_rounds,
    )  # fmt: skip


def _load(seconds: float) -> Extent:
    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Load(plan=_load_plan(ground, seconds, warm_rounds=6), watch=ground.watch)

    short = seconds < LOADED_LEAST_S
    return Extent(
        seconds=seconds + 5 + PREPARE_S,
        profile="quick" if short else "standard",
        make=make,
        decides=not short,
    )


def _capacity(probe_s: float, confirm_s: float, confirm_max_s: float, probes: int) -> Extent:
    def make(ground: CommonGround, rest_s: float) -> Experiment:
        plan = CapacityPlan(
            load=_load_plan(ground, probe_s), probe_s=probe_s, confirm_s=confirm_s, confirm_max_s=confirm_max_s,
            probes_max=probes,
        )  # fmt: skip
        return CapacitySearch(plan=plan, watch=ground.watch)

    seconds = probes * (probe_s + 1.5) + 2 * (confirm_max_s + 1.5) + PREPARE_S
    return Extent(seconds=seconds, profile="quick" if probe_s < 1 else "standard", make=make)


def _sweep(operations: Sequence[str], level_s: float) -> Extent:
    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Sweep(
            operations=operations, seconds=level_s, workers=ground.workers, seed=ground.job.corpus.seed,
            watch=ground.watch,
        )  # fmt: skip

    seconds = len(operations) * SWEEP_LEVELS * (level_s + 1.0) + PREPARE_S
    short = level_s < LEVEL_LEAST_S
    return Extent(seconds=seconds, profile="quick" if short else "standard", make=make, decides=not short)


def _isolation(leg_s: float, rounds: int, profile: str) -> Extent:
    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Isolation(leg_s=leg_s, rounds=rounds, warm_rounds=2)

    seconds = len(KINDS) * 2 * rounds * (leg_s + 1.5) + 15 + PREPARE_S
    return Extent(seconds=seconds, profile=profile, make=make, decides=rounds > PAIRS_MIN)


def _growth(ground: CommonGround) -> Sequence[Extent]:
    """The small corpus is what a corpus has, a million at most; the largest volume what the time allows, 10 million.

    In less time the log is measured at its largest volume alone; in more on the way there too, which shows the law.
    """
    first = min(ground.job.corpus.events, GROWTH_FIRST_EVENTS)
    if first < FIRST_MIN:
        return []
    extents = [_grown(ground, first, (4 * first,), "quick")]
    if ground.job.profile.name == "quick":
        return extents
    for times in (4, 10, 20, 50, 100, 200):
        if (largest := first * times) > GROWN_EVENTS:
            break
        extents += [
            _grown(ground, first, volumes, "short")
            for volumes in ((largest,), volumes_of(first, str(largest)))
        ]
    decided_s = min((extent.seconds for extent in extents if extent.decides), default=math.inf)
    return sorted(
        (extent for extent in extents if extent.decides or extent.seconds < decided_s),
        key=lambda extent: extent.seconds,
    )


def _grown(ground: CommonGround, first: int, volumes: tuple[int, ...], effort: str) -> Extent:
    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Scale(volumes=volumes, effort=effort, small_events=first)

    seconds = (first + volumes[-1]) / ground.loaded_per_s + VOLUME_S[effort] * len(volumes) + PREPARE_S
    return Extent(seconds=seconds, profile="quick", make=make, decides=volumes[-1] >= GROWN_EVENTS)


def _soak(least_s: float) -> Extent:
    """It has what is left over."""

    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Soak(load=_load_plan(ground, least_s + max(rest_s, 0.0)), watch=ground.watch)

    return Extent(seconds=least_s + 10 + PREPARE_S, profile="quick", make=make)


def _advice(seconds: float, profile: str) -> Extent:
    def make(ground: CommonGround, rest_s: float) -> Experiment:
        return Advice(out=ground.out)

    return Extent(seconds=seconds + PREPARE_S, profile=profile, make=make)
