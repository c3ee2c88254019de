"""What might be done better: a change that can be tried, and what the trial showed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from eventmark.adviser.ablate import Difference
from eventmark.adviser.index_facts import DropCandidate
from eventmark.adviser.missing import Proposal
from eventmark.engine.statements import Parameter, Statement
from eventmark.plans.sampling import quoted_name
from eventmark.stats.ratios import Ratio

WORTH_RATIO = 1.05
"""Advice brings 5% more appends at least: less is within the noise of most machines."""

APPENDS = "appends/s"

LEAST_RATIO = {"create_token_at": 0.5}
"""A consumer asks for an instant when it begins: up to twice the time is a price, and no reason against a change."""

ALIKE_RATIO_MAX = 1.5
"""Beyond, two unchanged copies cannot be told to be alike, and a change that brings 5% cannot be told from noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A change of a store's schema. SQL is for a search path that leads to the schema.

    ``apply`` and ``revert`` are for a copy that nobody else uses, ``script`` for a store in use. ``weakens``
    says what the store loses; what weakens it is measured and never recommended. ``adds_work``: appends are
    expected to do more, for reads that do less. ``level`` is applied to both copies first, so that what being
    made anew does by itself is not the change's.
    ``parameter_types`` are those that the statement's parameters have with it, where they are others;
    ``retyped`` are types that every statement has to name otherwise. ``by_time``: what it saves in one place it
    costs in another, so that only time shows what it is worth. Of one ``group`` at most one is taken.
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
    level: tuple[str, ...] = ()
    parameter_types: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, str] = field(default_factory=dict)
    by_time: bool = False
    group: str = ""

    def statements_of(self, statements: Mapping[str, Statement]) -> dict[str, Statement]:
        """The store's statements as they have to be with it."""
        return {name: retyped_statement(statement, self.retyped) for name, statement in statements.items()}


def retyped_statement(statement: Statement, types: Mapping[str, str]) -> Statement:
    """With other types wherever it names them, outside of literals and comments, and as its parameters'."""
    parameters, template = statement.parameters, statement.template
    for old, new in types.items():
        parameters = tuple(
            Parameter(parameter.name, re.sub(rf"\b{old}\b", new, parameter.sql_type))
            for parameter in parameters
        )
        template = re.sub(
            rf"'(?:[^']|'')*'|--[^\n]*|\b(?P<type>{old})\b",
            lambda match, new=new: new if match["type"] else match[0],  # type: ignore[misc]
            template,
        )
    return replace(statement, parameters=parameters, template=template)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendCost:
    """What one append of a single event costs the server, by its own count: without full page images, which
    only the first change of a page after a checkpoint needs."""

    wal_bytes: float
    pages: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the store's tables, with TOAST; and of their indexes. ``heap_bytes`` is without TOAST."""

    table_bytes: int
    index_bytes: int
    events: int
    heap_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate with what was measured; ``refusal`` says why it could not be tried, or what speaks against it.

    ``rate`` is appends per second with it over without it, ``cpu`` the same per second of the server's
    processor; None where only counters were compared, or where that is not known. ``reads`` is the same of
    single calls of each operation that reads, one after the other: how many times as quick. ``took_s`` is how
    long the change took on the copy.
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
    reads: Mapping[str, Ratio] = field(default_factory=dict)
    took_s: float = 0.0
    refusal: str = ""

    @property
    def is_quicker(self) -> bool:
        """Whether more appends are shown, by the second or by the processor's second, or quicker reads, and enough."""
        return any(
            ratio is not None and ratio.is_above(1.0) and ratio.value >= WORTH_RATIO
            for ratio in (self.rate, self.cpu, *self.reads.values())
        )

    @property
    def is_slower(self) -> bool:
        """Whether appends or reads are shown to be slower than is put up with."""
        least = 1 / WORTH_RATIO if self.candidate.by_time else 1.0
        return any(
            ratio is not None and ratio.is_below(LEAST_RATIO.get(name, least))
            for name, ratio in {"appends": self.rate, **self.reads}.items()
        )

    @property
    def gains(self) -> dict[str, Ratio]:
        """How many times as quick with it, by what a user does: appends first."""
        return {**({APPENDS: self.rate} if self.rate else {}), **self.reads}

    @property
    def mean_gain(self) -> float:
        """Of appends, loads and streams: the geometric mean; 1 where nothing was timed."""
        logs = [math.log(gain.value) for name, gain in self.gains.items() if name not in LEAST_RATIO]
        return math.exp(sum(logs) / len(logs)) if logs else 1.0

    @property
    def best_gain(self) -> tuple[str, Ratio | None]:
        """What gains most, if it surely gains; else appends."""
        sure = {name: gain for name, gain in self.gains.items() if gain.is_above(1.0)}
        name = max(sure, key=lambda name: sure[name].value, default=APPENDS)
        return name, self.gains.get(name)

    @property
    def is_sound(self) -> bool:
        """Whether it was tried, and nothing got worse or weaker."""
        return not (self.refusal or self.worse or self.candidate.weakens)

    @property
    def wal_saved_bytes(self) -> float:
        return self.before.wal_bytes - self.after.wal_bytes if self.before and self.after else 0.0


def without_index(candidate: DropCandidate) -> Candidate:
    """The index dropped; with its constraint, where it has one."""
    index = candidate.index
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
        reason=f"{candidate.kind}: {candidate.reason}",
        apply=(drop,),
        revert=(again,),
        script=(script,),
        risk="other queries may use this index: check idx_scan in production first",
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
        apply=tuple(statement for candidate in candidates for statement in candidate.apply),
        script=tuple(statement for candidate in candidates for statement in candidate.script),
        risk="the risks of its parts",
        adds_work=any(candidate.adds_work for candidate in candidates),
        retyped={old: new for candidate in candidates for old, new in candidate.retyped.items()},
        by_time=any(candidate.by_time for candidate in candidates),
        level=next((candidate.level for candidate in candidates if candidate.level), ()),
    )
