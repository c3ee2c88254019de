"""stores: what can be tested."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from eventmark.cli.options import ServerOptions, StoreOptions
from eventmark.cli.session import running_server, screen, tell_what_stays
from eventmark.config import Settings
from eventmark.report import render_table
from eventmark.results.results import Row, Table, columns
from eventmark.seeding import try_store
from eventmark.server.loop import ask, on_loop
from eventmark.stores import (
    StoreDefinition,
    claimed,
    find_store,
    read_definition,
    store_names,
    write_template,
)
from eventmark.stores.catalogue import check_new
from eventmark.stores.from_migrations import Proposal, propose, refusal, told, write_folder

stores = App(name="stores", help="List the stores that can be tested, make one of your own, check it.")


@stores.default
def list_stores() -> int:
    """List the stores that come along."""
    definitions = {name: find_store(name) for name in store_names()}
    rows: list[Row] = [
        [name, definition.ordering, definition.description] for name, definition in definitions.items()
    ]
    screen.print(render_table(Table(title="", columns=columns("store", "ordering", "what it is"), rows=rows)))
    return 0


@stores.command(name="new")
def new(
    directory: Path,
    /,
    *,
    from_: Annotated[
        list[str] | None,
        Parameter(
            name="--from", consume_multiple=True, group="Store",
            help="Migrations to make it from: files, a folder or a pattern, 'db/migration/V*.sql'.",
        ),
    ] = None,
    table: Annotated[
        str | None, Parameter(group="Store", help="The table of events, with --from [the likeliest].")
    ] = None,
    options: ServerOptions | None = None,
) -> int:  # fmt: skip
    """Write a store into DIRECTORY: a commented example that runs as it is, or with --from one over your migrations."""
    if from_:
        return _from_migrations(directory, from_, table, (options or ServerOptions()).settings())
    for path in write_template(directory):
        screen.print(str(path))
    screen.print(f"\ntry it: eventmark run --events 50k --profile quick --store {directory}")
    return 0


def _from_migrations(directory: Path, given: list[str], table: str | None, settings: Settings) -> int:
    """Proposed, written, and checked on one server."""
    check_new(directory)
    with running_server(settings) as (server, _), claimed(server.dsn, settings.schema):
        proposal = ask(server.dsn, propose, settings.schema, given, table)
        written = write_folder(directory, proposal)
        _show(proposal)
        for path in written:
            screen.print(str(path), soft_wrap=True)
        if proposal.events is None:
            raise refusal(proposal, directory)
        _check(server.dsn, read_definition(directory), settings.schema)
    shown = directory if directory.is_absolute() else f"./{directory}"
    screen.print(
        f"\nnext: eventmark verify --store {shown}\n      eventmark run --events 50k --profile quick --store {shown}",
        soft_wrap=True,
    )  # fmt: skip
    tell_what_stays(settings, server)
    return 0


def _show(proposal: Proposal) -> None:
    """What was guessed, how sure it is, and what could not be guessed."""
    for mapped in filter(None, (proposal.events, proposal.snapshots)):
        rows: list[Row] = [
            [name, guess.column.name, guess.column.declared, guess.by, "sure" if guess.is_sure else "a guess"]
            for name, guess in mapped.guesses.items()
        ]
        head = columns("Eventmark's column", "yours", "type", "known by", "how sure")
        screen.print(render_table(Table(title=f"table {mapped.table.name}", columns=head, rows=rows)))
    for note in told(proposal):
        screen.print(f"note: {note}", soft_wrap=True)


@stores.command(name="check")
def check(*, options: StoreOptions | None = None) -> int:
    """Try --store on a server: every statement, and a handful of events from seeding to audit. Nothing stays."""
    settings = (options or StoreOptions()).settings()
    definition = find_store(settings.store)
    with running_server(settings) as (server, _), claimed(server.dsn, settings.schema):
        _check(server.dsn, definition, settings.schema)
    tell_what_stays(settings, server)
    return 0


def _check(dsn: str, definition: StoreDefinition, schema: str) -> None:
    notes = on_loop(try_store(dsn, definition, schema))
    screen.print(f"{definition.name}: {len(definition.statements)} statements are right")
    for note in notes:
        screen.print(f"note: {note}", soft_wrap=True)
    for reason in definition.absent.values():
        screen.print(f"skipped: {reason}", soft_wrap=True)
