"""The invariants of every subject of a hunt, as one table: what held, what broke, what could not be asked."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.results.results import Column, OrderingResult, Row, Section, Table, Verdict, columns
from eventmark.verify.checker import INVARIANTS

NOT_ASKED = "not asked"


def invariants_section(orderings: Sequence[OrderingResult]) -> Section:
    """Invariant by invariant, the verdict on each ordering; then why some were not asked for."""
    rows: list[Row] = [
        [f"{name}: {rule}", *(_invariant_verdict(ordering, name) for ordering in orderings)]
        for name, rule in INVARIANTS.items()
    ]
    head = [Column(name="invariant"), *(Column(name=ordering.ordering) for ordering in orderings)]
    reasons: list[Row] = [
        [name, ordering.ordering, reason]
        for ordering in orderings
        for name, reason in ordering.not_asked.items()
    ]
    tables = [Table(title="", columns=head, rows=rows)]
    if reasons:
        why = columns("invariant", "store", "why it was not asked")
        tables.append(Table(title="Not asked", columns=why, rows=reasons))
    return Section(name="invariants", title="Invariants", tables=tables)


def _invariant_verdict(ordering: OrderingResult, name: str) -> str:
    """MET, BROKEN, INCONCLUSIVE, or that it was not asked."""
    verdicts = {finding.verdict for finding in ordering.findings if finding.name == name}
    order = (Verdict.BROKEN, Verdict.INCONCLUSIVE, Verdict.MET)
    return next((verdict.value for verdict in order if verdict in verdicts), NOT_ASKED)
