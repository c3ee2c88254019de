"""stress, soak and isolate on the command line: wired, judged, and clear about bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmark.results.files import read_result
from tests.cli.conftest import Command


@pytest.mark.parametrize("aged", [("--aged",), pytest.param((), marks=pytest.mark.long)])
def test_a_case_of_stress_ends_with_its_exit_code_and_reports_and_ages_on_demand(
    command: Command, database: str, tmp_path: Path, aged: tuple[str, ...]
) -> None:
    arguments = ("--cases", "pool-exhausted", "--events", "3k", "--profile", "quick", "--server", database)
    done = command("stress", *arguments, *aged)
    result = read_result(tmp_path / "out" / "result.json")
    assert done.code in (0, 3), done.out  # a busy machine may leave the speed afterwards undecided
    expected = ["stress-pool-exhausted", "bottleneck"]
    assert [section.name for section in result.sections] == ["aged-corpus"] * len(aged) + expected
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("stress", "--cases", "deadlok"), 2, "did you mean 'deadlock'"),
        (("soak", "--capacity", "none.json"), 2, "none.json"),
        (("soak", "--mix", "append_event[1]=1"), 2, "append_events[1]"),
        (("isolate", "--against", "full-reply"), 2, "did you mean 'full-replay'"),
        (("isolate", "--inflation-max", "0.5"), 2, "--inflation-max"),
        (("isolate", "--aggressor-users", "0"), 2, "--aggressor-users"),
        (("isolate", "--tenant-pool-max", "2"), 2, "--tenant-pool-max needs --one-service"),
        (("isolate", "--one-service", "--tenant-pool-max", "0"), 2, "--tenant-pool-max must be from 1"),
        (("isolate", "--one-service", "--tenant-pool-max", "20"), 2, "from 1 to 19 of 20 connections"),
        (("isolate", "--one-service", "--tenant-pool-max", "4"), 2, "never reach a bound of 4"),
        (("isolate", "--one-service", "--through", "wire"), 2, "leave --through out"),
        (("soak", "--seconds", "0"), 2, "--seconds"),
    ],
)
def test_bad_input_is_one_clear_line_before_anything_starts(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = command(*arguments)
    assert done.code == code, done.err
    assert said in done.err + done.out
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 4
    assert not (tmp_path / ".eventmark").exists()
