"""Small histories to plant faults in."""

from __future__ import annotations

from uuid import UUID

import numpy as np

from eventmark.domain import GlobalSequence, TrackingToken, TransactionId
from eventmark.verify.history import (
    ATTEMPT,
    DELIVERED,
    PART,
    STORED,
    Consumption,
    History,
    Outcome,
    WriterLog,
    expanded,
)

STORE = UUID("9b0d6e5e-8a0c-4f0e-9a53-0f0f1f2f3f4f")


def token(transaction_id: int, number: int, *, gaps: tuple[tuple[int, int], ...] = ()) -> TrackingToken:
    return TrackingToken(STORE, 1, TransactionId(transaction_id), GlobalSequence(number), gaps)


def delivered(keys: list[int]) -> np.ndarray:
    return np.array([(key, 0, 0) for key in keys], DELIVERED)


def consumption(
    keys: list[int], *, name: str = "tail", tenant: int | None = None, start: TrackingToken | None = None,
    made_ns: int = 0, **more: object,
) -> Consumption:  # fmt: skip
    return Consumption(name, tenant, start or token(0, 0), made_ns, delivered(keys), **more)  # type: ignore[arg-type]


def history(
    attempts: list[tuple[int, int, int, int, int]],
    *,
    consumptions: list[Consumption],
    stored: list[tuple[int, int, int, int, int]] | None = None,
    total_order: bool = True,
    by_number: bool = False,
    **more: int,
) -> History:
    """``attempts``: (outcome, stream, first key, first sequence, count); the n-th is transaction n, from 1.

    ``stored`` rows are (key, stream, sequence, transaction id, number); by default, what was acknowledged,
    numbered by key.
    """
    log = WriterLog(
        attempts=np.array(
            [(outcome, count == 1, place, place, place + 1) for place, (outcome, _, _, _, count) in enumerate(attempts)],
            ATTEMPT,
        ),
        parts=np.array(
            [(place, stream, key, sequence, count) for place, (_, stream, key, sequence, count) in enumerate(attempts)],
            PART,
        ),
    )  # fmt: skip
    written = expanded(log.parts)
    if stored is None:
        stored = [
            (
                int(row["key"]),
                int(row["stream"]),
                int(row["sequence"]),
                int(row["attempt"]) + 1,
                int(row["key"]),
            )
            for row in written
            if attempts[row["attempt"]][0] == Outcome.OK
        ]
    return History(
        total_order=total_order, by_number=by_number, attempts=log.attempts, written=written,
        stored=np.array(stored, STORED), consumptions=consumptions, **more,
    )  # fmt: skip
