"""What is hunted: an ordering of the engine's, or any store of SQL files; and what it can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from eventmark.engine import ORDERINGS
from eventmark.seeding import fill_beside
from eventmark.stores import (
    REFUSALS,
    StoreDefinition,
    check_types,
    find_store,
    make_scratch_schema,
    make_scratch_store,
    read_shape,
)
from eventmark.verify.history import SEGMENTS, TENANTS, tenant_of

ENGINE_STORE = "eaf"

NO_CONSUMERS = "the store has no stream_events.sql: what its consumers would miss is not known"
NO_SNAPSHOTS = "the store has no snapshots, or load_aggregate.sql loads no part of a stream"
NO_TENANTS = "the store has no tenants"
NO_EVENT_IDS = "the store keeps no event ids, or makes them itself"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a consumer begins, "tail", "head" or "middle"; whose events it reads, and which share of the streams."""

    place: str
    tenant: int | None = None
    segment: int | None = None

    @property
    def name(self) -> str:
        whose = "all tenants" if self.tenant is None else tenant_of(self.tenant)
        share = "" if self.segment is None else f", segment {self.segment} of {SEGMENTS}"
        return f"{self.place}, {whose}{share}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A store that is hunted, and what its consumers may rely on.

    ``store`` is a name or folder, for processes to find it again; ``ordering`` is one of the engine's, "" for
    a store of SQL files. ``starts`` are the consumers of each process. ``absent`` tells what cannot be
    hunted, and ``not_asked`` which invariants, each with the reason. ``refuses`` is what an append promises to refuse;
    ``idles``: whether a transaction of the hunt may have its id long before it appends.
    """

    name: str
    description: str
    store: str
    ordering: str
    lossless: bool
    total_order: bool
    by_transaction_id: bool
    starts: tuple[tuple[Start, ...], ...]
    contends: bool = True
    has_snapshots: bool = True
    has_event_ids: bool = True
    has_tenants: bool = True
    refuses: frozenset[str] = frozenset(REFUSALS)
    idles: bool = True
    absent: tuple[tuple[str, str], ...] = ()
    not_asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_start(self) -> Start | None:
        """The consumer that reads the most, from the log's tail."""
        return self.starts[0][0] if self.starts else None

    @property
    def reads(self) -> str:
        """The statement by which most consumers read."""
        first = self.first_start
        return "stream_events" if first is None or first.tenant is None else "stream_tenant_events"

    @property
    def definition(self) -> StoreDefinition:
        return find_store(self.store)

    async def make(self, dsn: str, schema: str) -> None:
        """The store, empty, in place of what is left in ``schema`` from before. Raises ``CannotRunError``."""
        if self.ordering:
            await make_scratch_schema(dsn, schema, ordering=self.ordering)
        else:
            await make_scratch_store(dsn, self.definition, schema)
            await fill_beside(dsn, self.definition, schema, await self._tenants(dsn, schema))

    async def _tenants(self, dsn: str, schema: str) -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            shape = await read_shape(connection, self.definition, schema)
        finally:
            await connection.close()
        check_types(self.definition, shape)
        return sorted({tenant_of(number, shape.naming) for number in range(TENANTS)})


def engine_subject(ordering: str) -> Subject:
    """The engine's store under one of its orderings. Segments share one consumer's work."""
    engine_ordering = ORDERINGS[ordering]
    whose = None if engine_ordering.all_tenants else 1
    return Subject(
        name=ordering, description=engine_ordering.description, store=ENGINE_STORE, ordering=ordering,
        lossless=engine_ordering.lossless,
        total_order=engine_ordering.total_order, by_transaction_id=engine_ordering.by_transaction_id,
        starts=(
            (Start("tail", whose), Start("tail", 0)),
            (Start("head", whose), *(Start("middle", whose, segment) for segment in range(SEGMENTS))),
        ),
    )  # fmt: skip


def store_subject(store: str) -> Subject:
    """A store of SQL files, by name or folder. Whatever its ordering, it is expected to lose nothing."""
    definition = find_store(store)
    statements = definition.statements
    can = definition.capabilities
    early = [Start("tail")] if can.all_tenants_stream else []
    late: list[Start] = []
    absent: dict[str, str] = {}
    if can.tenant_stream:
        early += [Start("tail", 0)] if early else [Start("tail", 0), Start("tail", 1)]
    if not early:
        absent["consumers"] = NO_CONSUMERS
    if can.all_tenants_stream:
        late += [Start("head")] if can.head_token else []
        late += [Start("middle")] if can.token_at else []
        absent |= _why({"consumers that begin at the head": can.lack("head_token")})
        absent |= _why({"consumers that begin at an instant": can.lack("token_at")})
    contends = can.expected_version
    absent |= _why({"contention for a version": can.lack("expected_version")})
    replays = any(parameter.name == "from_sequence" for parameter in statements["load_aggregate"].parameters)
    has_snapshots = can.snapshots and replays
    if not has_snapshots:
        absent["replay from snapshots"] = NO_SNAPSHOTS
    has_event_ids = definition.takes_event_ids
    if not has_event_ids:
        absent["appends repeated by event id"] = NO_EVENT_IDS
    if not definition.has_tenants:
        absent["isolation of tenants"] = NO_TENANTS
    elif early:
        absent |= _why({"consumers of one tenant": can.lack("tenant_stream")})
    return Subject(
        name=definition.name, description=definition.description, store=store, ordering="", lossless=True,
        total_order=True, by_transaction_id=definition.ordering == "transaction-id",
        starts=tuple(tuple(group) for group in (early, late) if group), contends=contends, has_snapshots=has_snapshots,
        has_event_ids=has_event_ids, has_tenants=definition.has_tenants, refuses=definition.refuses,
        absent=tuple(absent.items()),
        not_asked=_not_asked(definition, consumers=bool(early), contends=contends, has_snapshots=has_snapshots),
    )  # fmt: skip


def _why(reasons: Mapping[str, str]) -> dict[str, str]:
    """Those that there are."""
    return {name: reason for name, reason in reasons.items() if reason}


def _not_asked(
    definition: StoreDefinition, *, consumers: bool, contends: bool, has_snapshots: bool
) -> dict[str, str]:
    """The invariants that the store's shape forbids to ask for, with the reason."""
    has_event_ids = definition.takes_event_ids
    torn = has_event_ids or "transaction_id" in definition.columns
    return {
        **({} if has_event_ids else {"I3": NO_EVENT_IDS}),
        **({} if definition.has_tenants else {"I10": NO_TENANTS}),
        **({} if contends else {"I5": definition.capabilities.lack("expected_version")}),
        **({} if torn else {"I6": f"{NO_EVENT_IDS} and no transaction ids: an append in parts is not seen"}),
        **({} if consumers else dict.fromkeys(("I7", "I8", "I9", "I12"), NO_CONSUMERS)),
        **({} if has_snapshots else {"I11": NO_SNAPSHOTS}),
    }
