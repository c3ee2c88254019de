"""A DSN as libpq reads it, and the server behind it checked before anything is done to it.

Every form that psql takes is read here, by libpq itself: URIs, keywords, PG* variables, services, password files.
What comes out is one URI that asyncpg, psql and pgbench all read the same way, and that needs nothing from the
environment, so that worker processes can be given it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import asyncpg
import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventmark.errors import CONNECTIONS_REMEDY, CannotRunError, EventmarkError, UsageError
from eventmark.redaction import (
    ENCODE_REMEDY,
    UNREADABLE,
    has_wrong_port,
    redact,
    register,
    scheme_of,
    unknown_parameter,
)
from eventmark.server.pooler import REMEDY as POOLER_REMEDY
from eventmark.server.pooler import refuse_shared_sessions, unsupported_parameter

VERSION_NUM_MIN = 150000
CONNECT_TIMEOUT_S = 10.0

FORM = "postgresql://user:password@host:port/database"

# Options that the driver takes in a DSN.
_TAKEN = frozenset(
    "sslmode sslnegotiation sslcert sslkey sslpassword sslrootcert sslcrl ssl_min_protocol_version "
    "ssl_max_protocol_version krbsrvname gsslib target_session_attrs options application_name".split()
)
# Options that protect a connection in a way that the driver does not know: never dropped in silence.
_REFUSED = {
    "gssencmode": ("require",),
    "sslcertmode": ("require",),
    "channel_binding": ("require",),
    "require_auth": None,
    "requirepeer": None,
    "sslcrldir": None,
    "replication": None,
}
_OTHER_SCHEMES = re.compile(r"jdbc:postgresql|postgres(ql)?\+[a-z0-9]{1,20}")
_TLS_REMEDY = "check sslmode, sslrootcert, sslcert and sslkey"
_NO_VALUE = "eventmark reads the options and does not connect"

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


def read_dsn(text: str) -> str:
    """The DSN in ``text`` as a URI with all that libpq knows about it, passwords registered as secrets.

    Raises ``UsageError``, without any part of a text whose password cannot be told from the rest.
    """
    _check_scheme(text)
    if name := unknown_parameter(text):
        raise UsageError(
            f"the server's DSN has a parameter {name!r}, which connections do not have",
            remedy=f"give a setting of the server as options=-c%20{name}%3Dvalue",
        )
    if redact(text) == UNREADABLE:
        ports = "a port is a number from 1 to 65535; " if has_wrong_port(text) else ""
        raise UsageError(f"the server's DSN cannot be read: {UNREADABLE}", remedy=ports + ENCODE_REMEDY)
    try:
        given = conninfo_to_dict(text)
    except psycopg.Error as error:
        raise UsageError(f"the DSN {redact(text)} cannot be read", remedy=f"write {FORM}") from error
    options = _resolved(given, redact(text))
    register(
        options.get("password"), options.get("sslpassword"),
        public=tuple(str(options.get(name, "")) for name in ("user", "dbname", "host")),
    )  # fmt: skip
    return _uri(options, redact(text))


def split_password(dsn: str) -> tuple[str, dict[str, str]]:
    """The DSN without its passwords, to connect by, and those: ``password`` and ``sslpassword``, where given."""
    options = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    names = [name for name in options if name in ("password", "sslpassword")]
    secrets = {name: options.pop(name) for name in names}
    return _joined(options), secrets


def _check_scheme(text: str) -> None:
    scheme = scheme_of(text)
    if scheme not in ("", "postgresql", "postgres"):
        raise UsageError(
            f"the DSN is one of another program: its scheme is {scheme}"
            if _OTHER_SCHEMES.fullmatch(scheme)
            else f"the server's DSN cannot be read: {UNREADABLE}",
            remedy=f"write it as psql takes it, {FORM}",
        )


def _resolved(given: Mapping[str, object], address: str) -> dict[str, str]:
    """The options that libpq would connect with: those given, and those of services, variables and files.

    libpq looks them up before it checks its last option; that one is given a value it refuses, so that it
    never connects.
    """
    conninfo = make_conninfo(**{**given, "load_balance_hosts": _NO_VALUE})  # type: ignore[arg-type]
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        reason = connection.error_message.decode(errors="replace").strip()
        if "load_balance_hosts" not in reason:
            raise UsageError(f"{address}: {reason.partition(chr(10))[0]}", remedy="correct the DSN")
        options = {
            option.keyword.decode(): option.val.decode()
            for option in connection.info
            if option.val and option.val != option.compiled
        }
        if connection.password:
            options["password"] = connection.password.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{address}: a file that it names is not UTF-8", remedy="correct the file"
        ) from error
    finally:
        connection.finish()
    return options


def _uri(options: Mapping[str, str], address: str) -> str:
    """Raises ``UsageError`` for what the driver cannot do, or no server can have."""
    for name, values in _REFUSED.items():
        if name in options and (values is None or options[name] in values):
            raise UsageError(
                f"{address}: the driver does not support {name}", remedy="leave it out of the DSN"
            )
    for port in options.get("port", "").split(","):
        if port and not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
            raise UsageError(
                f"the DSN {address} names a port that is none", remedy="a port is a number from 1 to 65535"
            )
    translated = dict(options)
    if "hostaddr" in options:
        if options.get("sslmode") == "verify-full":
            raise UsageError(
                f"{address}: the driver does not support hostaddr with verify-full",
                remedy="name the host alone",
            )
        translated["host"] = options["hostaddr"]
    if options.get("sslrootcert") == "system":
        paths = ssl.get_default_verify_paths()
        translated |= {"sslrootcert": paths.cafile or paths.openssl_cafile, "sslmode": "verify-full"}
    return _joined(translated)


def _joined(options: Mapping[str, str]) -> str:
    """As a URI: socket directories and addresses in its host, where driver and libpq both look for them."""
    names = [name for name in options.get("host", "").split(",") if name]
    ports = options.get("port", "").split(",")
    ports = ports * max(len(names), 1) if len(ports) == 1 else ports
    hosts = [
        (f"[{name}]" if ":" in name and not name.startswith("/") else quote(name, safe=""))
        + (f":{port}" if port else "")
        for name, port in zip(names or [""], ports, strict=False)
    ]
    user = quote(options.get("user", ""), safe="")
    password = f":{quote(options['password'], safe='')}" if options.get("password") else ""
    query = {name: options[name] for name in sorted(_TAKEN & options.keys())}
    if not names and ports[0]:  # the driver takes no port without a host
        hosts, query = [""], {"port": ports[0], **query}
    return (
        f"postgresql://{user}{password}{'@' if user or password else ''}{','.join(hosts)}"
        f"/{quote(options.get('dbname', ''), safe='')}"
        f"{'?' if query else ''}{urlencode(query, quote_via=quote, safe='')}"
    )


async def check_server(dsn: str, *, read_only: bool = False) -> tuple[int, str]:
    """The version, as number and text, of the server behind a DSN that was read, if it may be tested.

    Raises ``UsageError`` for a DSN that the driver does not take and ``CannotRunError`` for a server that is out
    of reach, too old, a standby, read-only, labelled as production, or where the role may not create. Whoever is
    ``read_only`` writes nothing: a standby, production and a role that may only read will do.
    """
    address = redact(dsn)
    try:
        # A pooler's next transaction may be in a session that has no statement of the driver's, or another's.
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0)
    except Exception as error:
        if (refusal := _refusal(error, address)) is None:
            raise
        raise refusal from error
    try:
        _refuse_version(connection.get_server_version(), address)
        await refuse_shared_sessions(connection, dsn, address)
        row = await connection.fetchrow(_CHECK)
    except asyncpg.PostgresError as error:
        raise CannotRunError(
            f"{address} did not answer as PostgreSQL does: {_reason(error)}",
            remedy="name a PostgreSQL server",
        ) from error
    finally:
        await connection.close()
    if not read_only:
        _refuse(row, address)
    return row["version_num"], row["version"]


def _refusal(error: Exception, address: str) -> EventmarkError | None:
    """What kept a connection from being made, by the cause that driver or server named."""
    reason = _reason(error)
    if isinstance(error, ssl.SSLError):  # before ValueError, which an untrusted certificate is as well
        return CannotRunError(
            f"no trusted connection to {address}: {reason}",
            remedy=_TLS_REMEDY,
        )
    if isinstance(error, UnicodeError):
        return UsageError(f"{address}: its host cannot be a host's name", remedy="correct the host")
    if isinstance(error, ValueError | asyncpg.ClientConfigurationError):
        return UsageError(
            f"{address}: {reason}", remedy=_TLS_REMEDY if "certificate" in reason else "correct the DSN"
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return CannotRunError(f"{address}: there is no such database", remedy="create it")
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return CannotRunError(f"{address} refused the connection: {reason}", remedy=_access_remedy(error))
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return CannotRunError(
            f"no host of {address} is what target_session_attrs asks for",
            remedy="name a host that is, or leave target_session_attrs out",
        )
    if isinstance(error, asyncpg.PostgresError):
        return CannotRunError(f"{address} refused the connection: {reason}", remedy=_remedy(error))
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return CannotRunError(
            f"{error.filename} of {address} cannot be read: {error.strerror}", remedy="correct its path"
        )
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
        return CannotRunError(
            f"no connection to {address}: {reason}", remedy="check host, port and that the server runs"
        )
    return None


def _access_remedy(error: Exception) -> str:
    if isinstance(error, asyncpg.InvalidPasswordError):
        return "check the user and the password"
    return "check the user, and that pg_hba.conf lets it in from here, with sslmode as it is in the DSN"


def _remedy(error: asyncpg.PostgresError) -> str:
    if unsupported_parameter(error):
        return POOLER_REMEDY
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return CONNECTIONS_REMEDY
    if isinstance(error, asyncpg.CannotConnectNowError):
        return "wait until it takes connections, then run again"
    return "read the reason in the server's log"


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
            remedy="Eventmark loads and measures; use a copy, or only read what is there with --existing",
        )
    if row["standby"]:
        raise CannotRunError(
            f"{address} is a standby", remedy="name its primary, or only read what is there with --existing"
        )
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
