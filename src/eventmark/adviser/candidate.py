"""What might be done better: a change that can be tried, and what the trial showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eventmark.adviser.ablate import Difference
from eventmark.adviser.index_facts import DropCandidate
from eventmark.adviser.missing import Proposal
from eventmark.plans.sampling import quoted_name
from eventmark.stats.ratios import Ratio

WORTH_RATIO = 1.05
"""Advice brings 5% more appends at least: less is within the noise of most machines."""

ALIKE_RATIO_MAX = 1.5
"""Beyond, two unchanged copies cannot be told to be alike, and a change that brings 5% cannot be told from noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A change of a store's schema. SQL is for a search path that leads to the schema.

    ``apply`` and ``revert`` are for a copy that nobody else uses, ``script`` for a store in use. ``weakens``
    says what the store loses; what weakens it is measured and never recommended. ``adds_work``: appends are
    expected to do more, for reads that do less. ``rewrites``: the table is made anew, the copy is used up;
    ``level`` is applied to both copies first, so that what being made anew does by itself is not the change's.
    ``parameter_types`` are those that the statement's parameters have with it, where they are others.
    """

    kind: str
    name: str
    reason: str
    apply: tuple[str, ...]
    script: tuple[str, ...]
    risk: str
    revert: tuple[str, ...] = ()
    weakens: str = ""
    adds_work: bool = False
    rewrites: bool = False
    level: tuple[str, ...] = ()
    parameter_types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendCost:
    """What one append of a single event costs the server, by its own count: without full page images, which
    only the first change of a page after a checkpoint needs."""

    wal_bytes: float
    pages: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the store's tables, with TOAST; and of their indexes."""

    table_bytes: int
    index_bytes: int
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate with what was measured; ``refusal`` says why it could not be tried, or what speaks against it.

    ``rate`` is appends per second with it over without it, ``cpu`` the same per second of the server's
    processor; None where only counters were compared, or where that is not known.
    """

    candidate: Candidate
    before: AppendCost | None = None
    after: AppendCost | None = None
    sizes_before: Sizes | None = None
    sizes_after: Sizes | None = None
    worse: tuple[Difference, ...] = ()
    better: tuple[Difference, ...] = ()
    compared: int = 0
    rate: Ratio | None = None
    cpu: Ratio | None = None
    refusal: str = ""

    @property
    def is_quicker(self) -> bool:
        """Whether more appends are shown, by the second or by the processor's second, and enough of them."""
        return any(
            one is not None and one.is_above(1.0) and one.value >= WORTH_RATIO
            for one in (self.rate, self.cpu)
        )

    @property
    def is_sound(self) -> bool:
        """Whether it was tried, and nothing got worse or weaker."""
        return not (self.refusal or self.worse or self.candidate.weakens)

    @property
    def wal_saved_bytes(self) -> float:
        return self.before.wal_bytes - self.after.wal_bytes if self.before and self.after else 0.0


def without_index(found: DropCandidate) -> Candidate:
    """The index dropped; with its constraint, where it has one."""
    index = found.index
    table, name = quoted_name(index.table), quoted_name(index.name)
    drop, again = f"drop index {name}", index.definition
    script = f"drop index{'' if index.is_partitioned else ' concurrently'} if exists {name}"
    if index.constraint:
        constraint = quoted_name(index.constraint)
        drop = script = f"alter table {table} drop constraint {constraint}"
        again = f"alter table {table} add constraint {constraint} {index.constraint_definition}"
    return Candidate(
        kind="index",
        name=f"drop index {index.name}",
        reason=f"{found.kind}: {found.reason}",
        apply=(drop,),
        revert=(again,),
        script=(script,),
        risk="reports or people may search it: see its idx_scan where the store is in use",
    )


def with_index(proposal: Proposal) -> Candidate:
    """The index that plans lack."""
    name, table = quoted_name(proposal.name), quoted_name(proposal.table)
    columns = ", ".join(map(quoted_name, proposal.columns))
    return Candidate(
        kind="index",
        name=f"create index on {proposal.table} ({', '.join(proposal.columns)})",
        reason=f"missing: {', '.join(proposal.statements)} filters or sorts without it",
        apply=(f"create index {name} on {table} ({columns})",),
        revert=(f"drop index {name}",),
        script=(f"create index concurrently if not exists {name} on {table} ({columns})",),
        risk="every append writes one entry more",
        adds_work=True,
    )


def combined(candidates: Sequence[Candidate]) -> Candidate:
    """All of them as one change."""
    return Candidate(
        kind="combination",
        name=f"all of the following together ({len(candidates)})",
        reason="the changes that are sound by themselves, and with the others",
        apply=tuple(statement for one in candidates for statement in one.apply),
        script=tuple(statement for one in candidates for statement in one.script),
        risk="those of its parts",
        adds_work=any(one.adds_work for one in candidates),
        rewrites=True,
        level=next((one.level for one in candidates if one.level), ()),
    )
