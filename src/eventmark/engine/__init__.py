"""Our PostgreSQL event storage engine, usable as a library of its own."""

from eventmark.engine.group_append import GroupAppender
from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.processor import EventProcessor
from eventmark.engine.replay import Replayed, replay_aggregate
from eventmark.engine.schema import install_schema, read_marker
from eventmark.engine.stalls import Stall, find_stall
from eventmark.engine.store import PostgresEventStore

__all__ = [
    "ORDERINGS",
    "EventProcessor",
    "GroupAppender",
    "PostgresEventStore",
    "Replayed",
    "Stall",
    "find_stall",
    "install_schema",
    "read_marker",
    "replay_aggregate",
]
