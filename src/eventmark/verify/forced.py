"""Interleavings that are forced, not hoped for, and what a store leaves to its clients when it is asked for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncpg

from eventmark.stores import REFUSALS, open_store
from eventmark.verify.checker import Fault
from eventmark.verify.findings import merged
from eventmark.verify.recording import Recording
from eventmark.verify.refusals import left_to_clients
from eventmark.verify.steps import Steps
from eventmark.verify.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """What was found, and how many appends lost a version to one that ran at the same time.

    ``cut_off``: why a step could not be taken to its end; empty where all were. ``left`` maps the invariants that the
    store leaves to its clients to what these must see to.
    """

    faults: Sequence[Fault]
    raced: int
    cut_off: str = ""
    left: Mapping[str, str] = field(default_factory=dict)


NOTHING_FORCED = Forced(faults=(), raced=0)


async def force(dsn: str, schema: str, subject: Subject) -> Forced:
    """What is wrong with the store in ``schema``, which is empty, when it is asked step by step.

    What it does not promise to refuse it is asked apart, in a store made anew: so what follows from taking it is known.
    """
    forced = await _forced(dsn, schema, subject)
    for name in (refusal for refusal in REFUSALS if refusal not in subject.refuses):
        await subject.make(dsn, schema)
        apart = await _forced(dsn, schema, subject, apart=name)
        left, others = left_to_clients(name, apart.faults)
        forced = replace(
            forced, faults=merged(forced.faults, others), cut_off=forced.cut_off or apart.cut_off,
            left={**forced.left, **left},
        )  # fmt: skip
    return forced


async def _forced(dsn: str, schema: str, subject: Subject, *, apart: str = "") -> Forced:
    observer = await asyncpg.connect(dsn)
    try:
        async with await open_store(subject.definition, dsn, schema=schema, pool_max=6) as store:
            steps = Steps(Recording(store, schema), subject, observer)
            faults, raced = await steps.run(apart)
            return Forced(faults=faults, raced=raced, cut_off=steps.cut_off)
    finally:
        await observer.close()
