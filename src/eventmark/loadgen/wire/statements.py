"""A store's statements as libpq knows them: prepared under a name, with how each parameter is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import pq
from psycopg.pq import ConnStatus, Format

from eventmark.errors import CannotRunError
from eventmark.loadgen.wire.failures import GOOD, failure_of, lost
from eventmark.loadgen.wire.values import VOID, Encode, decoder, encoder
from eventmark.stores import StoreSessions
from eventmark.stores.values import Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One statement. ``oids``, ``encoders`` and ``formats`` are of ``parameters``, in their order.

    ``columns`` are those of its answer by name: its place, and how a value is read.
    """

    name: str
    key: bytes  # its name on the server
    sql: bytes
    parameters: Sequence[str]
    oids: Sequence[int]
    encoders: Sequence[Encode]
    formats: Sequence[Format]
    is_plain: Sequence[bool]  # a value is of the parameter's type as it is
    columns: Mapping[str, tuple[int, Callable[[bytes], Any]]]
    is_void: bool  # no column of its answer can hold anything

    def encoded(self, values: Mapping[str, Any]) -> list[bytes | None]:
        """The parameters of one call, from values by name."""
        return [
            None if (value := values[name]) is None else encode(value)
            for name, encode in zip(self.parameters, self.encoders, strict=True)
        ]

    def row(self, result: Any, number: int, names: Sequence[str]) -> dict[str, Any]:
        """Of one row of an answer, the columns of these names that it has."""
        values = {}
        for name in names:
            if name in self.columns:
                column, decode = self.columns[name]
                value = result.get_value(number, column)
                values[name] = None if value is None else decode(value)
        return values


NOTHING = Prepared(
    name="",
    key=b"",
    sql=b"",
    parameters=(),
    oids=(),
    encoders=(),
    formats=(),
    is_plain=(),
    columns={},
    is_void=True,
)
"""What an operation runs that asks no server."""


def describe(sessions: StoreSessions, conninfo: bytes, names: Sequence[str]) -> dict[str, Prepared]:
    """The statements of these names that the store has, as the server describes them on a connection of its own.

    Raises ``CannotRunError``.
    """
    connection = pq.PGconn.connect(conninfo)
    try:
        if connection.status != ConnStatus.OK:
            raise CannotRunError(str(lost(connection.get_error_message())))
        return {
            name: _described(sessions, connection, name)
            for name in dict.fromkeys(names)
            if name in sessions.definition.statements
        }
    finally:
        connection.finish()


def _described(sessions: StoreSessions, connection: Any, name: str) -> Prepared:
    key, sql = f"eventmark_{name}".encode(), sessions.opening.sql[name].encode()
    prepared = connection.prepare(key, sql)
    description = connection.describe_prepared(key) if prepared.status in GOOD else prepared
    if description.status not in GOOD:
        raise CannotRunError(f"{name}: {failure_of(description)}")
    parameters = sessions.parameters(name)
    oids = [description.param_type(index) for index in range(description.nparams)]
    made = sessions.value_encoders(name)
    written = [_written(oid, make) for oid, make in zip(oids, made, strict=True)]
    return Prepared(
        name=name, key=key, sql=sql, parameters=parameters, oids=oids, encoders=[encode for encode, _ in written],
        formats=[form for _, form in written],
        is_plain=[make is None for make in made],
        columns={
            description.fname(index).decode(): (index, decoder(description.ftype(index)))
            for index in range(description.nfields)
        },
        is_void=all(description.ftype(index) == VOID for index in range(description.nfields)),
    )  # fmt: skip


def _written(oid: int, make: Encoder | None) -> tuple[Encode, Format]:
    """A value is made one of the type, then written."""
    encode, form = encoder(oid)
    return (encode if make is None else lambda value: encode(make(value))), form
