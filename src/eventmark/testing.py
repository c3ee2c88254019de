"""Types of the fixtures that ``eventmark.pytest_plugin`` gives to the tests of a team's own store."""

from __future__ import annotations

from typing import Protocol

from eventmark.domain import EventStore
from eventmark.experiments.run.seeded_store import SeededStore
from eventmark.results.results import OperationResult, PlanResult

__all__ = ["AssertPlansMet", "AssertWithinTargets", "EventStore", "SeededStore"]


class AssertWithinTargets(Protocol):
    """Measures operations, and fails the test where one breaks its target."""

    def __call__(self, *operations: str) -> dict[str, OperationResult]: ...


class AssertPlansMet(Protocol):
    """Examines the plan of every statement, and fails the test where one is broken."""

    def __call__(self) -> list[PlanResult]: ...
