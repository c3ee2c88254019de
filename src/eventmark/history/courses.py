"""Which runs belong together: a course is one number of one scenario, store, profile, branch and unit, over its runs.

Times are of one machine as well. A run belongs to a group, which is what runs have to share to be compared; the
place of a number is counted among the runs of its group, so that one which is no longer measured grows old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eventmark.errors import UsageError
from eventmark.history.entries import Entry, Measurement
from eventmark.history.units import converted, dimension_of

Group = tuple[str, str, str]  # kind, branch, machine: empty for what is the same on any


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One number over the runs of a group, the oldest first. ``places`` are where it was measured among ``runs``."""

    name: str
    unit: str
    better: str
    exact: bool
    group: Group
    runs: list[Entry]
    places: list[int]
    values: list[float]
    live: bool  # whether the group is still run

    @property
    def entries(self) -> list[Entry]:
        return [self.runs[index] for index in self.places]

    @property
    def missed(self) -> int:
        """How many runs of the group there were since it was last measured."""
        return len(self.runs) - 1 - self.places[-1]

    def holes(self, recent: int) -> list[Entry]:
        """Runs between two measured ones that lack the number: of a table all, of other runs those of late."""
        first, last = self.places[0], self.places[-1]
        measured = set(self.places)
        return [
            run
            for index, run in enumerate(self.runs)
            if first < index < last
            and index not in measured
            and self.name not in run.unjudged
            and (self.name in run.blanks or index >= len(self.runs) - recent)
        ]


def courses(entries: Sequence[Entry], *, recent: int) -> list[Course]:
    """Every number of every group, in the order of the newest run's groups first."""
    result: list[Course] = []
    for exact in (False, True):
        groups: dict[Group, list[Entry]] = {}
        for entry in reversed(entries):
            groups.setdefault(_group(entry, exact=exact), []).append(entry)
        for group, newest_first in groups.items():
            runs = newest_first[::-1]
            live = _is_live(entries, runs[-1], recent, exact=exact)
            result += _of_group(group, runs, exact=exact, live=live)
    return result


def parse_renames(texts: Sequence[str], entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """``OLD=NEW``, each. Of several equals signs, the one counts before which there is a name of the history.

    Raises ``UsageError`` for what is no rename.
    """
    names = {name for entry in entries for name in (*entry.measurements, *entry.unjudged)}
    known = names | {name.rpartition(" ")[0] for name in names}
    renames = []
    for text in texts:
        cuts = [index for index, character in enumerate(text) if character == "="]
        pairs = [(text[:cut].strip(), text[cut + 1 :].strip()) for cut in cuts]
        pairs = [pair for pair in pairs if all(pair)]
        if not pairs:
            raise UsageError(f"{text!r} is not a rename", remedy="write --rename 'OLD=NEW'")
        renames.append(next((pair for pair in pairs if pair[0] in known), pairs[0]))
    return renames


def renamed(entries: Sequence[Entry], renames: Sequence[tuple[str, str]]) -> list[Entry]:
    """The entries with names of old under those of today: of a number, or of all numbers of an operation.

    Raises ``UsageError`` where a run has both: such a rename joins two numbers.
    """
    return [_renamed(entry, renames) for entry in entries]


def in_order(entries: Sequence[Entry], commits: Mapping[str, int] | None = None) -> tuple[list[Entry], str]:
    """The oldest first, and what is to be told about the order.

    By the commits' places in the history of the repository where it holds all of them, so that an old commit that was
    measured late is old; else by time. Entries without a time keep their order, after the others.
    """
    timed = sorted(entries, key=lambda entry: float("inf") if entry.at is None else entry.at)
    named = [entry for entry in timed if entry.commit]
    places = {entry.commit: _place_of(entry.commit, commits or {}) for entry in named}
    unknown = [commit for commit, index in places.items() if index is None]
    if not named or len(unknown) == len(places) or len(named) < len(timed):
        return timed, ""
    if unknown:
        return timed, (
            f"Runs are in the order of time: {len(unknown)} of {len(places)} commits are not in this repository, "
            f"such as {unknown[0][:12]}."
        )
    ordered = sorted(timed, key=lambda entry: places[entry.commit] or 0)
    moved = sum(run is not other for run, other in zip(timed, ordered, strict=True))
    return (
        ordered,
        f"Runs are in the order of their commits, which is not that of time for {moved}." if moved else "",
    )


def _place_of(commit: str, commits: Mapping[str, int]) -> int | None:
    """Of a commit, or of what a commit begins with."""
    if (index := commits.get(commit)) is not None or len(commit) < 7:
        return index
    places = [index for known, index in commits.items() if known.startswith(commit)]
    return places[0] if len(places) == 1 else None


def _group(entry: Entry, *, exact: bool) -> Group:
    return entry.kind, entry.branch, "" if exact else entry.machine


def _is_live(entries: Sequence[Entry], last: Entry, recent: int, *, exact: bool) -> bool:
    """Whether the group still has its turn: fewer than ``recent`` runs ago for each group that ran since."""
    since = entries[max(index for index, entry in enumerate(entries) if entry is last) + 1 :]
    others = {_group(entry, exact=exact) for entry in since}
    return len(since) < recent * (1 + len(others))


def _of_group(group: Group, runs: list[Entry], *, exact: bool, live: bool) -> list[Course]:
    measured: dict[tuple[str, str], list[tuple[int, Measurement]]] = {}
    for index, run in enumerate(runs):
        for name, measurement in run.measurements.items():
            if measurement.exact is exact:
                measured.setdefault((name, dimension_of(measurement.unit)), []).append((index, measurement))
    all_courses = []
    for (name, _), ones in measured.items():
        last = ones[-1][1]
        all_courses.append(
            Course(
                name=name, unit=last.unit, better=last.better, exact=exact, group=group, runs=runs, live=live,
                places=[index for index, _ in ones],
                values=[converted(figure.value, figure.unit, last.unit) for _, figure in ones],
            )
        )  # fmt: skip
    return all_courses


def _renamed(entry: Entry, renames: Sequence[tuple[str, str]]) -> Entry:
    if not renames:
        return entry
    measurements: dict[str, Measurement] = {}
    for name, measurement in entry.measurements.items():
        today = _today(name, renames)
        if today in measurements or (today != name and today in entry.measurements):
            raise UsageError(
                f"{entry.place} has both {name!r} and {today!r}: a rename would join them",
                remedy="rename only what ended when the other began",
            )
        measurements[today] = measurement
    return replace(
        entry,
        measurements=measurements,
        unjudged={_today(name, renames): why for name, why in entry.unjudged.items()},
        blanks=frozenset(_today(name, renames) for name in entry.blanks) - measurements.keys(),
    )


def _today(name: str, renames: Sequence[tuple[str, str]]) -> str:
    """What it is called today: renames follow each other."""
    for old, new in renames:
        if name == old or name.startswith(f"{old} "):
            name = new + name[len(old) :]
    return name
