"""Which of somebody's tables holds the events, and which column is what: guessed by names, types and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from eventmark.stores.from_migrations.tables import Column, Made, Reference, Table
from eventmark.stores.shape import TAKEN_TYPES

NEEDED = ("global_sequence_id", "sequence_number", "aggregate_id", "event_type", "payload")
"""Columns that a table of events cannot be without."""

# What event stores call their columns, without underscores; the likeliest first.
_NAMES = {
    "global_sequence_id": "globalposition globalsequenceid globalsequence globalindex sequenceid seqid ordering "
    "notificationid position no seq offset id",
    "transaction_id": "transactionid xactid txid writtenby",
    "sequence_number": "streamversion aggregateversion originatorversion streamposition aggregatesequence "
    "sequencenumber sequencenr seqnr version playhead revision streamrevision eventnumber position",
    "tenant_id": "tenantid tenant organizationid organisationid orgid workspaceid companyid customerid accountid",
    "aggregate_id": "aggregateid aggregateidentifier aggregaterootid streamid streamname streamuuid originatorid "
    "persistenceid entityid aggregate stream uuid",
    "event_id": "eventid eventidentifier eventuuid messageid id uuid",
    "event_type": "eventtype eventname messagetype topic payloadtype eventsermanifest type name kind",
    "payload": "payload eventpayload eventdata messagedata data body state content event",
    "metadata": "metadata eventmetadata messagemetadata meta metapayload headers context",
    "timestamp_utc": "timestamputc occurredat occurredon recordedat recordedon createdat createdon timestamp eventtime "
    "eventtimestamp timestampz timestamptz writetimestamp insertedat time created at",
    "aggregate_type": "aggregatetype streamtype streamcategory category entitytype aggregatename type",
    "payload_type": "payloadtype topic snapshottype",
    "payload_revision": "payloadrevision payloadversion schemaversion eventversion",
}
_IN_THIS_ORDER = (
    "transaction_id", "tenant_id", "payload", "metadata", "event_id", "event_type", "timestamp_utc", "aggregate_type",
    "payload_type", "payload_revision",
)  # fmt: skip
_INTEGERS = ("smallint", "integer", "bigint", "numeric")
_BY_NAME_ALONE = ("tenant_id", "aggregate_type", "payload_type", "payload_revision", "metadata")
_DEFAULTS = {
    "uuid": "gen_random_uuid()", "boolean": "false", "jsonb": "'{}'", "json": "'{}'", "bytea": "''", "date": "now()",
    "timestamp with time zone": "now()", "timestamp without time zone": "now()",
    **dict.fromkeys(("text", "character varying", "character", "citext"), "''"),
    **dict.fromkeys((*_INTEGERS, "real", "double precision"), "0"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A column, and what it was known by."""

    column: Column
    by: str
    is_sure: bool


@dataclass(slots=True, kw_only=True)
class Mapped:
    """A table's columns by Eventmark's names. ``filled`` has SQL for others that cannot be empty."""

    table: Table
    guesses: dict[str, Guess] = field(default_factory=dict)
    filled: dict[str, str] = field(default_factory=dict)
    next_position: str = ""  # SQL, where the table does not number events by itself
    unfilled: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        return [name for name in NEEDED if name not in self.guesses]

    def column(self, name: str) -> Column | None:
        """The column that is ``name``; None where the table has none."""
        guess = self.guesses.get(name)
        return guess.column if guess else None

    def __getitem__(self, name: str) -> Column:
        return self.guesses[name].column

    def references(self) -> Iterator[Reference]:
        """Foreign keys that what is filled has to satisfy."""
        own = {guess.column.name for guess in self.guesses.values()}
        own |= set(self.filled)
        for reference in self.table.references:
            if own & set(reference.columns):
                yield reference


def candidates(made: Made) -> list[Mapped]:
    """The tables as tables of events, those that are likeliest first."""
    mapped = [
        map_events(table, made.sequences) for table in made.tables.values() if not _is_of_snapshots(table)
    ]
    return sorted(
        mapped,
        key=lambda candidate: (
            len(candidate.missing),
            not _is_called_so(candidate.table),
            -len(candidate.guesses),
        ),
    )


def map_events(table: Table, sequences: Sequence[str] = ()) -> Mapped:
    """What can be guessed of a table of events."""
    mapped = Mapped(table=table)
    free = dict(table.columns)
    _take(mapped, free, "global_sequence_id", _position(table))
    for name, guess in _stream_key(table, free).items():
        _take(mapped, free, name, guess)
    if "global_sequence_id" not in mapped.guesses:
        _take(mapped, free, "global_sequence_id", _by_name("global_sequence_id", free))
    for name in _IN_THIS_ORDER:
        _take(mapped, free, name, _by_name(name, free))
    _fill(mapped, free)
    _number(mapped, sequences)
    return mapped


def _number(mapped: Mapped, sequences: Sequence[str]) -> None:
    position = mapped.column("global_sequence_id")
    if position is None or position.counts:
        return
    named = [name for name in sequences if mapped.table.name in name] or list(sequences)
    if len(named) == 1:
        quoted = named[0].replace('"', '""').replace("'", "''")
        mapped.next_position = f"nextval('\"{quoted}\"')"
    else:
        del mapped.guesses["global_sequence_id"]


def map_snapshots(made: Made, events: Mapped) -> Mapped | None:
    """The table of snapshots; None where there is none that Eventmark could fill."""
    for table in filter(_is_of_snapshots, made.tables.values()):
        mapped = Mapped(table=table)
        free = dict(table.columns)
        for name, guess in _stream_key(table, free).items():
            _take(mapped, free, name, guess)
        for name in (
            "tenant_id",
            "payload",
            "timestamp_utc",
            "aggregate_type",
            "payload_type",
            "payload_revision",
        ):
            _take(mapped, free, name, _by_name(name, free))
        _fill(mapped, free)
        needed = ("sequence_number", "aggregate_id", "payload")
        has_tenants = "tenant_id" in events.guesses
        if (
            all(name in mapped.guesses for name in needed)
            and has_tenants == ("tenant_id" in mapped.guesses)
            and not mapped.filled
            and not mapped.unfilled
        ):
            return mapped
    return None


def _take(mapped: Mapped, free: dict[str, Column], name: str, guess: Guess | None) -> None:
    if guess is not None and guess.column.name in free and name not in mapped.guesses:
        mapped.guesses[name] = guess
        del free[guess.column.name]


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _rank(role: str, column: Column) -> int:
    names = _NAMES[role].split()
    return names.index(_plain(column.name)) if _plain(column.name) in names else len(names)


def _has_name_of(role: str, column: Column) -> bool:
    return _plain(column.name) in _NAMES[role].split()


def _position(table: Table) -> Guess | None:
    counting = [column for column in table.columns.values() if column.counts and column.type in _INTEGERS]
    if not counting:
        return None
    column = min(counting, key=lambda candidate: _rank("global_sequence_id", candidate))
    return Guess(column=column, by="a sequence fills it", is_sure=len(counting) == 1)


def _stream_key(table: Table, free: Mapping[str, Column]) -> dict[str, Guess]:
    """The stream, its tenant and the version: by the unique key of them, else by names."""
    keys = [
        index.columns for index in table.indexes
        if index.is_unique and len(index.columns) > 1 and all(name in free for name in index.columns)
    ]  # fmt: skip
    complete = [guesses for key in keys if (guesses := _of_key([free[name] for name in key]))]
    if complete:
        return min(
            complete,
            key=lambda guesses: (
                sum(_rank(name, guess.column) for name, guess in guesses.items()) - 99 * len(guesses)
            ),
        )
    guesses = {}
    for name in ("sequence_number", "aggregate_id"):
        if guess := _by_name(name, {own: column for own, column in free.items() if not column.counts}):
            guesses[name] = guess
    return guesses


def _of_key(columns: Sequence[Column]) -> dict[str, Guess]:
    numbers = [column for column in columns if column.type in _INTEGERS and not column.counts]
    if not numbers:
        return {}
    version = min(reversed(numbers), key=lambda number: _rank("sequence_number", number))
    others = [column for column in columns if column is not version]
    tenants = [column for column in others if _has_name_of("tenant_id", column)]
    ids = [
        column for column in others if column not in tenants and column.type in TAKEN_TYPES["aggregate_id"]
    ]
    named = sorted(
        (column for column in ids if _has_name_of("aggregate_id", column)),
        key=lambda column: _rank("aggregate_id", column),
    )
    if not (named or (len(ids) == 1 and _has_name_of("sequence_number", version))):
        return {}
    by = f"the unique key ({', '.join(column.name for column in columns)})"
    guesses = {
        "sequence_number": Guess(
            column=version, by=by, is_sure=len(numbers) == 1 or _has_name_of("sequence_number", version)
        ),
        "aggregate_id": Guess(column=named[0] if named else ids[0], by=by, is_sure=bool(named)),
    }
    if tenants:
        tenant = min(tenants, key=lambda tenant: _rank("tenant_id", tenant))
        guesses["tenant_id"] = Guess(column=tenant, by=by, is_sure="tenant" in tenant.name.lower())
    return guesses


def _by_name(role: str, free: Mapping[str, Column]) -> Guess | None:
    types = ("xid8",) if role == "transaction_id" else TAKEN_TYPES[role]
    fitting = [column for column in free.values() if column.type in types and not column.generated]
    named = sorted(
        (column for column in fitting if _has_name_of(role, column)), key=lambda column: _rank(role, column)
    )
    if role == "tenant_id":  # a customer's or an account's id may be anything where it is not in the key
        named = [column for column in named if "tenant" in column.name.lower()]
    if named:
        return Guess(column=named[0], by="name and type", is_sure=len(named) == 1)
    likely = [column for column in fitting if column.type in _TELLING.get(role, ())]
    if role not in _BY_NAME_ALONE and len(likely) == 1:
        return Guess(column=likely[0], by=f"the only {likely[0].declared}", is_sure=False)
    return None


# Types that tell what a column is where its name does not.
_TELLING = {
    "transaction_id": ("xid8",),
    "payload": ("jsonb", "json", "bytea"),
    "event_id": ("uuid",),
    "timestamp_utc": ("timestamp with time zone", "timestamp without time zone"),
}


def _fill(mapped: Mapped, free: Mapping[str, Column]) -> None:
    referring = {name for reference in mapped.table.references for name in reference.columns}
    for column in free.values():
        if not column.needed:
            continue
        expression = constant(column)
        if expression and column.name not in referring:
            mapped.filled[column.name] = expression
        else:
            mapped.unfilled.append(column.name)


def constant(column: Column) -> str:
    """SQL for a value that a column takes; "" where none is known."""
    if column.values:
        value = column.values[0].replace("'", "''")
        return f"'{value}'"
    return _DEFAULTS.get(column.type, "")


def _is_of_snapshots(table: Table) -> bool:
    return "snapshot" in table.name.lower()


def _is_called_so(table: Table) -> bool:
    return any(word in table.name.lower() for word in ("event", "message", "journal"))
