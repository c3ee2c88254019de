"""certify from the command line: one answer on a real server, and what is refused before anything is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmark.certify.criteria import QUESTIONS
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from tests.cli.conftest import Command

CODES = {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}


@pytest.mark.long  # 100 s: every part that three minutes have room for
def test_a_certification_answers_every_question_and_keeps_its_parts(command: Command, database: str) -> None:
    asked = ("certify", "--events", "20k", "--profile", "quick", "--server", database)
    done = command(*asked, "--minutes", "3")
    result = read_result(Path("out/result.json"))
    assert done.code == CODES[result.verdict], done.err
    assert [one.name for one in result.criteria] == [question.name for question in QUESTIONS]
    for one in result.criteria:
        assert one.question in done.out
        assert one.reason or one.figure
    lost = result.criteria[0]
    assert "lost of" in lost.figure and lost.verdict is not Verdict.BROKEN
    assert result.corpus is not None and result.plans and result.operations and result.orderings
    assert {"verify.json", "operations.json", "certification.json"} <= {
        path.name for path in Path("out/parts").iterdir()
    }
    assert command("report", "out/result.json", "--out", "again").code == done.code
    assert done.out.partition("\n\n")[0] in command("report", "out/result.json", "--out", "again").out
    again = command(*asked, "--minutes", "1", "--resume")
    assert "finished before: lost events" in again.err
    assert read_result(Path("out/result.json")).orderings == result.orderings


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--minutes", "0"), "--minutes must be from 1 to"),
        (("--minutes", "1", "--events", "100M"), "1 minutes are too few for anything"),
        (("--resume",), "holds no certification to resume"),
        (("--profiler", "cpu"), "--profiler works for one part alone"),
    ],
)
def test_what_cannot_be_certified_is_said_at_once(
    command: Command, database: str, flags: tuple[str, ...], said: str
) -> None:
    done = command("certify", "--server", database, *flags)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not Path("out/result.json").exists()
