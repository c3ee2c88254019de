"""Questions that a statement is asked: for which tenant, of which stream, from where in the log, how many.

All of them would be the product of four axes. Of each statement's at most so many are drawn that every value of
an axis meets every value of the others as soon as possible: what makes a plan fall over is seldom more than two
things at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.statements import Statement
from eventmark.errors import UsageError
from eventmark.plans import sampling
from eventmark.plans.arguments import (
    APPENDED_PARAMETERS,
    PLACE_PARAMETERS,
    STREAM_PARAMETERS,
    TENANT_PARAMETERS,
    fill,
    unknown_parameters,
)
from eventmark.plans.sampling import END_DISTANCE_EVENTS, Aggregate, Row
from eventmark.plans.studies import (
    NothingToDrawError,
    StoreSample,
    Study,
    reads_only,
    sample_store,
    situation_of,
    study_everybody,
    study_tenant,
)

BATCHES_EVENTS = (1, 10, 100, 1000, 10_000)
DECILES = 10

_BEYOND = "beyond the log"
_FILLING = re.compile(r"( of)? the (log|stream)$| events?$| aggregate$|^aggregate ")
_ASKED_FOR = frozenset({"batch_size"})
_CURSOR = frozenset({"from_sequence"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A statement with real arguments, in its order, and what they stand for; "" where it leaves that open.

    ``events`` are appended or asked for, where it says how many.
    """

    statement: str
    tenant: str
    stream: str
    place: str
    batch: str
    arguments: tuple[object, ...]
    events: int = 1

    @property
    def coordinates(self) -> tuple[str, str, str, str]:
        return self.tenant, self.stream, self.place, self.batch

    @property
    def key(self) -> tuple[str, ...]:
        """No two questions have the same."""
        return self.statement, *self.coordinates

    @property
    def label(self) -> str:
        """``decile 3, middle of the log, 1000 events``."""
        return ", ".join(filter(None, self.coordinates)) or "any"

    @property
    def short(self) -> str:
        """The label where there is little room: ``decile 3, middle, 1000``."""
        words = (re.sub(_FILLING, "", word) for word in self.coordinates)
        return ", ".join(filter(None, words)) or "any"


@dataclass(frozen=True, slots=True)
class DrawnQuestions:
    """``skipped`` says of a statement why there is none."""

    questions: list[Question]
    skipped: dict[str, str]


async def draw_questions(
    connection: asyncpg.Connection[Any],
    statements: Mapping[str, Statement],
    schema: str,
    columns: Mapping[str, str],
    events_table: str,
    snapshots_table: str | None,
    *,
    snapshot_columns: Mapping[str, str],
    first_sequence: int = 1,
    large: frozenset[str] = frozenset(),
    per_statement: int,
    batches: Sequence[int] = BATCHES_EVENTS,
    seed: int = 1,
) -> DrawnQuestions:
    """At most ``per_statement`` questions of each statement; the same seed and table give the same.

    Tenants are those at the ten deciles of size, 10 being the largest; places the start, the middle and the
    end of their part of the log, and beyond. Takes seconds, whatever the table's size.
    """
    try:
        drawn = await sample_store(
            connection,
            schema,
            columns,
            events_table,
            snapshots_table,
            snapshot_columns,
            first_sequence,
            large,
        )
    except NothingToDrawError as error:
        return DrawnQuestions([], dict.fromkeys(statements, str(error)))
    everybody = await study_everybody(drawn)
    tenants = await _deciles(drawn) if drawn.events.has("tenant_id") else [everybody]
    random = np.random.default_rng(seed)
    questions: list[Question] = []
    skipped = {}
    for statement in statements.values():
        if unknown := unknown_parameters(statement):
            skipped[statement.name] = f"no value is known for parameters named {', '.join(unknown)}"
            continue
        reads_snapshots = reads_only(statement, snapshots_table, events_table)
        every = list(_questions(statement, everybody, tenants, reads_snapshots, batches))
        questions += pairwise_sample(every, per_statement, random)
        if not every:
            skipped[statement.name] = "no rows were found to run it with"
    return DrawnQuestions(questions, skipped)


def pairwise_sample(questions: Sequence[Question], limit: int, random: np.random.Generator) -> list[Question]:
    """At most ``limit`` of the questions, so chosen that their axes' values meet in as many pairs as possible.

    The first and the last, the extremes of every axis, are among them. In the order given.
    """
    if len(questions) <= limit:
        return list(questions)
    order = [0, len(questions) - 1]
    order += [int(index) for index in random.permutation(np.arange(1, len(questions) - 1))]
    pairs = [_pairs(question) for question in questions]
    chosen = order[:2][:limit]
    met = set().union(*(pairs[index] for index in chosen))
    waiting = [index for index in order if index not in chosen]
    while len(chosen) < limit:
        best = max(waiting, key=lambda index: len(pairs[index] - met))
        chosen.append(best)
        waiting.remove(best)
        met |= pairs[best]
    return [questions[index] for index in sorted(chosen)]


def _pairs(question: Question) -> set[tuple[tuple[int, str], tuple[int, str]]]:
    return set(combinations(enumerate(question.coordinates), 2))


async def _deciles(drawn: StoreSample) -> list[Study]:
    """The tenants at the deciles of size, the smallest first; fewer where there are not ten."""
    ordered = (await sampling.tenants_by_size(drawn.events, drawn.rows))[::-1]
    places = {round(share * (len(ordered) - 1)): None for share in np.linspace(0, 1, DECILES)}
    return [
        await study_tenant(drawn, f"decile {_decile(index, len(ordered))}", ordered[index])
        for index in places
    ]


def _decile(rank: int, tenants: int) -> int:
    return 1 + round((DECILES - 1) * rank / max(1, tenants - 1))


def _questions(
    statement: Statement,
    everybody: Study,
    tenants: Sequence[Study],
    reads_snapshots: bool,
    batches: Sequence[int],
) -> Iterator[Question]:
    """The product of what the statement's parameters leave open; what the table has no value for is left out."""
    names = {parameter.name for parameter in statement.parameters}
    asks_for_stream = bool(names & STREAM_PARAMETERS)
    for study in tenants if names & (TENANT_PARAMETERS | STREAM_PARAMETERS) else [everybody]:
        streams = _streams(study, reads_snapshots, asks_for_stream)
        for stream_label, stream in streams.items():
            for place_label, (position, first) in _cursors(names, study, stream).items():
                for batch in batches if names & (APPENDED_PARAMETERS | _ASKED_FOR) else (0,):
                    situation = situation_of(stream, position, from_sequence=first, **_sizes(names, batch))
                    try:
                        arguments = fill(statement, situation)
                    except (UsageError, ValueError):
                        continue
                    yield Question(
                        statement=statement.name,
                        tenant="" if study is everybody else study.label,
                        stream=stream_label if asks_for_stream else "",
                        place=place_label,
                        batch=f"{batch} event{'s' * (batch != 1)}" if batch else "",
                        arguments=arguments,
                        events=batch or 1,
                    )


def _streams(study: Study, reads_snapshots: bool, asks_for_stream: bool) -> Mapping[str, Aggregate]:
    if reads_snapshots and asks_for_stream:
        return {"aggregate with a snapshot": study.with_snapshot} if study.with_snapshot else {}
    return study.streams if asks_for_stream else dict(list(study.streams.items())[:1])


def _cursors(names: set[str], study: Study, stream: Aggregate) -> dict[str, tuple[Row, int]]:
    """Where to begin: a place in the log, and a sequence number in the stream."""
    if names & PLACE_PARAMETERS:
        beyond = {_BEYOND: study.beyond} if study.beyond else {}
        return {label: (position, 1) for label, position in {**study.places, **beyond}.items()}
    if names & _CURSOR:
        versions = {
            "start of the stream": 1,
            "middle of the stream": max(1, stream.version // 2),
            "end of the stream": max(1, stream.version - END_DISTANCE_EVENTS),
            "beyond the stream": stream.version + 1,
        }
        return {label: (stream.row, version) for label, version in versions.items()}
    return {"": (stream.row, 1)}


def _sizes(names: set[str], batch: int) -> dict[str, int]:
    if not batch:
        return {}
    return {"batch_events": batch} if names & APPENDED_PARAMETERS else {"limit_events": batch}
