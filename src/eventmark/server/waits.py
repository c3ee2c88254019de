"""What sessions at work wait for, looked at many times a second and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import asyncpg

from eventmark.judgement.evidence import Wait

WAITS_APPLICATION = "eventmark-waits"
INSTRUMENTS = (WAITS_APPLICATION, "eventmark-monitor")

_LOOK = """
select
    application_name, coalesce(wait_event_type, ''), coalesce(wait_event, ''), coalesce(query_id, 0)::text, count(*)
from pg_stat_activity
where state = 'active' and backend_type = 'client backend' and datname = current_database()
    and pid <> pg_backend_pid() and application_name <> all ($1::text[])
group by 1, 2, 3, 4
"""


class Moment(NamedTuple):
    """A session at work as it was seen: whose it is, what it waits for, and in which statement."""

    application: str
    wait: Wait
    statement_id: str  # "0" where the server computes none


@dataclass(slots=True)
class WaitSamples:
    """How often sessions were seen so, in how many looks. Samples of several stretches can be added."""

    looks: int = 0
    seen: Counter[Moment] = field(default_factory=Counter)

    def __add__(self, other: WaitSamples) -> WaitSamples:
        return WaitSamples(self.looks + other.looks, self.seen + other.seen)

    def of(self, application: str | None) -> Self:
        """Those of one application alone; None takes all."""
        chosen = Counter(
            {
                moment: count
                for moment, count in self.seen.items()
                if application in (None, moment.application)
            }
        )
        return type(self)(self.looks, chosen)

    def sessions(self) -> dict[Wait, float]:
        """Sessions at work on average, by what they wait for."""
        totals: Counter[Wait] = Counter()
        for moment, count in self.seen.items():
            totals[moment.wait] += count
        return self._average(totals)

    def sessions_by_statement(self) -> dict[str, Mapping[Wait, float]]:
        """The same for each statement."""
        totals: dict[str, Counter[Wait]] = {}
        for moment, count in self.seen.items():
            totals.setdefault(moment.statement_id, Counter())[moment.wait] += count
        return {statement: self._average(waits) for statement, waits in totals.items()}

    def _average(self, totals: Mapping[Wait, int]) -> dict[Wait, float]:
        return {wait: count / self.looks for wait, count in totals.items()} if self.looks else {}

    async def look(self, connection: asyncpg.Connection, timeout_s: float) -> None:
        """Look once at every session of the database but the instruments' own."""
        rows = await connection.fetch(_LOOK, list(INSTRUMENTS), timeout=timeout_s)
        self.looks += 1
        for application, kind, event, statement_id, count in rows:
            self.seen[Moment(application, Wait(kind, event), statement_id)] += count
