"""Where a course changed: steps from one run to the next, and slow drift.

Steps are proposed by PELT (Killick, Fearnhead and Eckley 2012, as ``ruptures`` keeps it) and confirmed one by
one by a permutation test, as e-divisive does (Matteson and James 2014). A drift is a line that explains the
course better than any steps do: its slope is Theil and Sen's, that it rises or falls at all is Mann and
Kendall's test. Everything on logarithms, so that 10% is 10% wherever a course lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eventmark.errors import CannotRunError
from eventmark.results.results import Document
from eventmark.stats.ranks import CONFIDENCE

RUNS_MIN = 8  # fewer runs show neither
SEGMENT_MIN = 3
"""Runs that a level lasts at least: one or two may be the machine's bad day."""

RISK = 0.01  # of one step or drift that is none
PERMUTATIONS = 999
SHIFT_MIN = 0.01  # 1%: smaller steps are found and not told
DRIFT_MIN = 0.02
NOISE_MIN = 0.002

PENALTY = 3.0
"""Times ln n, in units of the noise's variance, for each step: the information criterion's price of a level and
its place (2 ln n), and half as much again because the noise has to be estimated from few runs."""

LOSS_SCALE = 2.0
"""Of an absolute distance in units of the noise: with it, noise alone has a step as rarely as with squares. Absolute
distances, from the level's median, because squares take a single bad run for a level of its own."""

Values = NDArray[np.float64]


class LevelStep(Document, frozen=True, kw_only=True):
    """From the run numbered ``at`` on, the level is another. ``confidence`` that it is no accident."""

    at: int
    before: float
    after: float
    confidence: float

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else math.inf


class Drift(Document, frozen=True, kw_only=True):
    """From the run numbered ``since`` on, a steady rise or fall: ``ratio`` from there to the last run."""

    since: int
    runs: int
    ratio: float
    low: float
    high: float
    confidence: float


class CourseChanges(Document, frozen=True, kw_only=True):
    """What became of a course. ``told`` False: too few runs to say."""

    told: bool
    steps: list[LevelStep]
    drift: Drift | None
    levels: list[float]  # the level at each run


def find_changes(values: Sequence[float]) -> CourseChanges:
    """Steps and drift of a course in the order of its runs."""
    course = np.asarray(values, float)
    if len(course) < RUNS_MIN or not np.all(np.isfinite(course)):
        return CourseChanges(told=False, steps=[], drift=None, levels=[])
    logged = _logged(course)
    if np.ptp(logged) == 0:
        return CourseChanges(told=True, steps=[], drift=None, levels=course.tolist())
    noise = _noise(logged)
    ends = _steps(logged / noise)
    starts = _confirmed(logged, ends)
    line = _drift(logged, 0)
    if line is not None and _explained_by_line(logged, noise, line, starts):
        return CourseChanges(told=True, steps=[], drift=line, levels=_line_levels(course, line))
    steps = _told_steps(course, starts)
    since = starts[-1] if starts else 0
    return CourseChanges(
        told=True,
        steps=steps,
        drift=_drift(logged, since) if steps and since else line,
        levels=_levels(course, starts),
    )


def _logged(course: Values) -> Values:
    """Logarithms; of a course that touches nought, the values over their middle."""
    if np.all(course > 0):
        return np.log(course)
    return course / max(float(np.median(np.abs(course))), 1.0)


def _noise(logged: Values) -> float:
    """The spread from run to run, from the differences of neighbours: steps and drift leave it alone."""
    differences = np.abs(np.diff(logged))
    return max(1.4826 * float(np.median(differences)) / math.sqrt(2), NOISE_MIN)


def _steps(scaled: Values) -> list[int]:
    """The first run of each new level, proposed by PELT."""
    try:
        import ruptures
    except ImportError:  # no release of it for this Python
        raise CannotRunError(
            "ruptures is not installed, which finds change points", remedy="pip install ruptures"
        ) from None

    class Distances(ruptures.base.BaseCost):
        """Absolute distances from the median, as the library's own ``l1``: of a few runs in a fraction of its time."""

        model, min_size = "l1", SEGMENT_MIN

        def fit(self, signal: Values) -> Distances:
            self.signal, self.values = signal, signal.ravel().tolist()
            return self

        def error(self, start: int, end: int) -> float:
            ordered = sorted(self.values[start:end])
            half = len(ordered) // 2
            return float(sum(ordered[-half:]) - sum(ordered[:half]))

    search = ruptures.Pelt(custom_cost=Distances(), min_size=SEGMENT_MIN, jump=1).fit(LOSS_SCALE * scaled)
    numbers: list[int] = search.predict(pen=PENALTY * math.log(len(scaled)))
    return numbers[:-1]


def _confirmed(logged: Values, proposed: Sequence[int]) -> list[int]:
    """Those steps between whose two neighbouring levels a permutation test tells a difference.

    The weakest is dropped first, and its neighbours are asked again, with all the runs they then have.
    """
    kept = list(proposed)
    while kept:
        bounds = [0, *kept, len(logged)]
        chances = [_chance(logged[bounds[index] : bounds[index + 2]]) for index in range(len(kept))]
        weakest = int(np.argmax(chances))
        if chances[weakest] <= RISK:
            break
        del kept[weakest]
    return kept


def _chance(window: Values) -> float:
    """How often runs in random order have somewhere a step as clear as the window's clearest, by ranks."""
    # Here and below: it takes half a second to import, and most commands have no history
    from scipy.stats import rankdata

    ranks = rankdata(window)
    ranks = ranks - ranks.mean()
    shuffled = np.random.default_rng(len(window)).permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)
    return float((1 + np.sum(_clearest(shuffled) >= _clearest(ranks[None, :])[0])) / (1 + PERMUTATIONS))


def _clearest(rows: Values) -> Values:
    """Of each row, the largest difference of means over the places where it can be cut, in its own error."""
    count = rows.shape[1]
    before = np.arange(SEGMENT_MIN, count - SEGMENT_MIN + 1)
    sums = np.cumsum(rows, axis=1)[:, before - 1]
    values: Values = np.max(np.abs(sums) / np.sqrt(before * (count - before) / count), axis=1)
    return values


def _told_steps(course: Values, starts: Sequence[int]) -> list[LevelStep]:
    bounds = [0, *starts, len(course)]
    steps = []
    for index, at in enumerate(starts):
        window = course[bounds[index] : bounds[index + 2]]
        before, after = (
            float(np.median(course[bounds[index + part] : bounds[index + part + 1]])) for part in (0, 1)
        )
        if abs(after - before) > SHIFT_MIN * abs(before):
            chance = _chance(_logged(window))
            steps.append(LevelStep(at=at, before=before, after=after, confidence=1 - chance))
    return steps


def _drift(logged: Values, since: int) -> Drift | None:
    part = logged[since:]
    if len(part) < RUNS_MIN:
        return None
    from scipy.stats import kendalltau, theilslopes

    chance = float(kendalltau(np.arange(len(part)), part).pvalue)
    slope, _, low, high = theilslopes(part, alpha=CONFIDENCE)
    steps = len(part) - 1
    if not chance <= RISK or abs(math.expm1(slope * steps)) < DRIFT_MIN:  # false for what is no number
        return None
    return Drift(
        since=since, runs=len(part), ratio=math.exp(slope * steps), low=math.exp(low * steps),
        high=math.exp(high * steps), confidence=1 - chance,
    )  # fmt: skip


def _explained_by_line(logged: Values, noise: float, line: Drift, starts: Sequence[int]) -> bool:
    """Whether one slope leaves less, at the price of one step, than the steps do at theirs."""
    price = PENALTY * math.log(len(logged))
    bounds = [0, *starts, len(logged)]
    parts = [logged[begin:end] for begin, end in pairwise(bounds)]
    by_steps = sum(float(((part - part.mean()) ** 2).sum()) for part in parts) / noise**2
    rest = logged - math.log(line.ratio) / (len(logged) - 1) * np.arange(len(logged))
    by_line = float(((rest - rest.mean()) ** 2).sum()) / noise**2
    return by_line + price < by_steps + price * len(starts)


def _levels(course: Values, starts: Sequence[int]) -> list[float]:
    bounds = [0, *starts, len(course)]
    return [
        float(np.median(course[begin:end])) for begin, end in pairwise(bounds) for _ in range(end - begin)
    ]


def _line_levels(course: Values, line: Drift) -> list[float]:
    middle = float(np.median(course))
    places = np.linspace(-0.5, 0.5, len(course))
    return [float(middle * line.ratio**index) for index in places]
