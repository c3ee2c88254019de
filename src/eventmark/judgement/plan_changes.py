"""One statement's plan on two sides: is it worse than it was? By its work, and by what the judge found."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.judgement.counters import PLAN_TOLERANCES, Change, CounterChange, compare_counters
from eventmark.results.results import Document, PlanResult, Verdict


class PlanChange(Document, frozen=True, kw_only=True):
    """One statement's plan under one condition that both sides have."""

    statement: str
    condition: str
    base: Verdict
    candidate: Verdict
    broken_by: list[str]  # what was found in the candidate's plan and not in the base's
    counters: list[CounterChange]

    @property
    def name(self) -> str:
        return f"plan of {self.statement}, {self.condition}"

    @property
    def worse(self) -> bool:
        return bool(self.described)

    @property
    def described(self) -> str:
        """What is worse; empty where nothing is."""
        more = [counter.described for counter in self.counters if counter.change is Change.MORE]
        return "; ".join([*self.broken_by, *more])


def worse_by_statement(changes: Sequence[PlanChange]) -> dict[str, str]:
    """Of each statement with plans that are worse, how many, and what became of the first."""
    texts: dict[str, str] = {}
    for name in dict.fromkeys(change.statement for change in changes if change.worse):
        worse = [change for change in changes if change.worse and change.statement == name]
        of = sum(change.statement == name for change in changes)
        texts[name] = (
            f"worse under {len(worse)} of {of} conditions, for example {worse[0].condition}: {worse[0].described}"
        )
    return texts


def compare_plans(base: Sequence[PlanResult], candidate: Sequence[PlanResult]) -> list[PlanChange]:
    """Those that both sides have, in the candidate's order."""
    before = {(plan.statement, plan.condition): plan for plan in base}
    return [
        _plan_change(before[key], plan)
        for plan in candidate
        if (key := (plan.statement, plan.condition)) in before
    ]


def _plan_change(base: PlanResult, candidate: PlanResult) -> PlanChange:
    known = {finding.name for finding in base.findings if finding.verdict is Verdict.BROKEN}
    return PlanChange(
        statement=candidate.statement,
        condition=candidate.condition,
        base=base.verdict,
        candidate=candidate.verdict,
        broken_by=[
            f"{finding.name}: {finding.observed}"
            for finding in candidate.findings
            if finding.verdict is Verdict.BROKEN and finding.name not in known
        ],
        counters=compare_counters(base.work, candidate.work, PLAN_TOLERANCES),
    )
