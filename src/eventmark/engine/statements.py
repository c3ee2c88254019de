"""SQL files as first-class artefacts: one named statement each.

A file starts with a header of ``-- key: value`` lines::

    -- name: load_aggregate
    -- purpose: the events of one aggregate from a sequence number on, in order
    -- parameters: tenant_id text, aggregate_id text, from_sequence bigint
    -- index: domain_events_stream_key
    select ... from {schema}.domain_events where tenant_id = :tenant_id ...

``:name`` stands for a parameter, ``{schema}`` for the store's schema. The same text is run by the engine
(``$1``), examined by EXPLAIN and handed to pgbench (``:name``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from eventmark.errors import StoreDefinitionError, UsageError
from eventmark.text_files import NotTextError, read_text

_HEADER = re.compile(r"^--\s*(?P<key>[a-z_]+):\s*(?P<value>.*)$")
_HEADER_KEYS = ("name", "purpose", "parameters", "index", "order")
_PLACEHOLDER = re.compile(
    r"'(?:[^']|'')*'"  # a string literal, left alone
    r"|--[^\n]*"  # a comment, left alone
    r"|::\w+"  # a cast, left alone
    r"|(?<![:\w]):(?P<name>[a-z_][a-z0-9_]*)"
)
_PLACE = re.compile(r"\{([a-z]+)\}")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A statement's parameter and its SQL type."""

    name: str
    sql_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One named statement. ``index`` is the index it must use, or "" when it needs none."""

    name: str
    purpose: str
    parameters: tuple[Parameter, ...]
    index: str
    template: str
    path: str
    first_line: int

    def filled(self, places: Mapping[str, str]) -> Statement:
        """With a text for each ``{name}`` in the statement and in its parameters' types."""

        def fill(text: str) -> str:
            return _PLACE.sub(lambda match: places.get(match[1], match[0]), text)

        parameters = tuple(
            Parameter(parameter.name, fill(parameter.sql_type)) for parameter in self.parameters
        )
        return replace(self, template=fill(self.template), parameters=parameters)

    @property
    def sha256(self) -> str:
        """The digest of the statement's text, without its header and the schema's name."""
        return sha256(self.template.encode()).hexdigest()

    def sql(self, schema: str) -> str:
        """With ``$1, $2, ...`` in the order of ``parameters``: what a driver runs."""
        placeholders = {parameter.name: f"${number}" for number, parameter in enumerate(self.parameters, 1)}
        return self.render(schema, placeholders)

    def typed_sql(self, schema: str) -> str:
        """As ``sql``, each parameter with its declared type.

        Without a type, the server takes it from the operator next to it, and others may have made one that fits better.
        """
        return self.render(
            schema,
            {
                parameter.name: f"${number}::{parameter.sql_type}"
                for number, parameter in enumerate(self.parameters, 1)
            },
        )

    def typed(self) -> Statement:
        """The same with each parameter cast to its declared type where it stands, whatever it is rendered for."""
        types = {parameter.name: parameter.sql_type for parameter in self.parameters}

        def cast(match: re.Match[str]) -> str:
            return f"{match[0]}::{types[match['name']]}" if match["name"] else match[0]

        return replace(self, template=_PLACEHOLDER.sub(cast, self.template))

    def pgbench_sql(self, schema: str) -> str:
        """With pgbench's ``:name`` variables."""
        return self.render(schema, {parameter.name: f":{parameter.name}" for parameter in self.parameters})

    def literal_sql(self, schema: str, values: Mapping[str, object]) -> str:
        """With the values themselves, for programs that take no parameters. Not for texts that users give."""
        return self.render(
            schema,
            {
                parameter.name: f"'{values[parameter.name]}'::{parameter.sql_type}"
                for parameter in self.parameters
            },
        )

    def render(self, schema: str, placeholders: Mapping[str, str]) -> str:
        """With what ``placeholders`` has for each parameter in its stead."""
        body = self.template.replace("{schema}", quoted_schema(schema))
        return _PLACEHOLDER.sub(
            lambda match: placeholders[match["name"]] if match["name"] else match[0], body
        )


def quoted_schema(schema: str) -> str:
    """The schema's name as an SQL identifier. Raises ``UsageError`` on a name that is not plain."""
    if not _IDENTIFIER.fullmatch(schema) or schema.startswith("pg_"):
        raise UsageError(
            f"schema name {schema!r} is not allowed",
            remedy="use lower case letters, digits and _, 48 at most, not beginning with pg_ or a digit",
        )
    return f'"{schema}"'


def read_statement(path: Path) -> Statement:
    """Read and check one statement file. Raises ``StoreDefinitionError`` naming file and line."""
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise StoreDefinitionError(f"cannot be read: {error}", path=str(path)) from error
    except NotTextError as error:
        raise StoreDefinitionError(
            error.message, path=str(path), line=error.line, remedy=error.remedy
        ) from error
    header, body_at = _read_header(path, lines)
    template = "\n".join(lines[body_at:]).strip().rstrip(";")
    if not template:
        line = min(body_at + 1, len(lines))
        raise StoreDefinitionError("no statement after the header", path=str(path), line=line)
    parameters = _read_parameters(path, header)
    _check_placeholders(path, template, parameters, body_at)
    return Statement(
        name=header.get("name", (path.stem, 1))[0],
        purpose=header.get("purpose", ("", 1))[0],
        parameters=parameters,
        index=header.get("index", ("", 1))[0],
        template=template,
        path=str(path),
        first_line=body_at + 1,
    )


def read_statements(directory: Path, scripts: Collection[Path] = ()) -> dict[str, Statement]:
    """All statement files of a folder by name; the scripts ``schema``, ``indexes``, ``seed``, ``marker`` are none."""
    statements = {}
    for path in sorted(directory.glob("*.sql")):
        if path.name not in ("schema.sql", "indexes.sql", "seed.sql", "marker.sql") and path not in scripts:
            statement = read_statement(path)
            statements[statement.name] = statement
    return statements


def _read_header(path: Path, lines: list[str]) -> tuple[dict[str, tuple[str, int]], int]:
    header: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith("--"):
            return header, number
        match = _HEADER.match(line)
        if match and match["key"] in _HEADER_KEYS:
            header[match["key"]] = (match["value"].strip(), number + 1)
    return header, len(lines)


def _read_parameters(path: Path, header: dict[str, tuple[str, int]]) -> tuple[Parameter, ...]:
    declared, line = header.get("parameters", ("", 1))
    parameters = []
    for item in filter(None, (part.strip() for part in declared.split(","))):
        name, _, sql_type = item.partition(" ")
        if not _IDENTIFIER.fullmatch(name) or not sql_type:
            raise StoreDefinitionError(
                f"parameter {item!r} is not 'name type'",
                path=str(path),
                line=line,
                remedy="write for example: -- parameters: tenant_id text, from_sequence bigint",
            )
        parameters.append(Parameter(name, sql_type.strip()))
    return tuple(parameters)


def _check_placeholders(path: Path, template: str, parameters: tuple[Parameter, ...], body_at: int) -> None:
    declared = {parameter.name for parameter in parameters}
    for match in _PLACEHOLDER.finditer(template):
        if match["name"] and match["name"] not in declared:
            line = body_at + 1 + template.count("\n", 0, match.start())
            raise StoreDefinitionError(
                f":{match['name']} is not among the declared parameters ({', '.join(sorted(declared))})",
                path=str(path),
                line=line,
                remedy="declare it in the line '-- parameters:'",
            )
