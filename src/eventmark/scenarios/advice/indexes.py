"""Indexes that are too many or too few: found, each tried, and those that are sound tried together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from eventmark.plans.indexes import drop_candidates
from eventmark.plans.missing import missing_indexes
from eventmark.plans.tables import read_table
from eventmark.plans.work import indexes_used
from eventmark.scenarios.advice.candidate import Candidate, Trial, with_index, without_index
from eventmark.scenarios.advice.copies import Copies
from eventmark.scenarios.advice.trial import State, examine_state, rate_single, try_undone
from eventmark.scenarios.advice.use import indexes_of, scans_by_operations


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUse:
    """An index as it is: its size, and how often the store's operations and plans searched it."""

    name: str
    definition: str
    bytes: int
    scans: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Trials of single changes, and those of them that are sound one on top of the other."""

    trials: tuple[Trial, ...] = ()
    chosen: tuple[Candidate, ...] = ()
    use: tuple[IndexUse, ...] = ()


def try_indexes(copies: Copies) -> Tried:
    """On copies just made. Raises ``CannotRunError``."""
    found = asyncio.run(_try_counters(copies))
    total = len(found.trials)
    rated = []
    for number, trial in enumerate(found.trials):
        copies.progress("try indexes", number, total)
        rated.append(rate_single(copies, trial) if trial.is_sound else trial)
    copies.progress("try indexes", total, total)
    return replace(found, trials=tuple(rated))


async def _try_counters(copies: Copies) -> Tried:
    async with copies.connection() as connection:
        scans = await scans_by_operations(copies, connection, copies.changed)
        await copies.vacuum(connection, copies.changed)
        before = await examine_state(copies, connection, copies.changed)
        await copies.vacuum(connection, copies.changed)
        indexes = await indexes_of(copies, connection, copies.changed)
        scans = {one.name: scans.get(one.name, 0) + _searched(before, one.name) for one in indexes}
        named = {statement.index for statement in copies.definition.statements.values()}
        columns = {
            table: [one.name for one in (await read_table(connection, copies.changed, table)).columns]
            for table in copies.tables
        }
        candidates = [
            *(without_index(one) for one in drop_candidates(indexes, named=named, scans=scans)),
            *(with_index(one) for one in missing_indexes(before.work, columns, indexes)),
        ]
        trials = []
        for candidate in candidates:
            trials.append(_judged(await try_undone(copies, connection, candidate, before)))
        chosen = await choose(copies, connection, before, trials)
    use = [
        IndexUse(name=one.name, definition=one.definition, bytes=one.bytes, scans=scans[one.name])
        for one in indexes
    ]
    return Tried(trials=tuple(trials), chosen=tuple(chosen), use=tuple(use))


def _judged(trial: Trial) -> Trial:
    """An index is only added for reads that it makes cheaper."""
    if trial.candidate.adds_work and not trial.refusal and not trial.better:
        return replace(trial, refusal="no statement does less with it")
    return trial


async def choose(
    copies: Copies, connection: asyncpg.Connection[Any], before: State, trials: Iterable[Trial]
) -> list[Candidate]:
    """The sound ones, what saves most first, each as far as nothing gets worse with those chosen before it.

    Of two indexes that stand in for each other, either can go, but not both.
    """
    sound = [trial.candidate for trial in sorted(trials, key=_most_saved_first) if trial.is_sound]
    if len(sound) < 2 or await _is_sound_with(copies, connection, before, sound[-1], sound[:-1]):
        return sound
    chosen = sound[:1]
    for candidate in sound[1:]:
        if await _is_sound_with(copies, connection, before, candidate, chosen):
            chosen.append(candidate)
    return chosen


def _most_saved_first(trial: Trial) -> tuple[bool, float, int]:
    smaller = 0
    if trial.sizes_before and trial.sizes_after:
        smaller = trial.sizes_before.index_bytes - trial.sizes_after.index_bytes
    return trial.candidate.adds_work, -trial.wal_saved_bytes, -smaller


async def _is_sound_with(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    before: State,
    candidate: Candidate,
    others: Sequence[Candidate],
) -> bool:
    trial = await try_undone(copies, connection, candidate, before, with_others=others)
    return trial.is_sound


def _searched(state: State, index: str) -> int:
    """In how many of the plans the index was searched."""
    return sum(index in indexes_used(one.plan) for one in state.work.values() if one.plan)
