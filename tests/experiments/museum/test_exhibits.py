"""Every exhibit's bad way is flagged and its good one passed, by Eventmark's own tools; and nothing is left behind."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from eventmark.errors import UsageError
from eventmark.experiments.museum.exhibit import Limit, Trial, judge_counters, verdict_of
from eventmark.experiments.museum.museum import EXHIBITS, chosen_exhibits, exhibit_section, room_for
from eventmark.results.results import Verdict
from eventmark.server import Server


@pytest.mark.parametrize("name", EXHIBITS)
def test_the_faulty_way_is_flagged_and_the_sound_one_passed(server: Server, name: str) -> None:
    trials = EXHIBITS[name].tried(room_for(server, "shown", "quick"))
    assert verdict_of(trials) == (Verdict.MET, ""), [(one.variant, one.reason) for one in trials]
    assert len({tuple(trial.counters) for trial in trials}) == 1  # the same evidence of both
    assert all(trial.counters for trial in trials)
    assert asyncio.run(left_behind(server.dsn)) == []


@pytest.mark.long
@pytest.mark.parametrize("name", EXHIBITS)
def test_the_faulty_way_is_flagged_and_the_sound_one_passed_at_length(server: Server, name: str) -> None:
    trials = EXHIBITS[name].tried(room_for(server, "shown", "standard"))
    assert verdict_of(trials) == (Verdict.MET, ""), [(one.variant, one.reason) for one in trials]


def trial(*, good: bool, verdict: Verdict) -> Trial:
    return Trial(variant="way", good=good, verdict=verdict, reason="because", counters={"pages": 1.0})


@pytest.mark.parametrize(
    ("bad", "good", "verdict"),
    [
        (Verdict.BROKEN, Verdict.MET, Verdict.MET),
        (Verdict.MET, Verdict.MET, Verdict.BROKEN),
        (Verdict.BROKEN, Verdict.BROKEN, Verdict.BROKEN),
        (Verdict.MET, Verdict.BROKEN, Verdict.BROKEN),
        (Verdict.INCONCLUSIVE, Verdict.MET, Verdict.INCONCLUSIVE),
        (Verdict.BROKEN, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ],
)
def test_an_exhibit_is_met_only_where_both_are_distinguished(
    bad: Verdict, good: Verdict, verdict: Verdict
) -> None:
    assert verdict_of([trial(good=False, verdict=bad), trial(good=True, verdict=good)])[0] is verdict


def test_one_way_alone_shows_nothing() -> None:
    assert verdict_of([trial(good=False, verdict=Verdict.BROKEN)])[0] is Verdict.INCONCLUSIVE
    assert verdict_of([trial(good=True, verdict=Verdict.MET)])[0] is Verdict.INCONCLUSIVE


def test_a_counter_over_its_limit_breaks_and_the_limit_s_reason_is_reported() -> None:
    limit = Limit(counter="pages", most=10, why="one row")
    assert judge_counters({"pages": 10.0}, [limit])[0] is Verdict.MET
    verdict, reason = judge_counters({"pages": 10.5}, [limit])
    assert verdict is Verdict.BROKEN
    assert "one row" in reason


def test_every_exhibit_names_its_sources_and_its_judge() -> None:
    for exhibit in EXHIBITS.values():
        assert all("#" in source for source in exhibit.sources)
        assert exhibit.sources and exhibit.story and exhibit.lesson and exhibit.judged_by
    assert len({exhibit.title for exhibit in EXHIBITS.values()}) == len(EXHIBITS)


def test_an_exhibit_s_section_shows_the_evidence_of_both_ways() -> None:
    section = exhibit_section(
        EXHIBITS["token-table"],
        [trial(good=False, verdict=Verdict.BROKEN), trial(good=True, verdict=Verdict.MET)],
    )
    assert section.verdict is Verdict.MET
    (table,) = section.tables
    assert [row[1:3] for row in table.rows] == [["bad", "flags it"], ["good", "passes it"]]
    assert "AxonFramework#1351" in section.text[-1]


def test_an_exhibit_that_is_none_is_refused_with_the_nearest() -> None:
    assert len(chosen_exhibits("all")) == len(EXHIBITS)
    with pytest.raises(UsageError, match="did you mean 'sixth-execution'"):
        chosen_exhibits("sixth-executoin")


async def left_behind(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select nspname as name from pg_namespace where nspname like 'shown%'"
        " union all select rolname from pg_roles where rolname like 'museum%'"
    )
    await connection.close()
    return [row["name"] for row in rows]
