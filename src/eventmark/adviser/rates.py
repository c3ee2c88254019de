"""Appends per second and per second of the server's processor, of two sides in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from eventmark.adviser.candidate import Candidate
from eventmark.adviser.copies import Copies
from eventmark.operations.pgbench import pgbench_rate
from eventmark.server.processes import children_count, ended_children_cpu_s, wait_for_children
from eventmark.stats.ratios import Ratio, paired_ratio

SESSIONS_END_S = 2.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Ratios:
    """The changed side over the other. ``cpu`` is of appends per second of processor, None where it is not known.

    ``reads`` is of calls one after the other, by operation.
    """

    rate: Ratio
    cpu: Ratio | None
    reads: Mapping[str, Ratio]


@dataclass(frozen=True, slots=True)
class _Run:
    """Appends per second, and per second of the server's processor."""

    rate: float
    per_cpu_s: float | None


def measured_ratios(
    copies: Copies,
    pairs: int,
    *,
    candidate: Candidate | None = None,
    settings: Mapping[str, str] | None = None,
    with_reads: bool = True,
) -> Ratios:
    """Both copies by pgbench's clients in turns; ``settings`` are of the changed side's sessions.

    Reads come first: they meet the copies without what appends add. Raises ``CannotRunError``.
    """
    options = session_options(settings or {})
    reads = _read_ratios(copies, pairs, options) if with_reads else {}
    plain, changed = copies.scripts(copies.plain), copies.scripts(copies.changed, candidate)
    base, other = _in_turns(
        lambda: _run(copies, copies.plain, plain),
        lambda: _run(copies, copies.changed, changed, options),
        pairs,
    )
    cpu = [[run.per_cpu_s for run in side if run.per_cpu_s] for side in (base, other)]
    known = len(cpu[0]) == len(cpu[1]) == pairs
    return Ratios(
        rate=paired_ratio([run.rate for run in other], [run.rate for run in base]),
        cpu=paired_ratio(cpu[1], cpu[0]) if known else None,
        reads=reads,
    )


def _read_ratios(copies: Copies, pairs: int, options: str) -> dict[str, Ratio]:
    """By operation: calls per second of one client, so that it is how many times as quick a call is."""
    server, seconds = copies.job.server, copies.effort.seconds
    plain, changed = copies.read_scripts(copies.plain), copies.read_scripts(copies.changed)

    def rate(schema: str, scripts: list[str], options: str = "") -> float:
        return pgbench_rate(server.confined(schema), scripts, seconds=seconds, clients=1, options=options)

    return {
        name: ratio_in_turns(
            partial(rate, copies.plain, plain[name]), partial(rate, copies.changed, changed[name], options), pairs
        )
        for name in plain
    }  # fmt: skip


def session_options(settings: Mapping[str, str]) -> str:
    """As a client's ``PGOPTIONS``."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _in_turns(
    unchanged: Callable[[], _Answer], changed: Callable[[], _Answer], pairs: int
) -> tuple[list[_Answer], list[_Answer]]:
    """Each called so many times, every other pair the other way round: A B B A and so on."""
    sides: tuple[list[_Answer], list[_Answer]] = ([], [])
    for number in range(pairs):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            sides[side].append((unchanged, changed)[side]())
    return sides


def ratio_in_turns(unchanged: Callable[[], float], changed: Callable[[], float], pairs: int) -> Ratio:
    before, after = _in_turns(unchanged, changed, pairs)
    return paired_ratio(after, before)


def _run(copies: Copies, schema: str, scripts: list[str], options: str = "") -> _Run:
    """The processor time is that of sessions that have ended: pgbench's, when it has ended."""
    server, seconds = copies.job.server.confined(schema), copies.effort.seconds
    if server.pid is None:
        return _Run(pgbench_rate(server, scripts, seconds=seconds, options=options), None)
    sessions, before_s = children_count(server.pid), ended_children_cpu_s(server.pid)
    rate = pgbench_rate(server, scripts, seconds=seconds, options=options)
    wait_for_children(server.pid, sessions, timeout_s=SESSIONS_END_S)
    after_s = ended_children_cpu_s(server.pid)
    if before_s is None or after_s is None or after_s <= before_s:
        return _Run(rate, None)
    return _Run(rate, rate * max(round(seconds), 1) / (after_s - before_s))
