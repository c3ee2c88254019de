"""The adviser on the command line: a verdict that says whether trials can be trusted, a list, and a script."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from tests.cli.conftest import Command
from tests.cli.test_verify import schemas


@pytest.mark.long
@pytest.mark.usefixtures("whole_page")
def test_advice_on_a_store_is_shown_and_written_as_a_script(
    command: Command, database: str, tmp_path: Path
) -> None:
    done = command(
        "advise", "--store", "eaf-v3", "--events", "12k", "--profile", "quick", "--parts", "schema", "--server", database,
    )  # fmt: skip
    result = read_result(tmp_path / "out" / "result.json")
    assert done.code == (0 if result.verdict is Verdict.MET else 3), done.err
    assert "What to do: changes of the store" in done.out
    assert "drop row trigger" in done.out
    script = (tmp_path / "out" / "advice.sql").read_text()
    assert 'drop index concurrently if exists "idx_events_payload_type";' in script
    assert 'set search_path = "eventmark_corpus";' in script
    assert "idx_events_payload_type" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert asyncio.run(schemas(database)) == ["public"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--parts", "weather"), "there is no advice on 'weather'"),
        (("--store", "eaf-v4"), "did you mean 'eaf-v3'"),
        (("--events", "0"), "number of events"),
    ],
)
def test_what_cannot_be_advised_on_is_said_in_one_line(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = command("advise", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
