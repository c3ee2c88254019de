"""Every error Eventmark raises on purpose, in one tree.

EventmarkError
├── UsageError                  exit 2: the command line or the configuration is wrong
│   └── StoreDefinitionError    a store folder is wrong; names file and line
├── CannotRunError              exit 4: no server, no permission, no room, ...
└── EventStoreError             an event store refused an operation
    ├── InvalidEventError       the input breaks the contract
    ├── VersionConflictError    somebody else appended to the stream first
    ├── DuplicateEventError     an event with this id is stored already
    │   └── AlreadyStoredError  the whole append is stored already, at these places: it was repeated
    ├── TransactionOrderError   the stream's last event has a younger transaction than the append
    ├── SnapshotRefusedError    a snapshot older than the stored one, or beyond the stream's end
    ├── TokenRefusedError       a token that is damaged, or another store's
    ├── BatchTooLargeError      more bytes than a read may bring; ask for less
    ├── UnreadableEventError    the server cannot write out what is stored; names the event
    ├── ClaimLostError          a processor's segment was claimed by another
    ├── StoreReplacedError      the store has another identity than when it was opened
    ├── StoreUnavailableError   no connection, or refused by the server
    └── OutcomeUnknownError     the connection was lost while the answer was under way
"""

from __future__ import annotations

from uuid import UUID

CONNECTIONS_REMEDY = (
    "raise max_connections or the role's limit, or end other sessions; for a load, lower --pool"
)


class EventmarkError(Exception):
    """Root of every error raised on purpose.

    ``message`` names the thing that is wrong, ``remedy`` what to do about it; both are one line.
    """

    exit_code = 4

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class UsageError(EventmarkError):
    """The command line, a flag or the configuration is wrong."""

    exit_code = 2


class StoreDefinitionError(UsageError):
    """A store folder is wrong. ``path`` and ``line`` (1-based) point at the place."""

    def __init__(self, message: str, *, path: str, line: int = 1, remedy: str = "") -> None:
        super().__init__(f"{path}:{line}: {message}", remedy=remedy)
        self.path = path
        self.line = line


class CannotRunError(EventmarkError):
    """Something outside Eventmark keeps it from running: server, permission, disk, port."""

    exit_code = 4


class EventStoreError(EventmarkError):
    """An event store refused an operation."""


class InvalidEventError(EventStoreError):
    """The input breaks the contract of events, streams or versions. Nothing was written."""


class VersionConflictError(EventStoreError):
    """The stream is not at the expected version. Nothing was written.

    ``expected_version`` and ``actual_version`` are sequence numbers of the last event; 0 is "no event yet". An
    ``actual_version`` below 0: the store does not report it.
    """

    def __init__(
        self, *, tenant_id: str, aggregate_id: str, expected_version: int, actual_version: int
    ) -> None:
        at = f"is at version {actual_version}" if actual_version >= 0 else "is at another version"
        super().__init__(
            f"aggregate {aggregate_id!r} of tenant {tenant_id!r} {at}, expected {expected_version}",
            remedy="load the aggregate again, decide again, append again",
        )
        self.tenant_id = tenant_id
        self.aggregate_id = aggregate_id
        self.expected_version = expected_version
        self.actual_version = actual_version


class DuplicateEventError(EventStoreError):
    """An event with the same id is stored already. Nothing was written."""

    def __init__(self, *, tenant_id: str, event_ids: tuple[UUID, ...]) -> None:
        super().__init__(
            f"an event id of this batch is stored already for tenant {tenant_id!r}: "
            f"one of {', '.join(map(str, event_ids[:3]))}{', ...' if len(event_ids) > 3 else ''}",
            remedy="give each event an id of its own",
        )
        self.tenant_id = tenant_id
        self.event_ids = event_ids


class AlreadyStoredError(DuplicateEventError):
    """The append repeats an earlier one: all its events are stored already, at the same places.

    Nothing was written again. The fields hold the answer of the first append.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        event_ids: tuple[UUID, ...],
        last_sequence_number: int,
        last_global_sequence: int,
        transaction_id: int,
    ) -> None:
        super().__init__(tenant_id=tenant_id, event_ids=event_ids)
        self.message = f"this append is stored already, up to sequence number {last_sequence_number}"
        self.remedy = "go on: there is nothing to repeat and nothing to decide again"
        self.last_sequence_number = last_sequence_number
        self.last_global_sequence = last_global_sequence
        self.transaction_id = transaction_id


class TransactionOrderError(EventStoreError):
    """The stream's last event was written by a younger transaction than the one appending.

    Storing the batch would put it, in consumers' order, before events that precede it in its stream.
    Nothing was written; the same append in a new transaction goes through.
    """


class SnapshotRefusedError(EventStoreError):
    """A snapshot older than the stored one, or beyond the end of its stream. Nothing was written."""


class TokenRefusedError(EventStoreError):
    """A token that is damaged, of an unknown version, of another store or of another epoch."""


class StoreReplacedError(EventStoreError):
    """The store was rebased, replaced or given row-level security since it was opened. Nothing was written.

    The store object refuses everything from then on: what it knows is of a store that is no more.
    """


class StoreUnavailableError(EventStoreError):
    """The server could not be reached or refused the work. What was to be written, if anything, is not."""


class BatchTooLargeError(EventStoreError):
    """What was asked for is of more bytes than one read may bring."""


class UnreadableEventError(EventStoreError):
    """The server cannot write out a stored document: it is larger than the server's memory or limits allow.

    ``event_id``, ``tenant_id``, ``aggregate_id``, ``sequence_number`` and ``global_sequence`` name the event; None
    where it is not known, or where it is a snapshot.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        event_id: UUID | None = None,
        tenant_id: str | None = None,
        aggregate_id: str | None = None,
        sequence_number: int | None = None,
        global_sequence: int | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.event_id = event_id
        self.tenant_id = tenant_id
        self.aggregate_id = aggregate_id
        self.sequence_number = sequence_number
        self.global_sequence = global_sequence


class ClaimLostError(EventStoreError):
    """A segment of a processor belongs to somebody else: its lease ended before it was prolonged."""


class OutcomeUnknownError(EventStoreError):
    """The connection was lost before the answer came: the batch is stored whole or not at all.

    ``event_ids`` are the ids to look for to find out which. Also where the wait for a synchronous standby was
    cancelled: the batch is stored, and a failover may lose it.
    """

    def __init__(self, message: str, *, event_ids: tuple[UUID, ...] = ()) -> None:
        super().__init__(
            message, remedy="ask the store's find_events for these ids, or append the same events again"
        )
        self.event_ids = event_ids
