"""A store as a folder: ``store.toml`` and one SQL file per operation. Read, and checked as far as files go."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventmark.domain import Capabilities
from eventmark.engine.orderings import HORIZON
from eventmark.engine.payloads import DEFAULT_PAYLOAD, SQL_DIRECTORY, STORAGE, schema_script
from eventmark.engine.schema import schema_digest
from eventmark.engine.statements import Statement, read_statements
from eventmark.errors import StoreDefinitionError, UsageError
from eventmark.results.targets import Target, targets_from
from eventmark.stores.conflict import ConflictForm
from eventmark.stores.definition_file import COLUMN, DefinitionFile, nearest
from eventmark.stores.migrations import KINDS, Rules, ScriptFile, migration_files, up_sections
from eventmark.text_files import NotTextError, read_text
from eventmark.workload import ONLY_TENANT, Naming

EVENT_COLUMNS = (
    "global_sequence_id", "transaction_id", "sequence_number", "expected_version", "timestamp_utc",
    "event_id", "tenant_id", "stream_id", "aggregate_type", "aggregate_id", "event_type", "payload_type",
    "payload_revision", "payload", "metadata",
)  # fmt: skip
SNAPSHOT_COLUMNS = (
    "sequence_number", "timestamp_utc", "tenant_id", "aggregate_id", "aggregate_type", "payload_type",
    "payload_revision", "payload",
)  # fmt: skip
ORDERINGS = ("transaction-id", "global-sequence")

REQUIRED_COLUMNS = (
    "global_sequence_id", "sequence_number", "tenant_id", "aggregate_id", "event_type", "payload",
)  # fmt: skip
_REQUIRED_SNAPSHOT_COLUMNS = ("sequence_number", "tenant_id", "aggregate_id", "payload")
REQUIRED_STATEMENTS = ("append_events", "load_aggregate")
STATEMENTS = (
    *REQUIRED_STATEMENTS, "stream_events", "stream_tenant_events", "create_head_token", "create_token_at",
    "store_snapshot", "read_snapshot", "stream_version",
)  # fmt: skip
KEYS = (
    "name", "description", "engine", "payload", "ordering", "tenants", "first_sequence", "event_types",
    "aggregate_types", "tables", "columns", "snapshot_columns", "seeded_columns", "targets", "conflict",
    "schema", "migrations", "refuses",
)  # fmt: skip
REFUSALS = ("repeated ids", "future versions", "late transactions")
_NO_TENANTS = f"'{ONLY_TENANT}'::text"
FIRST_SEQUENCES = (-1, 0, 1)
_NAME_MIGRATIONS = 'write above it: schema = ["../db/migration"]'
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDefinition:
    """Everything known of a store without a server.

    ``columns`` and ``snapshot_columns`` map Eventmark's column names to the table's; a name that is not
    there has no counterpart and is not filled. ``absent`` maps what the store lacks to the reason.
    ``first_sequence`` is what the column of sequence numbers holds for a stream's first event; statements count from 1
    whatever it is. ``seeded_columns`` are expressions that the seeder fills columns with, by the table's names;
    ``seed_script`` it runs for each batch before the events: see ``seeding.staging``. ``refuses`` is what an append
    promises to refuse, of ``REFUSALS``; what it takes without that promise is left to its clients.
    """

    name: str
    description: str
    directory: Path
    engine: str
    ordering: str
    events_table: str
    snapshots_table: str | None
    columns: Mapping[str, str]
    snapshot_columns: Mapping[str, str]
    statements: Mapping[str, Statement]
    schema_files: tuple[ScriptFile, ...]
    indexes_script: str
    indexes_path: Path
    seed_script: str
    seed_path: Path
    has_tenants: bool
    first_sequence: int
    event_types: tuple[str, ...]
    aggregate_types: tuple[str, ...]
    seeded_columns: Mapping[str, str]
    targets: Mapping[str, Target]
    capabilities: Capabilities
    absent: Mapping[str, str] = field(default_factory=dict)
    conflict: ConflictForm = field(default_factory=ConflictForm)
    refuses: frozenset[str] = frozenset()

    @property
    def schema_script(self) -> str:
        """Everything that makes the tables, and how it is read."""
        return "".join(file.text + file.rules.told for file in self.schema_files)

    @property
    def schema_sha256(self) -> str:
        """Of the schema and its indexes: results of different ones are not comparable."""
        seeding = (
            self.seed_script,
            self.first_sequence,
            self.event_types,
            self.aggregate_types,
            self.seeded_columns,
        )
        told = "" if seeding == ("", 1, (), (), {}) else repr(seeding)
        return schema_digest(self.schema_script, self.indexes_script + told)

    @property
    def kinds(self) -> Naming:
        """The types of events and aggregates that the store takes; not of its ids, which the server has."""
        return Naming(event_types=self.event_types, aggregate_types=self.aggregate_types)

    @property
    def read_columns(self) -> dict[str, str]:
        """The columns by Eventmark's names, without transaction ids that are kept and not read by."""
        by_number = self.ordering != "transaction-id"
        return {
            name: column
            for name, column in self.columns.items()
            if not (by_number and name == "transaction_id")
        }

    @property
    def place_columns(self) -> dict[str, str]:
        """Those of them that place an event in the log, in this order."""
        columns = self.read_columns
        return {name: columns[name] for name in ("transaction_id", "global_sequence_id") if name in columns}

    @property
    def sql_columns(self) -> dict[str, str]:
        """Eventmark's names and the table's columns as SQL; the tenant is a constant where the store has none."""
        quoted = {name: f'"{column}"' for name, column in self.columns.items()}
        return quoted if self.has_tenants else {**quoted, "tenant_id": _NO_TENANTS}

    @property
    def sql_snapshot_columns(self) -> dict[str, str]:
        """The same of the snapshots' table."""
        quoted = {name: f'"{column}"' for name, column in self.snapshot_columns.items()}
        return quoted if self.has_tenants else {**quoted, "tenant_id": _NO_TENANTS}

    @property
    def takes_event_ids(self) -> bool:
        """Whether an event is stored with the id that its append gives it."""
        given = {parameter.name for parameter in self.statements["append_events"].parameters}
        return "event_id" in self.columns and bool(given & {"event_id", "event_ids"})

    @property
    def sql_sequence(self) -> str:
        """A stream's sequence number, counted from 1, as SQL."""
        column = self.sql_columns["sequence_number"]
        return column if self.first_sequence == 1 else f"({column} + {1 - self.first_sequence})"


def store_name_of(directory: Path) -> str:
    """A name for the store in a folder: the folder's, in letters that names may have."""
    name = re.sub(r"[^a-z0-9_-]+", "-", directory.resolve().name.lower()).strip("-_")[:48]
    return name if _NAME.fullmatch(name) else "my-store"


def read_definition(directory: Path) -> StoreDefinition:
    """Read a store's folder. Raises ``StoreDefinitionError`` that names file and line."""
    toml_path = directory / "store.toml"
    settings, text = _read_toml(toml_path)
    where = DefinitionFile(toml_path, text)
    where.check_keys(settings, KEYS)
    name = where.text(settings, "name", _NAME, default=directory.resolve().name.lower())
    engine = where.text(settings, "engine", default="")
    if engine not in ("", "eventmark.engine"):
        raise where.error(
            "engine", f"unknown engine {engine!r}", "leave it out: the SQL files are run as they are"
        )
    ordering = where.text(settings, "ordering", default="transaction-id")
    if ordering not in ORDERINGS:
        raise where.error("ordering", f"unknown ordering {ordering!r}", f"use {' or '.join(ORDERINGS)}")
    tables = where.table(settings, "tables")
    where.check_keys(tables, ("events", "snapshots"))
    has_tenants = where.choice(settings, "tenants", ("many", "none")) == "many"
    columns = where.columns(settings, "columns", EVENT_COLUMNS, REQUIRED_COLUMNS, has_tenants=has_tenants)
    if ordering == "transaction-id" and "transaction_id" not in columns:
        raise where.error("columns", "ordering by transaction id needs the column transaction_id", "map it")
    snapshots_table = where.text(tables, "snapshots", COLUMN, default="") or None
    payload = _payload(where, settings, engine)
    files = (
        (ScriptFile(path=SQL_DIRECTORY / "schema.sql", text=schema_script(payload)),)
        if engine
        else _schema_files(where, settings)
    )
    statements = _known_statements(
        _engine_statements(payload) if engine else read_statements(directory, {file.path for file in files}),
        toml_path,
    )
    _check_tenants(statements, has_tenants=has_tenants)
    indexes_path = HORIZON.indexes_path if engine else directory / "indexes.sql"
    seed_path = directory / "seed.sql"
    capabilities, absent = _capabilities(statements, snapshots_table, columns)
    return StoreDefinition(
        name=name,
        description=where.text(settings, "description", default=""),
        directory=directory,
        engine=engine,
        ordering=ordering,
        events_table=where.text(tables, "events", COLUMN, default="domain_events"),
        snapshots_table=snapshots_table,
        columns=columns,
        snapshot_columns=where.columns(
            settings,
            "snapshot_columns",
            SNAPSHOT_COLUMNS,
            _REQUIRED_SNAPSHOT_COLUMNS,
            has_tenants=has_tenants,
        ),
        statements=statements,
        schema_files=files,
        indexes_script=read_script_file(indexes_path, required=False),
        indexes_path=indexes_path,
        seed_script=read_script_file(seed_path, required=False),
        seed_path=seed_path,
        has_tenants=has_tenants,
        first_sequence=where.number(settings, "first_sequence", FIRST_SEQUENCES, default=1),
        event_types=where.texts(settings, "event_types"),
        aggregate_types=where.texts(settings, "aggregate_types"),
        seeded_columns=where.expressions(settings, "seeded_columns"),
        targets=_targets(where, settings),
        capabilities=capabilities,
        absent=absent,
        conflict=_conflict(where, settings),
        refuses=frozenset(REFUSALS if engine else where.texts(settings, "refuses", known=REFUSALS)),
    )


def _read_toml(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = read_text(path)
        return tomllib.loads(text), text
    except FileNotFoundError as error:
        raise StoreDefinitionError(
            "there is no such file", path=str(path), remedy="make a store with: eventmark stores new DIR"
        ) from error
    except OSError as error:
        raise StoreDefinitionError(f"cannot be read: {error}", path=str(path)) from error
    except NotTextError as error:
        raise StoreDefinitionError(
            error.message, path=str(path), line=error.line, remedy=error.remedy
        ) from error
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"line (\d+)", str(error))
        raise StoreDefinitionError(str(error), path=str(path), line=int(match[1]) if match else 1) from error


def _schema_files(where: DefinitionFile, settings: Mapping[str, Any]) -> tuple[ScriptFile, ...]:
    """Of schema.sql, or of the migrations that store.toml names."""
    own = where.path.parent / "schema.sql"
    if "schema" not in settings:
        if "migrations" in settings:
            raise where.error("migrations", "[migrations] is there, and no line schema", _NAME_MIGRATIONS)
        return (ScriptFile(path=own, text=read_script_file(own, required=True)),)
    table = where.table(settings, "migrations")
    where.check_keys(table, ("schemas", "leave_out"))
    try:
        rules = Rules(
            schemas=where.texts(table, "schemas"),
            leave_out=frozenset(where.texts(table, "leave_out", known=KINDS)),
        )
        paths = migration_files(where.path.parent, where.texts(settings, "schema"))
    except UsageError as error:
        raise where.error("schema", error.message, error.remedy) from error
    if own.exists() and own not in paths:
        raise where.error(
            "schema",
            f"schema does not list {own}, so that file would not be run",
            'add "schema.sql" to the list, or delete the file',
        )
    return tuple(
        ScriptFile(path=path, text=up_sections(read_script_file(path, required=True)), rules=rules)
        for path in paths
    )


def read_script_file(path: Path, *, required: bool) -> str:
    try:
        return read_text(path)
    except FileNotFoundError as error:
        if not required:
            return ""
        raise StoreDefinitionError(
            "there is no such file", path=str(path), remedy="write the store's tables into it"
        ) from error
    except OSError as error:
        raise StoreDefinitionError(f"cannot be read: {error}", path=str(path)) from error
    except NotTextError as error:
        raise StoreDefinitionError(
            error.message, path=str(path), line=error.line, remedy=error.remedy
        ) from error


def _payload(where: DefinitionFile, settings: Mapping[str, Any], engine: str) -> str:
    """The type of the engine's payloads; a store of SQL files has it in its schema.sql."""
    payload = where.text(settings, "payload", default=DEFAULT_PAYLOAD)
    if "payload" in settings and not engine:
        raise where.error("payload", "payload is for the engine's own tables", "set the type in schema.sql")
    if payload not in STORAGE:
        raise where.error("payload", f"unknown payload type {payload!r}", f"use {' or '.join(STORAGE)}")
    return payload


def _engine_statements(payload: str) -> dict[str, Statement]:
    """Those of the operations; the engine has more of its own."""
    return {name: statement for name, statement in HORIZON.statements(payload).items() if name in STATEMENTS}


def _known_statements(statements: dict[str, Statement], toml_path: Path) -> dict[str, Statement]:
    for name, statement in statements.items():
        if name not in STATEMENTS:
            raise StoreDefinitionError(
                f"no operation is called {name!r}{nearest(name, STATEMENTS)}",
                path=statement.path,
                remedy=f"operations are {', '.join(STATEMENTS)}",
            )
    for name in REQUIRED_STATEMENTS:
        if name not in statements:
            raise StoreDefinitionError(
                f"the store lacks {name}.sql", path=str(toml_path.parent / f"{name}.sql"), remedy="write it"
            )
    return statements


def _check_tenants(statements: Mapping[str, Statement], *, has_tenants: bool) -> None:
    if not has_tenants and (statement := statements.get("stream_tenant_events")):
        raise StoreDefinitionError(
            "the store has no tenants, so it has no events of one tenant",
            path=statement.path,
            remedy='delete the file, or tenants = "none" in store.toml',
        )


def _capabilities(
    statements: Mapping[str, Statement], snapshots_table: str | None, columns: Mapping[str, str]
) -> tuple[Capabilities, dict[str, str]]:
    absent = {
        name: f"the store has no {name}.sql"
        for name in (
            "stream_events",
            "create_head_token",
            "create_token_at",
            "store_snapshot",
            "read_snapshot",
        )
        if name not in statements
    }
    if "timestamp_utc" not in columns:
        absent |= {"create_token_at": "[columns] maps no timestamp_utc: there is no instant to ask for"}
    append = {parameter.name for parameter in statements["append_events"].parameters}
    capabilities = Capabilities(
        snapshots=snapshots_table is not None
        and "store_snapshot" not in absent
        and "read_snapshot" not in absent,
        all_tenants_stream="stream_events" not in absent,
        tenant_stream="stream_tenant_events" in statements,
        head_token="create_head_token" not in absent,
        token_at="create_token_at" not in absent,
        expected_version=bool(append & {"expected_version", "sequence_number", "sequence_numbers"}),
    )
    return capabilities, absent


def _conflict(where: DefinitionFile, settings: Mapping[str, Any]) -> ConflictForm:
    table = where.table(settings, "conflict")
    where.check_keys(table, ("sqlstate", "message"))
    if table and "sqlstate" not in table:
        raise where.error("conflict", "conflict names no sqlstate", 'add a line: sqlstate = "P0001"')
    sqlstate = where.text(table, "sqlstate", _SQLSTATE, default="")
    return ConflictForm(sqlstate=sqlstate, message=where.text(table, "message", default="") or "*")


def _targets(where: DefinitionFile, settings: Mapping[str, Any]) -> dict[str, Target]:
    try:
        overlaid = targets_from(where.table(settings, "targets"), str(where.path))
    except UsageError as error:
        raise where.error("targets", error.message, error.remedy) from error
    return dict(overlaid)
