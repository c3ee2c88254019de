"""How documents are stored: which changes are tried, which are taken, and that statements go on working."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.adviser.ablate import CaseWork, worse_cases
from eventmark.adviser.candidate import Candidate, Trial, retyped_statement
from eventmark.adviser.changes import chosen_large
from eventmark.adviser.documents import Documents, document_candidates, use_of_columns
from eventmark.adviser.ranking import advice_on_schema, is_worth, saved
from eventmark.adviser.repeats import repeated_columns
from eventmark.adviser.script import advice_script
from eventmark.adviser.table_facts import ColumnFacts, TableFacts
from eventmark.adviser.trial import try_kept, with_rate
from eventmark.adviser.variants import read_subject
from eventmark.adviser.wal import AppendWal, append_wal
from eventmark.engine.statements import Parameter, Statement
from eventmark.server.loop import connection_to
from eventmark.stats.ratios import Ratio
from eventmark.stores import find_store
from tests.adviser.conftest import MakeCopies, rewrite
from tests.adviser.test_advice import COST, SIZES, changes


def column(name: str, sql_type: str) -> ColumnFacts:
    length = 8 if sql_type == "bigint" else -1
    return ColumnFacts(
        name=name, sql_type=sql_type, length=length, alignment="i", storage="x", compression="", is_not_null=True,
        identity="", generated="", default_expression="", sequence="", collation="",
    )  # fmt: skip


def stored_as(sql_type: str, *options: str, uses: str = "", long_rows_share: float = 0.2) -> Documents:
    table = TableFacts(
        name="events", columns=(column("version", "bigint"), column("data", sql_type)), checks=(), triggers=(),
        options=options, is_partitioned=False,
    )  # fmt: skip
    return Documents(
        tables=(table,),
        names=frozenset({"data"}),
        uses=uses,
        long_rows_share=long_rows_share,
        of_engine=False,
    )


def statement(sql: str, *parameters: Parameter) -> Statement:
    return Statement(
        name="load_aggregate", purpose="", parameters=parameters, index="", template=sql, path="x.sql", first_line=1
    )  # fmt: skip


def names(documents: Documents) -> list[str]:
    return [one.name for one in document_candidates(documents) if isinstance(one, Candidate)]


@pytest.mark.parametrize(
    ("documents", "tried"),
    [
        (stored_as("jsonb"), [
            "jsonb columns as json", "jsonb columns as json and toast_tuple_target = 4080",
            "jsonb columns as json and toast_tuple_target = 8160", "toast_tuple_target = 8160",
        ]),
        (stored_as("jsonb", uses="load_aggregate applies the operator @> to data"),
         ["toast_tuple_target = 4080", "toast_tuple_target = 8160"]),
        (stored_as("jsonb", long_rows_share=0.0), ["jsonb columns as json"]),
        (stored_as("json", "toast_tuple_target=8160"), ["toast_tuple_target = 4080"]),
        (stored_as("text"), ["toast_tuple_target = 4080", "toast_tuple_target = 8160"]),
    ],
)  # fmt: skip
def test_what_is_tried_depends_on_type_use_and_length_of_documents(
    documents: Documents, tried: list[str]
) -> None:
    assert names(documents) == tried


def test_documents_are_rewritten_in_place_and_both_copies_alike() -> None:
    both = next(one for one in document_candidates(stored_as("jsonb")) if "8160" in one.name)  # type: ignore[union-attr]
    assert isinstance(both, Candidate)
    assert both.apply == (
        'alter table "events" alter column "data" type json using "data"::json, set (toast_tuple_target = 8160)',
    )
    assert both.level == ('alter table "events" alter column "data" type jsonb using ("data"::text)::jsonb',)
    assert "@>" in both.risk and "locked" in both.risk and "write json" in both.risk


@pytest.mark.parametrize(
    ("sql", "use"),
    [
        ("select data from {schema}.events order by version", ""),
        ("select data as payload, data::text from {schema}.events", ""),
        ("insert into {schema}.events (data) select :payload::jsonb", ""),
        ("select data from {schema}.events where data @> :filter::jsonb", "load_aggregate applies the operator @> to data"),
        ("select data ->> 'a' from {schema}.events", "load_aggregate applies the operator ->> to data"),
        ("select jsonb_set(e.data, '{a}', '1') from {schema}.events e", "load_aggregate applies the function jsonb_set to data"),
        ("select p -> 'a' from (select data as p from {schema}.events) x", "load_aggregate applies the operator -> to p"),
    ],
)  # fmt: skip
def test_a_statement_that_looks_into_documents_is_found_by_its_parse(sql: str, use: str) -> None:
    given = tuple(Parameter(one, "jsonb") for one in ("payload", "filter") if f":{one}" in sql)
    assert use_of_columns({"load_aggregate": statement(sql, *given)}, frozenset({"data"})) == use


def test_the_engines_statements_look_into_no_document() -> None:
    statements = find_store("eaf-jsonb").statements
    assert use_of_columns(statements, frozenset({"payload", "metadata"})) == ""
    append = retyped_statement(statements["append_events"], {"jsonb": "json"})
    assert append == find_store("eaf").statements["append_events"]


def test_types_are_renamed_outside_of_literals_and_comments() -> None:
    one = statement(
        "-- jsonb\nselect cast(:a as jsonb), ':: jsonb', :a::jsonb[], jsonb_x", Parameter("a", "jsonb[]")
    )
    renamed = retyped_statement(one, {"jsonb": "json"})
    assert renamed.template == "-- jsonb\nselect cast(:a as json), ':: jsonb', :a::json[], jsonb_x"
    assert renamed.parameters == (Parameter("a", "json[]"),)


def ratio(value: float) -> Ratio:
    return Ratio(value=value, low=value * 0.97, high=value * 1.03, count=3)


def stored(
    name: str, *, group: str = "documents", appends: float = 1.0, load: float = 1.0, token: float = 1.0
) -> Trial:
    candidate = Candidate(
        kind="documents",
        name=name,
        reason="",
        apply=(name,),
        script=(name,),
        risk="r",
        by_time=True,
        group=group,
    )
    reads = {"load_aggregate[1000]": ratio(load), "create_token_at": ratio(token)}
    return Trial(
        candidate=candidate, before=COST, after=replace(COST, wal_bytes=2300), sizes_before=SIZES,
        sizes_after=replace(SIZES, table_bytes=1290), rate=ratio(appends), reads=reads,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trial", "worth"),
    [
        (stored("a", load=2.0), True),
        (stored("a", load=2.0, token=0.7), True),
        (stored("a", load=2.0, token=0.4), False),
        (stored("a", load=2.0, appends=0.9), False),
        (stored("a", load=0.8, appends=1.3), False),
        (stored("a"), False),
        (replace(stored("a"), after=replace(COST, wal_bytes=1000)), False),  # bytes that only moved
    ],
)
def test_what_moves_work_about_is_judged_by_time(trial: Trial, worth: bool) -> None:
    assert is_worth(trial) is worth


def test_of_alternatives_the_one_that_gains_most_is_taken_and_tables_are_made_anew_first() -> None:
    rebuilt = stored("order", group="rebuilt", load=1.2)
    tried = [stored("a", load=1.5), stored("b", load=2.0), rebuilt, stored("c", load=2.1, appends=0.5)]
    assert [one.name for one in chosen_large(tried)] == ["order", "b"]


def test_gains_of_reads_and_their_price_are_reported() -> None:
    best = stored("b", load=2.0)
    advice = advice_on_schema(changes(best, best))
    assert (advice[0].gained, advice[0].gain) == ("load_aggregate[1000]", 2.0)
    assert saved(best).startswith("appends/s 1.00 × as fast, load_aggregate[1000] 2.00 × as fast")
    assert "table size +29%" in saved(best)
    script = advice_script(advice, [], schema="public", store="s", evidence="r")
    assert "-- b, load_aggregate[1000] 2.00 × as fast." in script


def test_wider_rows_may_lie_on_more_pages_and_toast_counts() -> None:
    def case(pages: float, toast: float) -> dict[tuple[str, str], CaseWork]:
        work = {
            "buffers": pages, "writes": 0.0, "rows": 100.0, "toast_pages_per_row": toast, "seq_scans": 0.0, "sorts": 0.0,
            "temp_buffers": 0.0,
        }  # fmt: skip
        return {("load_aggregate", "any"): CaseWork(work=work, plan={})}

    assert worse_cases(case(100, 1.0), case(180, 0.0)) == []
    assert worse_cases(case(100, 0.0), case(180, 0.0), wider=2.0) == []
    assert len(worse_cases(case(100, 0.0), case(180, 0.0))) == 1


ROWS: list[dict[str, str | None]] = [
    {"kind": f"k{n % 3}", "id": f"{n}", "stream": f"k{n % 3}:{n}", "type": f"t{n % 7}", "class": f"t{n % 7}", "rev": "1"}
    for n in range(120)
]  # fmt: skip


def test_columns_that_hold_nothing_of_their_own_are_reported() -> None:
    assert repeated_columns(ROWS) == {
        "stream": "kind || ':' || id",
        "class": "type",
        "rev": "the constant '1'",
    }
    assert repeated_columns(ROWS, kept=("stream", "class")) == {"type": "class", "rev": "the constant '1'"}
    assert repeated_columns(ROWS[:50]) == {}
    assert repeated_columns([*ROWS, {**ROWS[0], "rev": None, "class": "x", "stream": "y"}]) == {}


def test_documents_that_are_searched_stay_as_they_are(copies_of: MakeCopies, own: Path) -> None:
    rewrite(own / "load_aggregate.sql", ("order by version", "and not data ? 'hidden' order by version"))
    copies = copies_of(str(own))
    subject = copies.ask(read_subject, copies.changed)
    first = document_candidates(subject.documents)[0]
    assert isinstance(first, Trial)
    assert first.refusal == "load_aggregate applies the operator ? to data"
    assert "version" not in subject.repeats


def test_the_wal_of_an_append_is_shown_by_table_and_index(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf")

    async def read() -> AppendWal:
        async with connection_to(copies.job.server.dsn) as connection:
            return await append_wal(copies, connection, copies.changed)

    wal = asyncio.run(read())
    if copies.job.server.version_num < 160000:
        assert "PostgreSQL 16" in wal.missing
        return
    assert wal.missing == ""
    indexes = {"domain_events_stream", "domain_events_position", "domain_events_event_id"}
    assert indexes < set(wal.bytes)
    shares = [wal.share(name) or 0.0 for name in wal.bytes]
    assert sum(shares) == pytest.approx(1)
    assert 0.2 < (wal.share("domain_events") or 0.0) < 0.95
    assert wal.share("aggregate_snapshots") == 0


@pytest.mark.long
def test_json_is_found_for_the_former_table_and_reads_gain(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf-jsonb", events=20_000, payload_profile="realistic", single_pairs=2)
    candidates = document_candidates(copies.ask(read_subject, copies.changed).documents)
    best = next(one for one in candidates if isinstance(one, Candidate) and "8160" in one.name)
    trial = with_rate(copies, copies.ask(try_kept, best), 3)
    assert trial.refusal == "" and trial.worse == ()
    assert max(trial.reads["load_aggregate[1000]"].value, trial.reads["stream_events[1000]"].value) >= 1.8
