"""Statements of others: of a text that holds more than one, nothing is planned, for the second would be run."""

from __future__ import annotations

import pytest

from eventmark.plans.observed import is_one_query


@pytest.mark.parametrize(
    "text",
    [
        "select 1", "(select 1)", "with a as (select 1) select * from a", "select $1::int from events where id = $2",
        "insert into events values ($1)", "merge into a using b on true when matched then delete", "select 1 -- ; drop",
    ],
)  # fmt: skip
def test_one_statement_that_can_be_planned_is_planned(text: str) -> None:
    assert is_one_query(text)


@pytest.mark.parametrize(
    "text",
    [
        "select 1; drop table events", r"select 1 from events where note = '\'; drop table events; --'", "drop table events",
        "explain analyze delete from events", "copy events to program 'true'", "do $$begin end$$",
        "<insufficient privilege>", "select 1 from", "",
    ],
)  # fmt: skip
def test_no_other_text_reaches_the_server(text: str) -> None:
    assert not is_one_query(text)
