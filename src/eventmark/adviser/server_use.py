"""What a server's time goes to, by the statements that it has seen, and how much of it a change would save. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from eventmark.adviser.ablate import CaseKey, CaseWork
from eventmark.adviser.candidate import APPENDS
from eventmark.adviser.reads import READS
from eventmark.operations.catalogue import OPERATIONS
from eventmark.plans.observed import OBSERVED
from eventmark.plans.work import Node, nodes
from eventmark.results.results import RunResult
from eventmark.stats.ratios import Ratio

_WRITES = "ModifyTable"
_TENANTS_BATCH = "stream_tenant_events"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUse:
    """``shares`` of the time of the statements that a server has seen: of appends, and of each operation that reads.

    What is left of 1 went to statements that are none of the store's operations.
    """

    shares: Mapping[str, float]

    def saved(self, gains: Mapping[str, Ratio]) -> float | None:
        """The share of the time that a change saves, below 0 where it costs some; None where nothing was timed.

        ``gains``: how many times as quick each operation is with it. What could as well be no gain saves nothing.
        """
        if not gains:
            return None
        return sum(
            share * (1 - 1 / gains[name].value)
            for name, share in self.shares.items()
            if name in gains and (gains[name].is_above(1.0) or gains[name].is_below(1.0))
        )

    def __str__(self) -> str:
        parts = [f"{name} {share:.0%}" for name, share in self.shares.items()]
        return ", ".join([*parts, f"others {max(1 - sum(self.shares.values()), 0.0):.0%}"])


def searched_indexes(work: Mapping[CaseKey, CaseWork]) -> dict[str, frozenset[str]]:
    """The indexes that each operation which reads searches, by any of its statement's plans."""
    of_statement = {OPERATIONS[name].statement: name for name in READS}
    of_statement[_TENANTS_BATCH] = of_statement["stream_events"]
    used: dict[str, set[str]] = {}
    for (statement, _), case in work.items():
        if statement in of_statement and case.plan:
            used.setdefault(of_statement[statement], set()).update(_indexes(case.plan))
    return {name: frozenset(indexes) for name, indexes in used.items()}


def server_use(result: RunResult, events_table: str, searched: Mapping[str, Collection[str]]) -> ServerUse:
    """Of a result of ``explain --observed``: whose statement each is, by its plan.

    What writes into the table of events is an append; what searches indexes that one operation searches, and no other,
    is that operation. Of several the one that searches the fewest.
    """
    shares: dict[str, float] = {}
    told = _shares(result)
    for plan in result.plans:
        if plan.statement in told and plan.plan:
            name = _operation(plan.plan, events_table, searched)
            if name:
                shares[name] = shares.get(name, 0.0) + told[plan.statement]
    return ServerUse(shares=shares)


def _operation(plan: Node, events_table: str, searched: Mapping[str, Collection[str]]) -> str:
    """Empty where it cannot be told."""
    writes = [node for node in nodes(plan) if node["Node Type"] == _WRITES]
    if writes:
        appends = any(
            node.get("Operation") == "Insert" and node.get("Relation Name") == events_table for node in writes
        )
        return APPENDS if appends else ""
    used = _indexes(plan)
    fitting = sorted(
        (len(indexes), name) for name, indexes in searched.items() if used and used <= set(indexes)
    )
    alone = fitting and (len(fitting) == 1 or fitting[0][0] < fitting[1][0])
    return fitting[0][1] if alone else ""


def _indexes(plan: Node) -> set[str]:
    """Of a plan that was executed or not."""
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def _shares(result: RunResult) -> dict[str, float]:
    """The share of the time of each statement, by its name, as the table of them has it."""
    return {
        str(row[0]): float(str(row[1]).rstrip("%")) / 100
        for section in result.sections
        if section.name == OBSERVED.strip()
        for table in section.tables
        for row in table.rows
    }
