"""One attempt to write, as its writer saw it, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from eventmark.errors import EventStoreError, OutcomeUnknownError, VersionConflictError
from eventmark.verify.history import Outcome

ERROR_LENGTH_MAX = 300


class RolledBack(Exception):
    """Ends a transaction that is meant to roll back."""


@dataclass(slots=True)
class Attempt:
    """One transaction's events: (stream, first key, first sequence number, count) of each part."""

    single: bool
    invoked_ns: int = field(default_factory=time.monotonic_ns)
    commit_ns: int = 0
    parts: list[tuple[int, int, int, int]] = field(default_factory=list)


def outcome_after(error: Exception | None, errors: list[str]) -> Outcome:
    """How an attempt ended that ended with this error. One that no store may raise is kept in ``errors``."""
    if error is None:
        return Outcome.OK
    if isinstance(error, VersionConflictError):
        return Outcome.CONFLICT
    if isinstance(error, OutcomeUnknownError):
        return Outcome.UNKNOWN
    if not isinstance(error, EventStoreError | RolledBack):
        errors.append(described(error))
        return Outcome.UNKNOWN
    return Outcome.FAILED


def described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
