"""What callers set: numbers that can be used as such, and a DSN that can be read. Anything else is a ``UsageError``."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from eventmark.errors import UsageError

SECONDS_MAX = 1e9
"""Some 30 years: what is beyond does not fit the server's or Python's types in every place."""

COUNT_MAX = 2**31 - 1
_REMEDY = "check its parameters, and percent-encode what is special in user and password"
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::(?P<port>.*))?", re.DOTALL)


def checked_seconds(value: object, name: str, *, above: float = 0.0) -> float:
    """``value``, if it is a finite number of seconds above ``above`` and not a ``bool``. Raises ``UsageError``."""
    if type(value) not in (int, float):
        raise UsageError(f"{name} must be a number of seconds, got {type(value).__name__}")
    assert isinstance(value, int | float)
    if not above < value <= SECONDS_MAX:  # no comparison holds for nan
        bound = f"above {above:g} and " if above >= 0 else ""
        raise UsageError(f"{name} must be {bound}at most {SECONDS_MAX:g} s, got {_shown(value)}")
    return value


def checked_count(value: object, name: str, *, lowest: int = 1, highest: int = COUNT_MAX) -> int:
    """``value``, if it is an ``int`` from ``lowest`` to ``highest`` and not a ``bool``. Raises ``UsageError``."""
    if type(value) is not int:
        raise UsageError(f"{name} must be an int, got {type(value).__name__}")
    assert isinstance(value, int)
    if not lowest <= value <= highest:
        raise UsageError(f"{name} must be from {lowest} to {highest}, got {_shown(value)}")
    return value


def check_dsn(dsn: object) -> None:
    """Raises ``UsageError`` for a DSN that the driver would reject or misread. The message quotes no part of the DSN.

    The driver takes a port beyond 65,535 modulo 65,536.
    """
    if not isinstance(dsn, str):
        raise UsageError(f"a DSN must be a str, got {type(dsn).__name__}")
    try:
        parts = urlsplit(dsn)
        dsn.encode()
        hosts = parts.netloc.rpartition("@")[2].split(",") if parts.netloc else []
        ports = [
            match["port"] for host in hosts if (match := _HOST_AND_PORT.fullmatch(host)) and match["port"]
        ]
        ports += [port for value in parse_qs(parts.query).get("port", []) for port in value.split(",")]
    except ValueError:
        raise unreadable_dsn() from None
    if any(not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536) for port in ports):
        raise UsageError("the DSN's port must be from 1 to 65535", remedy=_REMEDY)


def unreadable_dsn() -> UsageError:
    """For what the driver refuses: its own words may quote a part of the password."""
    return UsageError("the DSN cannot be read", remedy=_REMEDY)


def _shown(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value) if abs(value) < 10**20 else "a huge one"
