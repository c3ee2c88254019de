"""What every session of the engine must have, whatever the defaults of its role, database and server are.

``SETTINGS`` is sent as startup parameters: these take precedence over the defaults of server, database and role,
and over the DSN's own, and they are what ``reset all`` and ``discard all`` return to. A pooler may refuse or drop
startup parameters, and a pooler's sessions are shared: nothing may be set there beyond a transaction. So each new
connection is asked what is in force, and where a setting is missing, every statement runs in a transaction that sets
it for itself. That costs more round trips, and only where the defaults are not what the engine needs.

``synchronous_commit`` is raised to on where it is off, and left where it is anything else: what is acknowledged
must survive a crash, or new events would take the places of lost ones, behind consumers' tokens. Which of the others
is right (local, remote_write, on, remote_apply) is the operator's decision. It is not pinned where it is not off.

Left as they are: limits (``statement_timeout``, ``lock_timeout``, ``idle_in_transaction_session_timeout``) and
``default_transaction_read_only``. An operator sets these to protect the server, some providers when a disk is full.
They end or refuse a statement with an error and never change its result. Formats (``DateStyle``, ``TimeZone``) do not
matter: values are sent and received in binary form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, Literal, cast

import asyncpg
from asyncpg.transaction import Transaction

from eventmark.engine.receiving import Receiving
from eventmark.errors import CannotRunError

_ISOLATION = "default_transaction_isolation"
_COMMIT = "synchronous_commit"

SETTINGS: Mapping[str, str] = {
    # A lease is prolonged while a transaction of its owner is open that will update the same row.
    _ISOLATION: "read committed",
}

CLOSE_TIMEOUT_S = 2.0
_DURABLE: Mapping[str, str] = {_COMMIT: "on"}
_STANDBY_WAIT = "SyncRepWaitForLSN"
_STATEMENTS_CACHED = 100  # the driver's own default

IsolationLevel = Literal["read_committed", "read_uncommitted", "serializable", "repeatable_read"]


class UnreplicatedError(asyncpg.PostgresError):
    """A transaction is committed on this server, and no standby is known to have it."""


def unreplicated_error() -> UnreplicatedError:
    return UnreplicatedError("committed, but the wait for a synchronous standby was cancelled")


def is_standby_warning(severity: str | None, function: str | None) -> bool:
    """By the function, for the text is in the server's language and the SQLSTATE is that of any warning."""
    return severity == "WARNING" and function == _STANDBY_WAIT


class EngineTransaction(Transaction):
    """A transaction that sets what its session lacks."""

    __slots__ = ()

    async def start(self) -> None:
        connection: EngineConnection = self._connection
        is_outermost = not connection.is_in_transaction()
        await super().start()
        local = {name: value for name, value in connection.missing.items() if name != _ISOLATION}
        if is_outermost and local:
            await connection.execute("; ".join(f"set local {name} to '{local[name]}'" for name in local))


class EngineConnection(asyncpg.Connection):
    """The driver's connection; its transactions have the engine's settings.

    It also keeps what the server answered last to ``execute``: to ``COMMIT`` in a transaction that has failed that
    is ``ROLLBACK``, without an error. ``missing`` are the settings that the session does not have; ``on_execute`` is
    called with what was executed. ``has_weak_default``: without the engine, commits would not wait for the disk.
    """

    __slots__ = (
        "_is_unreplicated",
        "has_weak_default",
        "last_status",
        "missing",
        "on_execute",
        "receiving",
        "settings",
    )

    has_weak_default: bool

    last_status: str
    missing: Mapping[str, str]
    settings: Mapping[str, str]
    on_execute: Callable[[str], None] | None
    receiving: Receiving
    _is_unreplicated: bool

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109
        self.last_status = await super().execute(query, *args, timeout=timeout)
        if self.on_execute is not None:
            self.on_execute(query)
        return self.last_status

    def check_replicated(self) -> None:
        """Raises ``UnreplicatedError`` where the last commit's wait for a synchronous standby was cancelled.

        The server answers such a commit as any other: only a warning shows it.
        """
        if self._is_unreplicated:
            self._is_unreplicated = False
            raise unreplicated_error()

    def watch(self) -> None:
        """Hear the server's warnings and count its answers' bytes from now on."""
        self.receiving = Receiving(self)
        self._is_unreplicated, self.on_execute = False, None
        self.add_log_listener(self._hear)

    def _hear(self, _: object, message: Any) -> None:
        if is_standby_warning(message.severity_en, message.server_source_function):
            self._is_unreplicated = True

    def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> EngineTransaction:
        """As the driver's. Unless another one is named, the isolation is the engine's, not the session's."""
        if isolation is None and _ISOLATION in self.settings and not self.is_in_transaction():
            isolation = cast(IsolationLevel, self.settings[_ISOLATION].replace(" ", "_"))
        return EngineTransaction(self, isolation, readonly, deferrable)


async def open_connection(
    dsn: str,
    *,
    application_name: str,
    settings: Mapping[str, str],
    transaction_pooling: bool,
    connect_timeout_s: float,
    operation_timeout_s: float | None,
) -> EngineConnection:
    """A connection that knows which of ``settings`` its session has.

    Raises ``CannotRunError`` where others' functions would run in place of PostgreSQL's own.
    """

    async def connect(startup: Mapping[str, str]) -> EngineConnection:
        opened: EngineConnection = await asyncpg.connect(
            dsn,
            connection_class=EngineConnection,
            timeout=connect_timeout_s,
            command_timeout=operation_timeout_s,
            statement_cache_size=0 if transaction_pooling else _STATEMENTS_CACHED,
            server_settings={"application_name": application_name, **startup},
        )
        opened.settings, opened.missing, opened.has_weak_default = settings, {}, False
        opened._intro_query = _qualified(opened._intro_query)
        opened.watch()
        return opened

    async def examined(startup: Mapping[str, str]) -> EngineConnection:
        try:
            connection = await connect({} if transaction_pooling else startup)
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):
                raise
            connection = await connect({})  # a pooler that knows some parameters and refuses the others
        try:
            if settings:
                async with one_server(connection, transaction_pooling):
                    await _examine(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    connection = await examined(settings)
    if _COMMIT not in connection.missing:
        return connection
    if not transaction_pooling:  # known only by now: it must not take the place of a stronger one
        await close_connection(connection)
        connection = await examined({**settings, **_DURABLE})
    connection.has_weak_default = True
    return connection


def startup_settings(connection: EngineConnection) -> dict[str, str]:
    """What the connection was opened with, where no pooler stands before the server."""
    return {**connection.settings, **(_DURABLE if connection.has_weak_default else {})}


def one_server(
    connection: asyncpg.Connection[Any], transaction_pooling: bool
) -> AbstractAsyncContextManager[object]:
    """A transaction where a pooler may otherwise change the server's process between two messages."""
    return connection.transaction() if transaction_pooling else nullcontext()


@asynccontextmanager
async def owner_transaction(connection: asyncpg.Connection[Any]) -> AsyncIterator[None]:
    """A transaction for what changes the schema itself, on a connection of the caller's.

    Its search path is PostgreSQL's own schema, so that names mean what they mean there, to the driver's queries too;
    in a transaction of the caller's the path is the caller's again afterwards.
    """
    async with connection.transaction():
        path = await connection.fetchval("select pg_catalog.current_setting('search_path')")
        await connection.execute("set local search_path to pg_catalog, pg_temp")
        yield
        await connection.execute("select pg_catalog.set_config('search_path', $1, true)", path)


async def close_connection(connection: asyncpg.Connection[Any]) -> None:
    """End the session, or hang up on a server that does not answer within ``CLOSE_TIMEOUT_S``."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # the driver has hung up then
        await connection.close(timeout=CLOSE_TIMEOUT_S)


async def _examine(connection: EngineConnection) -> None:
    """Find out what the session is missing, and that names mean what they mean in PostgreSQL."""
    settings = connection.settings
    columns = ["pg_catalog.current_schemas(true)::text[]"]
    columns += [f"pg_catalog.current_setting('{name}')" for name in (_COMMIT, *settings)]
    path, commit, *values = await connection.fetchrow(f"select {', '.join(columns)}")
    connection.missing = {
        name: wanted
        for (name, wanted), value in zip(settings.items(), values, strict=True)
        if value != wanted
    } | ({_COMMIT: "on"} if commit == "off" else {})
    _check_path(path)


def _qualified(lookup: str) -> str:
    """The driver's own query for types that it does not know by heart, arrays among them, run as our role."""
    return lookup.replace("array_agg", "pg_catalog.array_agg").replace("!= 0", "operator(pg_catalog.<>) 0")


def _check_path(path: Sequence[str]) -> None:
    before = [schema for schema in path[: path.index("pg_catalog")] if not schema.startswith("pg_temp")]
    if before:
        raise CannotRunError(
            f"the search path puts schema {before[0]!r} before pg_catalog: operators made there would run in place "
            "of PostgreSQL's own",
            remedy="leave pg_catalog out of search_path, or put it first",
        )
