"""What a history is made of: an entry per run, with every number that has a course over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventmark.history.runs import KeptRun
from eventmark.history.times import read_times
from eventmark.judgement.counters import WORK_TOLERANCES, with_buffers
from eventmark.results.results import RunResult

QUANTILES = ("p50", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One finite number. ``exact`` tells a counter from a time; ``better`` as in ``results.Figure``."""

    value: float
    unit: str
    better: str = "less"
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run. Entries of one ``kind`` and ``branch`` are comparable; their times only if they are of one ``machine``.

    ``at`` is its time in seconds since 1970, None where only its place among the entries is known. ``place`` is where
    it stands, for messages. ``unjudged`` tells of what has no number that can be judged why, by name; ``blanks`` are
    names for which a table has a cell with nothing in it.
    """

    at: float | None
    moment: str
    commit: str
    file: str
    place: str
    kind: str
    machine: str
    measurements: Mapping[str, Measurement]
    branch: str = ""
    unjudged: Mapping[str, str] = field(default_factory=dict)
    blanks: frozenset[str] = frozenset()


def entry_of(run: KeptRun) -> Entry:
    at = read_times([run.result.started_at], lambda _: f"{run.path}, started_at")[0]
    return Entry(
        at=at.timestamp(), moment=run.day, commit=run.commit, file=str(run.path), place=str(run.path), kind=run.kind,
        machine=run.machine, measurements=dict(_measurements(run.result)),
    )  # fmt: skip


def _measurements(result: RunResult) -> Iterator[tuple[str, Measurement]]:
    for name, operation in result.operations.items():
        for quantile in QUANTILES:
            if (value := operation.quantile_ms(quantile)) is not None:
                yield f"{name} {quantile}", Measurement(value=value, unit="ms")
        work = with_buffers(operation.work)
        for counter in WORK_TOLERANCES:
            if counter in work:
                yield f"{name} {counter}", Measurement(value=work[counter], unit="", exact=True)
    for name, figure in result.figures.items():
        yield (
            name,
            Measurement(value=figure.value, unit=figure.unit, better=figure.better, exact=figure.exact),
        )
