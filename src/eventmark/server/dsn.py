"""An existing server, by DSN: checked before anything is done to it. Passwords are never shown."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from eventmark.errors import CannotRunError, UsageError

VERSION_NUM_MIN = 150000
CONNECT_TIMEOUT_S = 10.0

_CHECK = """
select
    current_setting('server_version_num')::int as version_num,
    current_setting('server_version') as version,
    pg_is_in_recovery() as standby,
    current_setting('default_transaction_read_only')::bool as read_only,
    has_database_privilege(current_database(), 'create') as may_create,
    current_database() as database,
    coalesce(current_setting('eventmark.production', true), 'off') in ('on', 'true', '1', 'yes')
        or coalesce(shobj_description(oid, 'pg_database'), '') ilike '%production%' as production
from pg_database where datname = current_database()
"""


def redact(dsn: str) -> str:
    """The DSN without its password, and without anything it could hide in; to show, not to connect by."""
    try:
        parts = urlsplit(dsn)
        user = f"{parts.username}@" if parts.username else ""
    except ValueError:
        return "postgresql://<unreadable>"
    if parts.scheme not in ("postgresql", "postgres"):
        return "<unreadable DSN>"
    # Everything up to the last "@" may be a password with an "@" of its own.
    netloc = user + parts.netloc.rpartition("@")[2]
    return _joined(parts.scheme, netloc, parts.path, _masked(parts.query))


def split_password(dsn: str) -> tuple[str, str]:
    """The DSN without its password, to connect by, and the password, empty where there is none."""
    parts = urlsplit(dsn)
    query = parse_qsl(parts.query, keep_blank_values=True)
    password = unquote(parts.password or "") or dict(query).get("password", "")
    user = f"{parts.username}@" if parts.username else ""
    netloc = user + parts.netloc.rpartition("@")[2]
    kept = urlencode([(key, value) for key, value in query if key != "password"])
    return _joined(parts.scheme, netloc, parts.path, kept), password


def _joined(scheme: str, netloc: str, path: str, query: str) -> str:
    # urlunsplit drops the slashes of an empty host, and with them the meaning of the DSN.
    return f"{scheme}://{netloc}{path}{'?' if query else ''}{query}"


def _masked(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(key, "***" if "pass" in key.lower() else value) for key, value in pairs], safe="*/")


async def check_server(dsn: str) -> tuple[int, str]:
    """The server's version as number and text, once it is shown to be one that may be tested.

    Raises ``UsageError`` for a DSN that cannot be read and ``CannotRunError`` for a server that is out of
    reach, too old, a standby, read-only, labelled as production, or where the role may not create.
    """
    address = redact(dsn)
    _check_ports(dsn, address)
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    except (ValueError, asyncpg.ClientConfigurationError) as error:
        raise _unreadable(address) from error
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise CannotRunError(
            f"{address} refused the connection: {_reason(error)}", remedy="check the user and the password"
        ) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise CannotRunError(f"{address}: there is no such database", remedy="create it") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CannotRunError(
            f"no connection to {address}: {_reason(error)}",
            remedy="check host, port and that the server runs",
        ) from error
    try:
        _refuse_version(connection.get_server_version(), address)
        row = await connection.fetchrow(_CHECK)
    except asyncpg.PostgresError as error:
        raise CannotRunError(
            f"{address} did not answer as PostgreSQL does: {_reason(error)}",
            remedy="name a PostgreSQL server",
        ) from error
    finally:
        await connection.close()
    _refuse(row, address)
    return row["version_num"], row["version"]


def _check_ports(dsn: str, address: str) -> None:
    """The driver takes any number for a port, and then blames the host."""
    for host in dsn.partition("://")[2].partition("/")[0].rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        if port and not (port.isdecimal() and 1 <= int(port) <= 65535):
            raise _unreadable(address)


def _unreadable(address: str) -> UsageError:
    return UsageError(
        f"the DSN {address} cannot be read", remedy="write postgresql://user:password@host:port/database"
    )


def _refuse_version(version: asyncpg.ServerVersion, address: str) -> None:
    # Asked before anything else: older servers lack functions that the other checks use.
    if version.major * 10000 < VERSION_NUM_MIN:
        raise CannotRunError(
            f"{address} runs PostgreSQL {version.major}.{version.minor}", remedy="15 or later is needed"
        )


def _refuse(row: asyncpg.Record, address: str) -> None:
    if row["production"]:
        raise CannotRunError(
            f"database {row['database']!r} is labelled as production",
            remedy="Eventmark loads and measures; use a copy",
        )
    if row["standby"]:
        raise CannotRunError(f"{address} is a standby", remedy="name its primary")
    if row["read_only"]:
        raise CannotRunError(f"{address} is read-only", remedy="set default_transaction_read_only to off")
    if not row["may_create"]:
        raise CannotRunError(
            f"the role may not create schemas in database {row['database']!r}",
            remedy="grant CREATE on the database to it",
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:g} s"
    return str(error).partition("\n")[0]
