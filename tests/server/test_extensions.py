"""Extensions are made on a server of Eventmark's own alone."""

from __future__ import annotations

import pytest

from eventmark.server.extensions import missing_extension
from tests.database import connected, execute, fetch

_THERE = "select count(*) from pg_extension where extname = 'pg_prewarm'"


@pytest.mark.parametrize("ours", [False, True])
def test_an_extension_is_made_only_on_a_server_of_ours(database: str, ours: bool) -> None:
    said = connected(database, lambda c: missing_extension(c, "pg_prewarm", ours=ours))
    assert (said == "", fetch(database, _THERE)) == (ours, int(ours))


def test_an_extension_that_is_there_is_used_on_every_server(database: str) -> None:
    execute(database, "create extension pg_prewarm")
    assert connected(database, lambda c: missing_extension(c, "pg_prewarm", ours=False)) == ""


def test_an_extension_that_the_server_lacks_is_named(database: str) -> None:
    said = connected(database, lambda c: missing_extension(c, "no_such_thing", ours=True))
    assert said.startswith("no_such_thing: ")
