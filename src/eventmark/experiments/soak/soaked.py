"""What a soak came to, and what its run says about memory and latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventmark.experiments.soak.upkeep import Autovacuum, Upkeep
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.results.results import OperationResult, Verdict
from eventmark.server import Relation
from eventmark.stats.ratios import Ratio
from eventmark.stats.trend import Slope, last_to_first_third, trend_of

SETTLED_SHARE = 0.2
"""Of the run is left out of slopes of memory: allocators and caches are filled by then."""

SOAKED_LEAST_S = 300.0
"""A shorter run shows nothing of memory but how it settles: sessions meet one statement after the other."""

CHART_POINTS_MAX = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What a soak came to. ``autovacuum`` is None where it is off for the table of events."""

    outcome: LoadOutcome
    operations: Mapping[str, OperationResult]
    events_per_s: float
    origin: str
    upkeep: Upkeep
    after: Mapping[str, Relation]
    events_table: str
    autovacuum: Autovacuum | None
    counters: Mapping[str, float]
    seconds: float

    @property
    def appended_events(self) -> int:
        """By the server's account, from the first look to the last."""
        return _inserted(self.after.get(self.events_table)) - _inserted(
            self.upkeep.before.get(self.events_table)
        )

    def private_mib(self, side: str) -> list[tuple[float, float]]:
        """When, and how much, while the load lasted: afterwards its workers and their sessions end one by one."""
        points = self.upkeep.points.get(f"{side}_private", [])
        return [(at_s, value) for at_s, value in points if at_s <= self.outcome.seconds]

    def memory(self, side: str, *, since: float = SETTLED_SHARE) -> Slope | None:
        """The slope of private memory from a share of the run on, MiB per second."""
        if self.outcome.seconds < SOAKED_LEAST_S:
            return None
        settled = [point for point in self.private_mib(side) if point[0] >= since * self.outcome.seconds]
        return trend_of([at_s for at_s, _ in settled], [value for _, value in settled])

    def memory_verdict(self, side: str, negligible_per_s: float) -> Verdict:
        """A rise is one only where the second half of the run rises as well: memory that settles does not."""
        whole, late = self.memory(side), self.memory(side, since=0.5)
        if whole is None:
            return Verdict.INCONCLUSIVE
        verdict = whole.judged(negligible_per_s)
        if verdict is Verdict.BROKEN and (
            late is None or late.judged(negligible_per_s) is not Verdict.BROKEN
        ):
            return Verdict.INCONCLUSIVE
        return verdict

    def drift(self, name: str) -> Ratio | None:
        operation = self.outcome.judged[name]
        return last_to_first_third(operation.at_s, operation.latency_ns, self.outcome.seconds, q=0.95)


def _inserted(relation: Relation | None) -> int:
    return (relation.inserted_rows or 0) if relation else 0


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """As many as a chart can show."""
    return points[:: max(1, -(-len(points) // CHART_POINTS_MAX))]
