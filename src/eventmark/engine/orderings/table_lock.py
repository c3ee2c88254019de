"""One writer at a time: numbers are drawn, and commit, in one order.

An append takes the store's advisory lock before it draws a number and holds it until its transaction ends.
The price: appends wait for each other, and for their flushes, one by one. Advisory locks need no privilege:
whoever may connect to the database can take this one as well, and no append goes on until it is given back.
"""

from __future__ import annotations

from eventmark.engine.orderings.by_number import NumberReader
from eventmark.engine.orderings.ordering import Ordering

TABLE_LOCK = Ordering(
    name="table_lock",
    description="one appending transaction at a time in the whole store",
    lossless=True,
    total_order=True,
    all_tenants=True,
    directories=("by_number",),
    reader=NumberReader,
    # Hashed: applications lock small numbers of their own in the same database, and may be as small as an oid.
    turn=(
        "select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended("
        "'eventmark', '{schema}.domain_events'::regclass::oid::bigint))"
    ),
)
