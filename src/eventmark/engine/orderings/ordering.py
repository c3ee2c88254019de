"""What an ordering is: the SQL files it has of its own, and how tokens are made of what they return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from eventmark.domain import EventBatch, GlobalSequence, TrackingToken, TransactionId
from eventmark.domain.gaps import Gaps
from eventmark.domain.tokens import tenant_mark
from eventmark.engine.payloads import DEFAULT_PAYLOAD, SQL_DIRECTORY
from eventmark.engine.records import EventRecord
from eventmark.engine.statements import Statement, read_statements

UNCLAIMED = (
    "(owner is null or lease_until < pg_catalog.clock_timestamp()"
    " or coalesce(lease_until > pg_catalog.clock_timestamp() + lease + lease, false))"
)
"""Whether a segment is free, in SQL. An end beyond two leases was set before the server's clock went back: it would
keep a dead owner's segment for as long as the clock needs to get there again. A live owner of such a segment has set
it anew within a third of its lease; where another is quicker, what it saves is refused."""

Read = Callable[..., Awaitable[list[EventRecord]]]
"""``await read(statement_name, *arguments)``: its rows; errors are the engine's."""


class Reader(Protocol):
    """A store's reading side under one ordering."""

    async def read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        """At most ``limit`` events after ``token``, of one tenant or of all."""
        ...

    async def head(self, tenant_id: str | None) -> TrackingToken:
        """After every event that a consumer could have been given by now, and after no other."""
        ...

    async def at(self, instant: datetime, tenant_id: str | None) -> TrackingToken:
        """Before the events at or after ``instant``, as ``PostgresEventStore.create_token_at`` defines; the head where
        there are none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """A policy of how events get their places and how consumers pass them.

    ``lossless``: no committed event is passed unseen. ``total_order``: all consumers see one order.
    ``all_tenants``: the events of all tenants can be read as one log. ``by_transaction_id``: places are made
    of the transaction ids that are stored with the events, so that these must be of this server. ``turn`` is
    the SQL query that an append runs before it draws a number, ``group_turn`` what a group of appends does,
    where it differs. Statements are looked for in ``directories``, in that order.
    """

    name: str
    description: str
    lossless: bool
    total_order: bool
    all_tenants: bool
    by_transaction_id: bool = False
    directories: tuple[str, ...]
    reader: Callable[[Read, TrackingToken], Reader]
    turn: str = ""
    group_turn: str = ""

    def statements(self, payload: str = DEFAULT_PAYLOAD) -> dict[str, Statement]:
        """The ordering's statements by name, for payloads of this type."""
        statements = read_statements(SQL_DIRECTORY)
        for directory in reversed(self.directories):
            statements |= read_statements(SQL_DIRECTORY / directory)
        if not self.all_tenants:
            del statements["stream_events"]
        for name, turn in (("append_events", self.turn), ("append_group", self.group_turn or self.turn)):
            statements[name] = replace(
                statements[name], template=statements[name].template.replace("{turn}", turn)
            )
        places = {"unclaimed": UNCLAIMED, "payload": payload}
        return {name: statement.filled(places) for name, statement in statements.items()}

    @property
    def indexes_path(self) -> Path:
        """The file of the indexes that the statements need."""
        paths = [SQL_DIRECTORY / directory / "indexes.sql" for directory in self.directories]
        return next(path for path in paths if path.exists())


def place(
    tail: TrackingToken,
    number: int,
    *,
    transaction_id: int = 0,
    gaps: Gaps = (),
    tenant_id: str | None = None,
) -> TrackingToken:
    """The token of a place in the log, of the same store and epoch as ``tail``.

    ``tenant_id``: only this tenant's events were read up to here.
    """
    tenant = 0 if tenant_id is None else tenant_mark(tenant_id)
    return TrackingToken(
        tail.store_id, tail.epoch, TransactionId(transaction_id), GlobalSequence(number), gaps, tenant
    )
