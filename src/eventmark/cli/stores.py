"""stores: what can be tested."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cyclopts import App
from rich.table import Table

from eventmark.cli.options import StoreOptions
from eventmark.cli.session import running_server, screen, tell_what_stays
from eventmark.seeding import try_store
from eventmark.stores import claimed, find_store, store_names, write_template

stores = App(name="stores", help="List the stores that can be tested, make one of your own, check it.")


@stores.default
def list_stores() -> int:
    """List the stores that come along."""
    table = Table()
    for name in ("store", "ordering", "what it is"):
        table.add_column(name)
    for name in store_names():
        definition = find_store(name)
        table.add_row(name, definition.ordering, definition.description)
    screen.print(table)
    return 0


@stores.command(name="new")
def new(directory: Path, /) -> int:
    """Write a commented example of a store into DIRECTORY. It runs as it is."""
    for path in write_template(directory):
        screen.print(str(path))
    screen.print(f"\ntry it: eventmark run --events 50k --profile quick --store {directory}")
    return 0


@stores.command(name="check")
def check(*, options: StoreOptions | None = None) -> int:
    """Try --store on a server: every statement, and a handful of events from seeding to audit. Nothing stays."""
    settings = (options or StoreOptions()).settings()
    definition = find_store(settings.store)
    with running_server(settings) as (server, _), claimed(server.dsn, settings.schema):
        notes = asyncio.run(try_store(server.dsn, definition, settings.schema))
    screen.print(f"{definition.name}: {len(definition.statements)} statements are right")
    for note in notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    for reason in definition.absent.values():
        screen.print(f"skipped: {reason}")
    tell_what_stays(settings, server)
    return 0
