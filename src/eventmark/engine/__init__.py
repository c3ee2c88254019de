"""Our PostgreSQL event storage engine, usable as a library of its own."""

from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.schema import drop_schema, install_schema, read_marker
from eventmark.engine.store import PostgresEventStore

__all__ = ["ORDERINGS", "PostgresEventStore", "drop_schema", "install_schema", "read_marker"]
