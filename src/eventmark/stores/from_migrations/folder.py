"""A store's folder over somebody's migrations, written: store.toml with the mapping, and the statements."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eventmark.errors import UsageError
from eventmark.stores.catalogue import new_folder
from eventmark.stores.definition import EVENT_COLUMNS, SNAPSHOT_COLUMNS, store_name_of
from eventmark.stores.from_migrations.mapping import Mapped
from eventmark.stores.from_migrations.statements import statement_files
from eventmark.stores.from_migrations.tables import Made
from eventmark.stores.migrations import Rules, upward


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is proposed for a folder of migrations. Without ``events`` there is no table that holds whole events."""

    patterns: tuple[str, ...]
    rules: Rules
    left_out: tuple[str, ...]
    made: Made
    candidates: tuple[Mapped, ...]
    events: Mapped | None
    snapshots: Mapped | None

    @property
    def ordering(self) -> str:
        return (
            "transaction-id" if self.events and "transaction_id" in self.events.guesses else "global-sequence"
        )


def write_folder(directory: Path, proposal: Proposal) -> list[Path]:
    """Write what is proposed into ``directory``, which must be new or empty; the files written."""
    files = {"store.toml": "\n".join(_settings(directory, proposal)) + "\n"}
    if proposal.events is not None:
        statements = statement_files(proposal.events, proposal.snapshots, proposal.made.tables)
        files |= {name: text + "\n" for name, text in statements}
    new_folder(directory)
    try:
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write to {directory}: {error.strerror}", remedy="name another folder"
        ) from error
    return [directory / name for name in files]


def patterns_for(given: Sequence[str]) -> tuple[str, ...]:
    """What was given; where a shell has made files of a pattern, all of a folder's are one again: later ones count.

    Other files are in natural order, without those that undo others.
    """
    if len(given) < 2 or not all(Path(name).is_file() for name in given):
        return tuple(given)
    folders = {Path(name).parent for name in given}
    everything = {path for folder in folders for path in folder.glob("*.sql")}
    if {Path(name) for name in given} in (everything, set(upward(everything))):
        return tuple(str(folder / "*.sql") for folder in sorted(folders))
    return tuple(str(path) for path in upward(map(Path, given)))


def _settings(directory: Path, proposal: Proposal) -> Iterator[str]:
    rules = proposal.rules
    yield "# Proposed from migrations, which are read from where they are: later ones count."
    yield f'name = "{store_name_of(directory)}"'
    yield f"schema = {_list(_relative(directory, pattern) for pattern in proposal.patterns)}"
    if proposal.events is None:
        yield "# No table holds whole events: name a view of them in [tables], and map its columns in [columns]."
        yield f'ordering = "{proposal.ordering}"'
    else:
        yield from _choices(proposal, proposal.events)
    if rules.schemas or rules.leave_out:
        yield "\n[migrations]"
        if rules.schemas:
            yield f"schemas = {_list(rules.schemas)}  # what the migrations call the schema"
        if rules.leave_out:
            yield f"leave_out = {_list(sorted(rules.leave_out))}  # statements that are not run"
    if proposal.events is not None:
        yield from _tables(proposal, proposal.events)


def _choices(proposal: Proposal, events: Mapped) -> Iterator[str]:
    yield f'ordering = "{proposal.ordering}"'
    if proposal.ordering == "global-sequence":
        yield "# Read by position alone, events are lost when transactions overlap: see docs/ordering.md."
    if "tenant_id" not in events.guesses:
        yield 'tenants = "none"'
    yield f"refuses = {_list(_refused(events))}  # what append_events.sql promises to refuse"
    yield "first_sequence = 1  # a guess: what the first event of a stream has; statements count from 1 as well"
    for name in ("event_type", "aggregate_type"):
        if (column := events.column(name)) and column.values:
            yield f"{name}s = {_list(column.values)}"


def _refused(events: Mapped) -> Iterator[str]:
    """What the append that is written refuses: by what it compares, or by a unique key."""
    id_, tenant = events.column("event_id"), events.column("tenant_id")
    keys = [{id_.name}, {id_.name, tenant.name if tenant else ""}] if id_ else []
    if any(index.is_unique and set(index.columns) in keys for index in events.table.indexes):
        yield "repeated ids"
    yield "future versions"
    if "transaction_id" in events.guesses:
        yield "late transactions"


def _tables(proposal: Proposal, events: Mapped) -> Iterator[str]:
    yield "\n[tables]"
    yield f'events = "{events.table.name}"'
    if proposal.snapshots is not None:
        yield f'snapshots = "{proposal.snapshots.table.name}"'
    yield "\n[columns]"
    yield from _columns(EVENT_COLUMNS, events)
    if proposal.snapshots is not None:
        yield "\n[snapshot_columns]"
        yield from _columns(SNAPSHOT_COLUMNS, proposal.snapshots)
    if events.filled:
        yield "\n# Columns that no event of Eventmark's has a value for."
        yield "[seeded_columns]"
        for name, expression in events.filled.items():
            yield f'{name} = "{expression}"'


def _columns(names: Sequence[str], mapped: Mapped) -> Iterator[str]:
    for name in names:
        if guess := mapped.guesses.get(name):
            doubt = "" if guess.is_sure else f"  # a guess, by {guess.by}"
            yield f'{name} = "{guess.column.name}"{doubt}'


def _relative(directory: Path, pattern: str) -> str:
    path = os.path.expanduser(pattern)  # noqa: PTH111 - a pattern is no path
    return path if os.path.isabs(path) else os.path.relpath(path, directory)  # noqa: PTH117


def _list(words: Iterator[str] | Sequence[str]) -> str:
    return "[" + ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words) + "]"


def told(proposal: Proposal) -> Iterator[str]:
    """What a person should know of a proposal, apart from the mapping."""
    events = proposal.events
    for statement in proposal.left_out:
        yield f"not run: {statement}"
    if len(proposal.patterns) > 1 and not any("*" in pattern for pattern in proposal.patterns):
        yield "migrations: named one by one, so later ones do not count; give a folder, or a pattern in quotes"
    if events is None:
        return
    if proposal.ordering == "global-sequence":
        yield (
            "ordering: no column of type xid8, so consumers read by position alone, which loses events when"
            " transactions overlap (docs/ordering.md)"
        )
    if "tenant_id" not in events.guesses:
        yield 'tenants: no column for them; tenants = "none"'
    yield "first_sequence: migrations do not show it; 1 is a guess"
    for name, expression in events.filled.items():
        yield f"column {name}: no event has a value for it, filled with {expression}"
    for reference in events.references():
        yield f"table {reference.table}: events refer to it; seed.sql and append_events.sql fill it"
    names = [
        candidate.table.name
        for candidate in proposal.candidates
        if candidate is not events and not candidate.missing
    ]
    if names:
        yield f"table {events.table.name}: chosen before {', '.join(names)}; --table names another"
    if proposal.made.functions:
        yield (
            f"functions that insert: {', '.join(proposal.made.functions)}; if your application appends by one, write it"
            " into append_events.sql"
        )
    if proposal.snapshots is None and (
        tables := [name for name in proposal.made.tables if "snapshot" in name.lower()]
    ):
        yield f"snapshots: the columns of {', '.join(tables)} could not be mapped; left out"


def refusal(proposal: Proposal, directory: Path) -> UsageError:
    """Why no statements were written, and which to write."""
    roles: Mapping[str, str] = {
        "global_sequence_id": "a position", "sequence_number": "a version", "aggregate_id": "a stream",
        "event_type": "a type", "payload": "a payload",
    }  # fmt: skip
    likely = [candidate for candidate in proposal.candidates if len(candidate.missing) < len(roles) - 1][:3]
    facts = [
        f"{mapped.table.name} lacks {' and '.join(roles[name] for name in mapped.missing)}"
        for mapped in likely
    ]
    unfilled = [
        f"column {name} of {mapped.table.name} cannot be filled"
        for mapped in likely
        if not mapped.missing
        for name in mapped.unfilled
    ]
    why = "; ".join(unfilled or facts) or "no table looks like one of events"
    return UsageError(
        f"no table of these migrations holds whole events: {why}",
        remedy=f"write into {directory} these four statements over your tables: append_events.sql, load_aggregate.sql,"
        " stream_events.sql and create_head_token.sql; and into store.toml the events' table, or a view of them, and"
        " its columns (docs/your-own-store.md)",
    )
