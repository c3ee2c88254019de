"""Stores of other projects, by the tables that they publish: from their folder to a verdict, by every verb that judges."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventmark.results.files import read_result
from eventmark.results.results import RunResult, Verdict
from eventmark.stores import write_template
from tests.cli.conftest import Command, Done

FOLDERS = Path(__file__).parents[1] / "stores" / "published"
CODES = {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}
BY_NUMBER = frozenset(("I7",))  # consumers pass a number that is not committed yet
ANY_VERSION = frozenset(
    ("I4",)
)  # a version beyond the stream's last one is taken: its clients must know the version


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is true of a store: the invariants that it breaks, those that it leaves to its clients by what it takes, and
    statements whose plans may do too much work.

    Where two tables are joined for a batch, a planner may read one of them whole while they are small.
    """

    breaks: Collection[str] = ()
    leaves: Collection[str] = ()
    slow: Collection[str] = ()


PUBLISHED = {
    "message-db": Published(),  # the hunt's streams are of one category, whose lock makes appends take turns
    # Of few events, a stream of hundreds is found and sorted sooner than read in the order of its index.
    "axon": Published(breaks=BY_NUMBER, leaves=ANY_VERSION, slow=("load_aggregate",)),
    "marten": Published(breaks=BY_NUMBER),
    # Message ids are not unique, and a transaction with an early id may follow a younger one's message: its own client
    # begins a transaction for each append. The index that consumers read by begins with the partition.
    "emmett": Published(leaves=("I3", "I8"), slow=("stream_events",)),
    "commanded": Published(slow=("stream_events",)),
    "rails-event-store": Published(breaks=BY_NUMBER, leaves=ANY_VERSION, slow=("stream_events",)),
    "eventsourcing": Published(leaves=ANY_VERSION),
    "prooph": Published(leaves=ANY_VERSION),
    "akka": Published(breaks=BY_NUMBER, leaves=ANY_VERSION, slow=("stream_events",)),
}


def test_every_folder_has_its_verdict() -> None:
    assert {folder.name for folder in FOLDERS.iterdir()} == set(PUBLISHED)


def judged(command: Command, verb: str, name: str, server: str, *flags: str) -> RunResult:
    asked = ("--events", "2k", "--store", str(FOLDERS / name), "--server", server, "--out", verb)
    done: Done = command(verb, *asked, *flags)
    assert done.code in (0, 1, 3), done.err
    result = read_result(Path(verb) / "result.json")
    assert CODES[result.verdict] == done.code
    return result


def slow_plans(result: RunResult) -> set[str]:
    return {plan.statement for plan in result.plans if plan.verdict is Verdict.BROKEN}


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_store_gets_the_verdict_that_its_tables_deserve(
    name: str, command: Command, database: str
) -> None:
    expected = PUBLISHED[name]
    hunted = judged(command, "verify", name, database, "--profile", "quick")
    ordering = hunted.orderings[0]  # a control follows one that is MET
    broken = {one.name.partition(":")[0] for one in ordering.findings if one.verdict is Verdict.BROKEN}
    assert broken == set(expected.breaks), hunted.reasons
    assert hunted.verdict is (Verdict.BROKEN if expected.breaks else Verdict.MET), hunted.reasons
    left = {name for name, reason in ordering.not_asked.items() if "its clients must" in reason}
    assert left == set(expected.leaves)

    explained = judged(command, "explain", name, database)
    assert slow_plans(explained) <= set(expected.slow), explained.reasons

    measured = judged(command, "run", name, database, "--profile", "quick", "--no-baselines")
    assert slow_plans(measured) <= set(expected.slow), measured.reasons
    assert [name for name, one in measured.operations.items() if one.failed] == []
    assert {"append_events[1]", "append_events[100]", "stream_events[1000]"} <= set(measured.operations)


def zero_based(folder: Path) -> Path:
    """The example, its versions stored from 0: each statement that reads one adds 1, each that takes one subtracts it."""
    write_template(folder)
    for file, old, new in (
        ("append_events.sql", ":expected_version + place", ":expected_version + place - 1"),
        ("append_events.sql", "select version, written_by", "select version + 1 as version, written_by"),
        ("load_aggregate.sql", "version as sequence_number", "version + 1 as sequence_number"),
        ("load_aggregate.sql", ":from_sequence", ":from_sequence - 1"),
        ("stream_events.sql", "version as sequence_number", "version + 1 as sequence_number"),
        ("stream_tenant_events.sql", "version as sequence_number", "version + 1 as sequence_number"),
    ):
        path = folder / file
        head, mark, body = path.read_text().partition("select" if file != "append_events.sql" else "with")
        assert old in body
        path.write_text(head + mark + body.replace(old, new))
    return folder


@pytest.mark.long
def test_streams_that_count_from_0_are_sound_once_the_store_reports_it(
    command: Command, database: str
) -> None:
    folder = zero_based(Path("zero-based"))
    asked = ("--store", str(folder), "--server", database)
    refused = command("stores", "check", *asked)
    assert (refused.code, "first_sequence = 0" in refused.err) == (2, True), refused.err
    settings = folder / "store.toml"
    settings.write_text(settings.read_text().replace("[tables]", "first_sequence = 0\n\n[tables]", 1))
    hunted = command("verify", "--events", "3k", "--profile", "quick", *asked)
    assert hunted.code == 0, hunted.out
    ordering = read_result(Path("out/result.json")).orderings[0]
    assert (ordering.verdict, ordering.lost) == (Verdict.MET, 0)
