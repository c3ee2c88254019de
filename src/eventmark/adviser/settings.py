"""Server settings tried: each by sessions of their own with it, compared with sessions without it.

Nothing is changed on the server. What a session cannot set for itself is not tried, and said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from eventmark.adviser.ablate import better_cases, measure_work, with_generic_plans, worse_cases
from eventmark.adviser.candidate import WORTH_RATIO
from eventmark.adviser.copies import Copies
from eventmark.adviser.rates import ratio_in_turns, session_options
from eventmark.errors import CannotRunError
from eventmark.operations.pgbench import pgbench_rate
from eventmark.stats.ratios import Ratio

COMMIT_DELAY_US = 100
SETTLED_SCRIPTS, SETTLED_S = 2, 4.0
"""Of a run that shows what the choice of plans does in service: few statements, so that hardly any of their executions
are among the first five, whose plans are custom ones."""

NEEDS_RESTART = ("shared_buffers", "wal_buffers", "huge_pages", "io_method")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingTrial:
    """A setting as it is and as it was tried.

    With ``generic_plans``, what custom plans do is held against what the generic ones do that take their place.

    ``rate`` is appends per second with it over without. ``reads`` counts plans that do less and more with it.
    ``weakens`` is what it costs besides time; what weakens durability is never recommended.
    """

    name: str
    now: str
    value: str
    reason: str
    weakens: str = ""
    after_checkpoint: bool = False
    by_plans: bool = False
    generic_plans: bool = False
    rate: Ratio | None = None
    better_plans: int = 0
    worse_plans: int = 0
    refusal: str = ""

    @property
    def is_advice(self) -> bool:
        if self.refusal or self.weakens or self.worse_plans:
            return False
        gains = self.rate is not None and self.rate.is_above(1.0) and self.rate.value >= WORTH_RATIO
        return gains or self.better_plans > 0


@dataclass(slots=True, kw_only=True)
class SettingTrials:
    """The trials, as they are made.

    Once ``checkpoint_tried``, the WAL of an append right after a checkpoint and when pages have been written whole.
    """

    trials: list[SettingTrial] = field(default_factory=list)
    checkpoint_tried: bool = False
    wal_bytes_after_checkpoint: float | None = None
    wal_bytes_later: float | None = None
    checkpoint_timeout: str = ""
    max_wal_size: str = ""

    @property
    def advised(self) -> dict[str, str]:
        """The values worth setting, by name."""
        return {trial.name: trial.value for trial in self.trials if trial.is_advice}


def try_settings(copies: Copies, into: SettingTrials) -> None:
    """On the plain copy. Raises ``CannotRunError`` where there is no pgbench."""
    current, copy_mib = copies.ask(_current)
    candidates = [*setting_candidates(current), *_not_tried(current, copy_mib)]
    for number, candidate in enumerate(candidates):
        copies.progress("try settings", number, len(candidates))
        into.trials.append(candidate if candidate.refusal else _try(copies, candidate))
    copies.progress("try settings", len(candidates), len(candidates))
    into.wal_bytes_after_checkpoint, into.wal_bytes_later = _checkpoint_effect(copies)
    into.checkpoint_timeout, into.max_wal_size = (
        current[name][0] for name in ("checkpoint_timeout", "max_wal_size")
    )
    into.checkpoint_tried = True


def setting_candidates(current: Mapping[str, tuple[str, Sequence[str]]]) -> list[SettingTrial]:
    """The settings that stand at a value worth leaving, by the current values and what else each may be."""
    allowed = current["wal_compression"][1]
    compression = next((method for method in ("lz4", "zstd", "pglz", "on") if method in allowed), "on")
    wanted = (
        SettingTrial(
            name="wal_compression", now="off", value=compression, reason="smaller page images after a checkpoint",
            after_checkpoint=True,
        ),
        SettingTrial(
            name="commit_delay", now="0", value=str(COMMIT_DELAY_US),
            reason="more commits in one flush, each a little later",
        ),
        SettingTrial(
            name="plan_cache_mode", now="auto", value="force_generic_plan", reason="no planning for each call's values",
            generic_plans=True,
        ),
        SettingTrial(
            name="jit", now="on", value="off", reason="short statements run sooner than they compile", by_plans=True,
        ),
        SettingTrial(
            name="random_page_cost", now="4", value="1.1", reason="the cost of a random page on solid state disks",
            by_plans=True,
        ),
        SettingTrial(
            name="synchronous_commit", now="on", value="off", reason="appends do not wait for the disk",
            weakens="durability: appends that were acknowledged may be lost in a crash",
        ),
    )  # fmt: skip
    return [setting for setting in wanted if current.get(setting.name, ("", ()))[0] == setting.now]


def _not_tried(current: Mapping[str, tuple[str, Sequence[str]]], copy_mib: int) -> list[SettingTrial]:
    reasons = dict.fromkeys(NEEDS_RESTART, "needs a restart")
    reasons["shared_buffers"] += f"; a copy of {copy_mib} MiB would not show what it does for a larger store"
    return [
        SettingTrial(name=name, now=current[name][0], value="", reason="", refusal=reason)
        for name, reason in reasons.items()
        if name in current
    ]


async def _current(
    copies: Copies, connection: asyncpg.Connection[Any]
) -> tuple[dict[str, tuple[str, Sequence[str]]], int]:
    """The server's settings, and MiB of a copy."""
    rows = await connection.fetch(
        "select name, current_setting(name) as value, coalesce(enumvals, '{}') as allowed from pg_settings"
    )
    sizes = await copies.sizes(connection, copies.plain)
    return (
        {row["name"]: (row["value"], row["allowed"]) for row in rows},
        round((sizes.table_bytes + sizes.index_bytes) / 2**20),
    )


def _try(copies: Copies, trial: SettingTrial) -> SettingTrial:
    """Measured as its kind asks; one that this role or server refuses says so."""
    try:
        if trial.by_plans:
            return copies.ask(_by_plans, trial)
        if not copies.effort.single_pairs and trial.name != "synchronous_commit":
            return replace(trial, refusal="the quick profile tries one setting alone")
        if trial.generic_plans:
            trial = replace(trial, worse_plans=copies.ask(_worse_generic_plans))
        return replace(trial, rate=_by_rate(copies, trial))
    except (CannotRunError, asyncpg.PostgresError) as error:
        return replace(trial, refusal=f"refused: {str(error).partition(chr(10))[0]}")


def _by_rate(copies: Copies, trial: SettingTrial) -> Ratio:
    server, scripts = copies.job.server.confined(copies.plain), copies.scripts(copies.plain)
    seconds = copies.effort.seconds
    if trial.generic_plans:
        scripts, seconds = copies.scripts(copies.plain, count=SETTLED_SCRIPTS), max(SETTLED_S, seconds)

    def run(options: str) -> float:
        if trial.after_checkpoint:
            copies.ask(_checkpoint)
        return pgbench_rate(server, scripts, seconds=seconds, options=options)

    pairs = max(copies.effort.single_pairs, 1)
    return ratio_in_turns(lambda: run(""), lambda: run(session_options({trial.name: trial.value})), pairs)


async def _by_plans(copies: Copies, connection: asyncpg.Connection[Any], trial: SettingTrial) -> SettingTrial:
    statements = copies.definition.statements
    await copies.vacuum(connection, copies.plain)
    cases = await copies.cases(connection, copies.plain)
    before = await measure_work(connection, statements, copies.plain, cases)
    await copies.vacuum(connection, copies.plain)
    await connection.execute("select set_config($1, $2, false)", trial.name, trial.value)
    after = await measure_work(connection, statements, copies.plain, cases)
    return replace(
        trial,
        better_plans=len(better_cases(before, after)),
        worse_plans=len(worse_cases(before, after)),
    )


async def _worse_generic_plans(copies: Copies, connection: asyncpg.Connection[Any]) -> int:
    await copies.vacuum(connection, copies.plain)
    cases = await copies.cases(connection, copies.plain)
    work = await measure_work(connection, copies.definition.statements, copies.plain, cases)
    return len(worse_cases(work, with_generic_plans(work)))


def _checkpoint_effect(copies: Copies) -> tuple[float | None, float | None]:
    """WAL bytes of an append in the moments after a checkpoint, and in those that follow; None where unknown."""
    try:
        copies.ask(_checkpoint)
        return _wal_per_append(copies), _wal_per_append(copies)
    except (CannotRunError, asyncpg.PostgresError):
        return None, None


def _wal_per_append(copies: Copies) -> float:
    before = copies.ask(_wal_place)
    seconds = copies.effort.seconds
    rate = pgbench_rate(
        copies.job.server.confined(copies.plain), copies.scripts(copies.plain), seconds=seconds
    )
    return (copies.ask(_wal_place) - before) / (rate * max(round(seconds), 1))


async def _checkpoint(_: Copies, connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("checkpoint")


async def _wal_place(_: Copies, connection: asyncpg.Connection[Any]) -> int:
    return int(await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
