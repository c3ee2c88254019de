"""What a history is made of: an entry per run, with every number that has a course over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eventmark.history.runs import Run
from eventmark.judgement.counters import WORK_TOLERANCES, with_buffers
from eventmark.results.results import RunResult

QUANTILES = ("p50", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number. ``exact`` tells a counter from a time; ``better`` as in ``results.Figure``."""

    value: float
    unit: str
    better: str = "less"
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run. Entries of one ``kind`` are comparable; their times only if they are of one ``machine`` as well."""

    moment: str
    commit: str
    file: str
    kind: str
    machine: str
    measurements: Mapping[str, Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One number over the runs that can be compared, the oldest first."""

    name: str
    unit: str
    better: str
    exact: bool
    values: list[float]
    entries: list[Entry]


def entry_of(run: Run) -> Entry:
    return Entry(
        moment=run.day, commit=run.commit, file=str(run.path), kind=run.kind, machine=run.machine,
        measurements=dict(_measurements(run.result)),
    )  # fmt: skip


def courses(entries: Sequence[Entry]) -> list[Course]:
    """Of each number of the last entry's kind its course, times only over the last entry's machine."""
    if not entries:
        return []
    alike = [entry for entry in entries if entry.kind == entries[-1].kind]
    found = []
    for name in dict.fromkeys(name for entry in alike for name in entry.measurements):
        having = [entry for entry in alike if name in entry.measurements]
        last = having[-1].measurements[name]
        if not last.exact:
            having = [entry for entry in having if entry.machine == entries[-1].machine]
        if having:
            values = [entry.measurements[name].value for entry in having]
            found.append(
                Course(
                    name=name, unit=last.unit, better=last.better, exact=last.exact, values=values, entries=having
                )
            )  # fmt: skip
    return found


def left_out(entries: Sequence[Entry]) -> dict[str, int]:
    """How many entries are of another kind, or of another machine, than the last."""
    last = entries[-1]
    return {
        "of another scenario, store, volume, profile or server": sum(
            entry.kind != last.kind for entry in entries
        ),
        "of another machine, for times": sum(
            entry.kind == last.kind and entry.machine != last.machine for entry in entries
        ),
    }


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
