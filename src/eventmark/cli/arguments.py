"""DSNs on the command line: refused where none belongs, before anything can quote them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from eventmark.config import DSN_KEYS
from eventmark.errors import UsageError
from eventmark.redaction import UNREADABLE, looks_like_dsn, redact, register

TAKING = frozenset((*(f"--{key}" for key in DSN_KEYS), "--dsn"))


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises ``UsageError`` for a DSN anywhere but after a flag that takes one."""
    register(os.environ.get("PGPASSWORD"))
    for flag, value in _with_flags(arguments):
        if not looks_like_dsn(value):
            continue
        if flag not in TAKING:
            where = f"after {flag}" if flag else "among the arguments"
            raise UsageError(
                f"a DSN stands {where}, where none belongs", remedy="name a server with --server DSN"
            )
        if redact(value) == UNREADABLE:
            register(value)  # refused later on, by the verb, and quoted by nobody until then


def _with_flags(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word that is no flag's name, with the flag that it follows; empty for none."""
    flag = ""
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("-") and not looks_like_dsn(name):
            flag = name
            if equals:
                yield flag, value
                flag = ""
        else:
            yield flag, word
            flag = ""
