"""From a folder of migrations to a proposal: they are run in a scratch schema, and the catalogue is looked at."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.errors import UsageError
from eventmark.stores.catalogue import engine_store
from eventmark.stores.definition import read_script_file
from eventmark.stores.from_migrations.folder import Proposal, patterns_for
from eventmark.stores.from_migrations.mapping import Mapped, candidates, map_snapshots
from eventmark.stores.from_migrations.rules import rules_for
from eventmark.stores.from_migrations.tables import Made, read_made
from eventmark.stores.install import install_store
from eventmark.stores.migrations import Rules, ScriptFile, migration_files, up_sections
from eventmark.stores.scratch import scratch_name


async def propose(
    connection: asyncpg.Connection[Any], schema: str, given: Sequence[str], table: str | None
) -> Proposal:
    """A store over the migrations that ``given`` names, relative to the working directory. Leaves nothing.

    Raises ``StoreDefinitionError`` naming file and line of a migration, ``UsageError`` for what cannot be proposed.
    """
    patterns = patterns_for(given)
    texts = [
        (path, up_sections(read_script_file(path, required=True)))
        for path in migration_files(Path(), patterns)
    ]
    rules, left_out = rules_for(texts)
    made = await _try(connection, schema, texts, rules)
    tables = candidates(made)
    events = _chosen(tables, table)
    return Proposal(
        patterns=patterns,
        rules=rules,
        left_out=tuple(left_out),
        made=made,
        candidates=tuple(tables),
        events=events,
        snapshots=map_snapshots(made, events) if events else None,
    )


def _chosen(tables: Sequence[Mapped], table: str | None) -> Mapped | None:
    if table is not None:
        tables = [candidate for candidate in tables if candidate.table.name == table]
        if not tables:
            raise UsageError(f"the migrations make no table {table!r}", remedy="name another with --table")
    whole = [
        mapped for mapped in tables if not mapped.missing and not mapped.unfilled and _refers_to_known(mapped)
    ]
    return whole[0] if whole else None


def _refers_to_known(mapped: Mapped) -> bool:
    """Whether every table that events refer to is one of streams or of tenants."""
    ids = {mapped[name].name for name in ("tenant_id", "aggregate_id") if name in mapped.guesses}
    return all(set(reference.columns) <= ids for reference in mapped.references())


async def _try(
    connection: asyncpg.Connection[Any], schema: str, texts: Sequence[tuple[Path, str]], rules: Rules
) -> Made:
    files = tuple(ScriptFile(path=path, text=text, rules=rules) for path, text in texts)
    tried = replace(engine_store(), engine="", schema_files=files, indexes_script="")
    name = scratch_name(schema, f"_trial_{secrets.token_hex(4)}")
    made = Made(tables={}, functions=(), sequences=())
    with suppress(_TriedError):
        async with connection.transaction(isolation="repeatable_read"):
            await install_store(connection, tried, name)
            made = await read_made(connection, name)
            raise _TriedError
    return made


class _TriedError(Exception):
    """Everything was read; the transaction is rolled back."""
