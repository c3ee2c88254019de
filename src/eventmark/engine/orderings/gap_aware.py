"""By number, remembering the numbers that were passed without their events: the gaps.

A gap is a transaction that is still running, or one that rolled back. Which of the two cannot be told by
waiting for some time: whoever gives a gap up after a timeout loses the event of a slower transaction. Here a
gap is given up when its event cannot come any more. An append has its transaction id before it draws a
number. So once a transaction id (the bound) is taken after a number was seen, that number and all lower
ones belong to transactions older than the bound; and a snapshot whose oldest running transaction is not
older than the bound shows their outcome: what it leaves empty stays empty. Numbers and bounds are facts of
the store, not of a token: a reader keeps the last few. The timeout and the threshold only say when to look.

The price: late events are delivered late, so consumers may see different orders (each stream's own order
holds); a consumer's first token looks at the numbers of the whole log; bounds take transaction ids, which a
standby has none of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from eventmark.domain import EventBatch, TrackingToken
from eventmark.domain import gaps as gap_sets
from eventmark.domain.gaps import Gaps
from eventmark.domain.tokens import tenant_mark
from eventmark.engine.orderings.ordering import Ordering, Read, place
from eventmark.engine.records import EventRecord
from eventmark.errors import StoreUnavailableError

GAP_TIMEOUT_S = 0.05
"""How often, at most, a bound is taken for the gaps there are."""

GAP_CLEANING_THRESHOLD = 250
"""With more ranges of gaps than this, a bound is taken at every read."""

GAPS_MAX = 2_000
"""With so many ranges of gaps a consumer does not go beyond a further one until some are decided."""


HEAD_WAIT_S = 30.0
"""How long a head token waits for transactions to end, where there are too many gaps for it."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """All numbers up to ``number`` were drawn by transactions with ids below ``transaction_id``."""

    number: int
    transaction_id: int


class GapAwareReader:
    """Reads by number, reads again where a gap was, and gives a gap up once no transaction can fill it."""

    def __init__(self, read: Read, tail: TrackingToken) -> None:
        self._read = read
        self._tail = tail
        self._decided = _Bound(0, 0)
        self._bounds: list[_Bound] = []  # two at most: the older gets decided whatever comes after it
        self._bound_at_s = -GAP_TIMEOUT_S

    async def read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        firsts = [first for first, _ in token.gaps]
        lasts = [last for _, last in token.gaps]
        after = (token.global_sequence, limit, firsts, lasts)
        with_bound = self._wants_bound(token.gaps)
        if tenant_id is None:
            look, *events = await self._read("stream_events", *after, with_bound)
        else:
            decided = self._decided.number
            look, *events = await self._read("stream_tenant_events", tenant_id, *after, decided, with_bound)
        batch = self._batch(token, look, events, full=len(events) == limit)
        if tenant_id is None:
            return batch
        return EventBatch(batch.events, replace(batch.token, tenant=tenant_mark(tenant_id)))

    async def head(self, tenant_id: str | None) -> TrackingToken:
        """The last number, with the gaps before it that are still open.

        A reader that has no bound yet takes every number that was rolled back for such a gap. Where these are
        too many for a token it waits, until the transactions have ended that were running when it first looked.
        """
        deadline_s = time.monotonic() + HEAD_WAIT_S
        while True:
            look = (await self._read("create_head_token", self._decided.number, self._is_due()))[0]
            number = look["global_sequence_id"]
            if number is None:
                return self._tail
            gaps = self._open_gaps(look, number)
            if len(gaps) <= GAPS_MAX:
                return self._token(number, gaps)
            if time.monotonic() > deadline_s:
                raise StoreUnavailableError(
                    f"a transaction has been open for {HEAD_WAIT_S:g} s: the missing numbers cannot be determined",
                    remedy="end it; eventmark doctor --dsn names it",
                )
            await asyncio.sleep(GAP_TIMEOUT_S)

    async def at(self, instant: datetime, tenant_id: str | None) -> TrackingToken:
        head = await self.head(tenant_id)  # first: what comes after this look is after the head as well
        look = (await self._read("create_token_at", instant, self._decided.number, False))[0]
        number = look["global_sequence_id"]
        if number is None:
            return head
        gaps = self._open_gaps(look, number)
        return head.lower_bound(self._token(number - 1, gaps))

    def _batch(
        self, token: TrackingToken, look: EventRecord, events: list[EventRecord], *, full: bool
    ) -> EventBatch:
        numbers = [event.global_sequence for event in events]
        last = max([int(token.global_sequence), *numbers[-1:]])
        decided = self._learn(look, last)
        # A full batch may have left out what is after it: of that, this look says nothing.
        seen_to = min(decided, numbers[-1]) if full else decided
        kept = gap_sets.above(gap_sets.without(token.gaps, numbers), seen_to)
        new = gap_sets.above(gap_sets.up_to(_missing(look), last), decided)
        room = max(GAPS_MAX - len(kept), 0)
        if len(new) > room:
            last = new[room][0] - 1
            events = [event for event in events if event.global_sequence <= last]
        return EventBatch(events, self._token(last, gap_sets.joined((*kept, *new[:room]))))

    def _open_gaps(self, look: EventRecord, number: int) -> Gaps:
        return gap_sets.above(_missing(look), self._learn(look, number))

    def _wants_bound(self, gaps: Gaps) -> bool:
        """Whether this read is to take a bound: where gaps are above the last one, and it is time."""
        if not gaps or gaps[-1][1] <= self._newest.number:
            return False
        return self._is_due() or len(gaps) > GAP_CLEANING_THRESHOLD

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        due = now_s - self._bound_at_s >= GAP_TIMEOUT_S
        if due:
            self._bound_at_s = now_s
        return due

    @property
    def _newest(self) -> _Bound:
        return self._bounds[-1] if self._bounds else self._decided

    def _learn(self, look: EventRecord, number: int) -> int:
        """The number up to which this look decides all gaps. ``number`` was seen in it, or before it."""
        horizon, taken = look["horizon"], look["bound"]
        while self._bounds and horizon >= self._bounds[0].transaction_id:
            self._decided = self._bounds.pop(0)
        newest = self._newest
        if taken is not None and taken > newest.transaction_id and number > newest.number:
            self._bounds[1:] = [_Bound(number, taken)]
        # Another read, with a younger snapshot, may have come back first: for this one its gaps are open.
        return self._decided.number if horizon >= self._decided.transaction_id else 0

    def _token(self, number: int, gaps: Gaps) -> TrackingToken:
        """A place that is in a gap itself goes back to before it."""
        gaps = gap_sets.up_to(gaps, number)
        if gaps and gaps[-1][1] == number:
            number, gaps = gaps[-1][0] - 1, gaps[:-1]
        return place(self._tail, number, gaps=gaps)


def _missing(look: EventRecord) -> Gaps:
    firsts: Sequence[int] = look["gap_firsts"] or ()
    lasts: Sequence[int] = look["gap_lasts"] or ()
    return tuple(zip(firsts, lasts, strict=True))


GAP_AWARE = Ordering(
    name="gap_aware",
    description="by number, coming back for numbers that were passed before their events had committed",
    lossless=True,
    total_order=False,
    all_tenants=True,
    directories=("gap_aware", "by_number"),
    reader=GapAwareReader,
    turn="select pg_catalog.pg_current_xact_id()",
)
