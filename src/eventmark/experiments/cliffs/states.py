"""Every question in every state of the tables: on a copy that is vacuumed and analysed when that is its turn.

The copy is filled as a table grows: a tenth, analysed and vacuumed, then the rest, which nobody came round to.
So it is stale in both ways. Fresh statistics over a stale visibility map are made in a transaction that is rolled
back; a VACUUM then makes the map fresh and leaves the columns' statistics, and an ANALYZE ends it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.experiments.cliffs.beside import appending_beside
from eventmark.plans.cliffs.cells import FRESH, PLAN_KINDS, STALE, Cell, State, examine_cell
from eventmark.plans.cliffs.questions import Question
from eventmark.plans.examine import writes
from eventmark.seeding.copying import build_indexes, copy_events, copy_snapshots, make_empty_copy, tidy
from eventmark.stores import StoreDefinition

FIRST_SHARE = (
    10  # the part of the log that statistics and visibility map know of when they are stale: a tenth
)
STATES = 8
OTHERS_TRIED_MAX = 300
"""Cells for which other plans are tried; in a store that is wrong throughout, the first few tell enough."""

Report = Callable[[int], None]
"""Told of each cell how many there are by now."""


async def fill_copy(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, source: str, copy: str, events: int
) -> None:
    """The first ``events`` of the log in ``copy``, stale in both ways. Raises ``CannotRunError``."""
    first = max(1, events // FIRST_SHARE)
    await make_empty_copy(connection, definition, copy)
    await copy_events(connection, definition, source, copy, first=0, count=first)
    await copy_snapshots(connection, definition, source, copy)
    await build_indexes(connection, definition, copy)
    await tidy(connection, definition, copy, "vacuum analyze")
    await copy_events(connection, definition, source, copy, first=first, count=events - first)


class StateWalk:
    """Goes through the states of a copy. ``cells`` is filled with what was seen.

    At rest and under load are for copies of their own: what was appended under load stays, and a plan that passes
    it would be held against one that could not.

    A statement is given ``seconds_max`` in each state; ``left_out`` counts, by statement, the cells it had no
    time for.
    """

    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        definition: StoreDefinition,
        dsn: str,
        copy: str,
        questions: Sequence[Question],
        report: Report,
        *,
        seconds_max: float,
        cells: list[Cell],
    ) -> None:
        self._connection = connection
        self._definition = definition
        self._dsn = dsn
        self._copy = copy
        self._report = report
        self._seconds_max = seconds_max
        self._others_tried = 0
        self._rounds = rounds_of(definition.statements, questions)
        self._spent_s: defaultdict[tuple[str, State], float] = defaultdict(float)
        self.cells = cells
        self.left_out: Counter[str] = Counter()

    async def run(self, *, loaded: bool) -> None:
        """Every question in every state of a copy just filled, at rest or while other sessions append."""
        async with self._load(loaded):
            for questions in self._rounds:
                await self._examine(questions, State(statistics=STALE, visibility=STALE, loaded=loaded))
                async with self._analyzed_for_now():
                    await self._examine(questions, State(visibility=STALE, loaded=loaded))
            for how, statistics in (("vacuum", STALE), ("vacuum analyze", FRESH)):
                await tidy(self._connection, self._definition, self._copy, how)
                for questions in self._rounds:
                    await self._examine(questions, State(statistics=statistics, loaded=loaded))

    async def _examine(self, questions: Sequence[Question], state: State) -> None:
        for question in questions:
            for kind in PLAN_KINDS:
                if self._spent_s[question.statement, state] > self._seconds_max:
                    self.left_out[question.statement] += 1
                else:
                    began_s = time.monotonic()
                    self.cells.append(await self._cell(question, kind, state))
                    self._spent_s[question.statement, state] += time.monotonic() - began_s
                self._report(len(self.cells) + self.left_out.total())

    async def _cell(self, question: Question, kind: str, state: State) -> Cell:
        cell = await examine_cell(
            self._connection, self._definition.statements[question.statement], self._copy, question, kind, state,
            try_others=self._others_tried < OTHERS_TRIED_MAX,
        )  # fmt: skip
        self._others_tried += bool(cell.alternatives)
        return cell

    @asynccontextmanager
    async def _load(self, loaded: bool) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if loaded:
                await stack.enter_async_context(appending_beside(self._definition, self._dsn, self._copy))
            yield

    @asynccontextmanager
    async def _analyzed_for_now(self) -> AsyncIterator[None]:
        """Fresh statistics, for this connection alone, until they are rolled back."""
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            await tidy(self._connection, self._definition, self._copy, "analyze")
            yield
        finally:
            await transaction.rollback()


def rounds_of(statements: Mapping[str, Statement], questions: Sequence[Question]) -> list[list[Question]]:
    """Questions in the order in which none is in another's way: reads, then what writes, by its size.

    What was written is rolled back and leaves dead rows: at the log's end, and at the end of the stream that it
    was appended to. Of what wrote less they are too few to matter to what writes more.
    """
    rounds: dict[int, list[Question]] = {}
    for question in questions:
        size = question.events if writes(statements[question.statement]) else 0
        rounds.setdefault(size, []).append(question)
    return [rounds[size] for size in sorted(rounds)]


def states() -> Iterator[State]:
    """Every state, the one a server at rest is in first."""
    for loaded in (False, True):
        for visibility in (FRESH, STALE):
            for statistics in (FRESH, STALE):
                yield State(statistics=statistics, visibility=visibility, loaded=loaded)
