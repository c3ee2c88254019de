"""Every change of the schema tried: by itself, then those that are sound together, as one change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from eventmark.adviser.candidate import Candidate, Trial, combined
from eventmark.adviser.copies import Copies
from eventmark.adviser.indexes import IndexUse, index_candidates, judged_by_reads
from eventmark.adviser.rates import measured_ratios
from eventmark.adviser.server_use import searched_indexes
from eventmark.adviser.table_facts import read_table
from eventmark.adviser.trial import (
    SchemaState,
    examine_state,
    rate_single,
    try_kept,
    try_undone,
    with_rate,
)
from eventmark.adviser.triggers import different_rows, without_checks, without_trigger
from eventmark.adviser.use import scans_by_operations
from eventmark.adviser.variants import REBUILT, not_tried, read_subject, variants
from eventmark.adviser.wal import AppendWal, append_wal
from eventmark.errors import CannotRunError
from eventmark.stats.ratios import Ratio


@dataclass(slots=True, kw_only=True)
class SchemaTrials:
    """The trials of a store's schema, as they are made.

    ``alike`` is the plain copy against the other one with nothing changed, None until it was measured: how well two
    copies can be told apart at all; ``reads_alike`` the same of each operation that reads. ``searched`` are the indexes
    that each of these searches. ``chosen`` are the sound changes, ``together`` the trial of all of them.
    """

    trials: list[Trial] = field(default_factory=list)
    use: Sequence[IndexUse] = ()
    wal: AppendWal = field(default_factory=AppendWal)
    searched: Mapping[str, Collection[str]] = field(default_factory=dict)
    chosen: Sequence[Candidate] = ()
    alike: Ratio | None = None
    reads_alike: Mapping[str, Ratio] = field(default_factory=dict)
    together: Trial | None = None


def try_changes(copies: Copies, into: SchemaTrials) -> None:
    """Makes the copies, as often as trials use them up. Raises ``CannotRunError``."""
    copies.make()
    copies.ask(_try_small, into)
    _rate(copies, into.trials)
    large = _try_large(copies, into)
    into.chosen = [*chosen_large(large), *into.chosen]
    copies.make()
    alike = measured_ratios(copies, copies.effort.pairs)
    into.alike, into.reads_alike = alike.rate, alike.reads
    if into.chosen:
        into.together = _try_together(copies, into.chosen)


def chosen_large(trials: Sequence[Trial]) -> list[Candidate]:
    """The sound ones that are quicker: of each group the one that gains most, those that make the table anew first.

    A table made anew has the columns that it had before all changes: others are applied on top of it.
    """
    worth = [trial for trial in trials if trial.is_sound and trial.is_quicker and not trial.is_slower]
    best: dict[str, Trial] = {}
    for quickest in sorted(worth, key=lambda trial: -trial.mean_gain):
        best.setdefault(quickest.candidate.group or quickest.candidate.name, quickest)
    return sorted((trial.candidate for trial in best.values()), key=lambda trial: trial.group != REBUILT)


async def _try_small(copies: Copies, connection: asyncpg.Connection[Any], into: SchemaTrials) -> None:
    """Changes that are made and undone in moments: indexes, triggers, checks. Counters only."""
    operations = await scans_by_operations(copies, connection, copies.changed)
    await copies.analyze(connection, copies.changed)
    await copies.vacuum(connection, copies.changed)
    before = await examine_state(copies, connection, copies.changed)
    await copies.vacuum(connection, copies.changed)
    into.searched = searched_indexes(before.work)
    into.wal = await append_wal(copies, connection, copies.changed)
    await copies.vacuum(connection, copies.changed)
    candidates, into.use = await index_candidates(copies, connection, before, operations, into.wal)
    for candidate in candidates:
        into.trials.append(judged_by_reads(await try_undone(copies, connection, candidate, before)))
    into.trials += await _try_row_work(copies, connection, before)
    into.chosen = await choose(copies, connection, before, into.trials)


async def _try_row_work(
    copies: Copies, connection: asyncpg.Connection[Any], before: SchemaState
) -> list[Trial]:
    """Without row triggers, each by itself, and without checks."""
    trials = []
    table = await read_table(connection, copies.changed, copies.definition.events_table)
    for trigger in table.triggers:
        if trigger.is_per_row:
            candidate = without_trigger(table, trigger)
            trial = await try_undone(copies, connection, candidate, before)
            if trial.is_sound:
                trial = replace(trial, refusal=await different_rows(copies, connection, table, candidate))
            trials.append(trial)
    if not trials:
        trials.append(not_tried("trigger", "row triggers", "the table has none"))
    if table.checks:
        trials.append(await try_undone(copies, connection, without_checks(table), before))
    else:
        trials.append(not_tried("check", "check constraints", "the table has none"))
    return trials


async def choose(
    copies: Copies, connection: asyncpg.Connection[Any], before: SchemaState, trials: Iterable[Trial]
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
    before: SchemaState,
    candidate: Candidate,
    others: Sequence[Candidate],
) -> bool:
    trial = await try_undone(copies, connection, candidate, before, with_others=others)
    return trial.is_sound


def _rate(copies: Copies, trials: list[Trial]) -> None:
    """Give the trials that were made their rates, where single changes are measured."""
    for number, trial in enumerate(trials):
        copies.progress("try changes", number, len(trials))
        if not trial.refusal and not trial.worse and copies.effort.single_pairs:
            trials[number] = rate_single(copies, trial)
    copies.progress("try changes", len(trials), len(trials))


def _try_large(copies: Copies, into: SchemaTrials) -> list[Trial]:
    """Changes that make the table anew, each on copies just made; they are the last of all trials."""
    candidates = variants(copies.ask(read_subject, copies.changed))
    for number, candidate in enumerate(candidates):
        copies.progress("try variants", number, len(candidates))
        if isinstance(candidate, Trial):
            into.trials.append(candidate)
        elif not copies.effort.single_pairs:
            into.trials.append(
                not_tried(candidate.kind, candidate.name, "the quick profile rebuilds no table")
            )
        else:
            into.trials.append(_try_variant(copies, candidate))
    copies.progress("try variants", len(candidates), len(candidates))
    return into.trials[len(into.trials) - len(candidates) :]


def _try_variant(copies: Copies, candidate: Candidate) -> Trial:
    copies.make()
    trial = copies.ask(try_kept, candidate)
    if trial.refusal:
        return trial
    try:
        return with_rate(copies, trial, copies.effort.single_pairs)
    except CannotRunError as error:
        return replace(trial, refusal=f"appends fail with it: {error.message}")


def try_everything(copies: Copies, chosen: Sequence[Candidate], settings: Mapping[str, str]) -> Trial:
    """The chosen changes and settings at once, on copies made anew. Raises ``CannotRunError``."""
    copies.make()
    changes = combined(chosen)
    both = replace(
        changes, name=f"all of the following together, settings as well ({len(chosen) + len(settings)})"
    )
    trial = copies.ask(try_kept, both, settings)
    return trial if trial.refusal else with_rate(copies, trial, copies.effort.pairs, settings)


def _try_together(copies: Copies, chosen: Sequence[Candidate]) -> Trial:
    """On copies that have been appended to alike."""
    trial = copies.ask(try_kept, combined(chosen))
    return trial if trial.refusal else with_rate(copies, trial, copies.effort.pairs)
