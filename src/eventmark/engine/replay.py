"""An aggregate's state: from its snapshot and the events after it, or from all events where that cannot be had."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

from eventmark.domain import EventStore, Snapshot, StoredEvent
from eventmark.errors import EventStoreError

log = logging.getLogger(__name__)

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Replayed(Generic[State]):
    """A state after event ``version`` (0: there is none yet), ``from_version`` of which came from a snapshot."""

    state: State
    version: int
    from_version: int


async def replay_aggregate(
    store: EventStore,
    tenant_id: str,
    aggregate_id: str,
    *,
    begin: Callable[[], State],
    apply: Callable[[State, StoredEvent], State],
    restore: Callable[[Snapshot], State],
    revisions: Collection[str] = ("1.0",),
) -> Replayed[State]:
    """The aggregate's state now: ``apply`` on each event after ``restore(snapshot)``, else after ``begin()``.

    A snapshot saves time and holds nothing of its own. One that cannot be used is passed over with a warning in
    the log, and all events are replayed: one of a ``payload_revision`` other than ``revisions``, one that cannot
    be read, one that ``restore`` fails on with any exception, and one beyond its stream's end. Raises what
    ``load_aggregate`` raises, and what ``apply`` does.
    """
    usable = await _usable_snapshot(store, tenant_id, aggregate_id, restore, revisions)
    if usable is not None:
        state, version = usable
        # With the snapshot's own event, to see that the stream reaches as far.
        first, *following = await store.load_aggregate(tenant_id, aggregate_id, from_sequence=version) or (
            None,
        )
        if first is not None and first.sequence_number == version:
            return Replayed(reduce(apply, following, state), version + len(following), version)
        _warn(tenant_id, aggregate_id, f"it is at event {version}, beyond the end of the stream")
    events = await store.load_aggregate(tenant_id, aggregate_id)
    return Replayed(reduce(apply, events, begin()), len(events), 0)


async def _usable_snapshot(
    store: EventStore,
    tenant_id: str,
    aggregate_id: str,
    restore: Callable[[Snapshot], State],
    revisions: Collection[str],
) -> tuple[State, int] | None:
    try:
        snapshot = await store.read_snapshot(tenant_id, aggregate_id)
    except EventStoreError as error:  # a store that is away says so again when it is asked for the events
        _warn(tenant_id, aggregate_id, f"it cannot be read: {error.message}")
        return None
    if snapshot is None:
        return None
    if snapshot.payload_revision not in revisions:
        _warn(tenant_id, aggregate_id, f"its revision is {snapshot.payload_revision!r}")
        return None
    try:
        return restore(snapshot), snapshot.sequence_number
    except Exception as error:  # the caller's own code, on data of whatever age
        _warn(tenant_id, aggregate_id, f"no state can be made of it: {type(error).__name__}")
        return None


def _warn(tenant_id: str, aggregate_id: str, reason: str) -> None:
    log.warning(
        "the snapshot of aggregate %r of tenant %r is passed over and all events are replayed: %s",
        aggregate_id, tenant_id, reason,
    )  # fmt: skip
