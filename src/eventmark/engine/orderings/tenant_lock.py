"""One writer per tenant at a time: each tenant's numbers commit in order, those of different tenants do not.

So there is no log of all tenants, and every consumer reads one tenant's. Tenants whose hashes collide wait
for each other, which costs time alone. A transaction that appends for several tenants locks each at its
first append: two that do so in opposite order deadlock, and PostgreSQL ends one of them. Advisory locks need no
privilege: whoever may connect to the database can take a tenant's as well, and stop its appends for that time.
"""

from __future__ import annotations

from datetime import datetime

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine.orderings.by_number import NumberReader
from eventmark.engine.orderings.ordering import Ordering, place
from eventmark.engine.records import EventRecord
from eventmark.errors import TokenRefusedError


class TenantReader(NumberReader):
    """Reads the events of one tenant; a read that names no tenant is refused."""

    async def read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        return await super().read_after(token, limit, _needed(tenant_id))

    async def head(self, tenant_id: str | None) -> TrackingToken:
        """Of one tenant: another's numbers below it may still come."""
        head = await super().head(tenant_id)
        return place(self._tail, head.global_sequence, tenant_id=tenant_id)

    async def _head_rows(self, tenant_id: str | None) -> list[EventRecord]:
        return await self._read("create_head_token", _needed(tenant_id))

    async def _at_rows(self, instant: datetime, tenant_id: str | None) -> list[EventRecord]:
        return await self._read("create_token_at", _needed(tenant_id), instant)


def _needed(tenant_id: str | None) -> str:
    if tenant_id is None:
        raise TokenRefusedError(
            "with the ordering tenant_lock, only the events of one tenant have an order",
            remedy="name a tenant_id, or install the store with another ordering",
        )
    return tenant_id


TENANT_LOCK = Ordering(
    name="tenant_lock",
    description="one appending transaction at a time for each tenant; no log of all tenants",
    lossless=True,
    total_order=True,
    all_tenants=False,
    directories=("tenant_lock", "by_number"),
    reader=TenantReader,
    group_turn=(
        "select pg_catalog.count(pg_catalog.pg_advisory_xact_lock(key)) from (select distinct"
        " pg_catalog.hashtextextended(tenant_id, '{schema}.domain_events'::regclass::oid::bigint) as key"
        " from pg_catalog.string_to_table(:tenant_ids::text, e'\\x1e') as tenant (tenant_id) order by key) as keys"
    ),
    turn=(
        "select pg_catalog.pg_advisory_xact_lock("
        "pg_catalog.hashtextextended(:tenant_id, '{schema}.domain_events'::regclass::oid::bigint))"
    ),
)
