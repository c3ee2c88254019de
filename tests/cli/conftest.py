"""The command line within this process: as quick as a function call, with its output and exit code."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventmark import report
from eventmark.cli.main import run_command
from eventmark.jobs.profiles import PROFILES
from eventmark.report.markdown import render_markdown
from tests.quick_command import FEW


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands within this process."""
    monkeypatch.setitem(PROFILES, "quick", FEW)


@pytest.fixture(autouse=True)
def plain_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands within this process: in the page's place its text, as charts take longer than what is tested."""
    if "whole_page" not in request.fixturenames:
        monkeypatch.setitem(report._WRITERS, "report.html", render_markdown)


@pytest.fixture
def whole_page() -> None:
    """For tests of what is in the page."""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("run", "--events", "0")`` in an empty folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["eventmark", *arguments])
        code = run_command(arguments)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """Where the server's own user may enter, too: pytest's folders are private."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
