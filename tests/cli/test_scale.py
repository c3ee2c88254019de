"""scale and stream on the command line: what is wrong is said before a server is started; a whole run of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.cli import scale as scale_verb
from eventmark.cli.main import run_command
from eventmark.config import Settings
from eventmark.experiments.scale.scale import Scale
from tests.cli.conftest import Command


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--events", "10k"), "10,000 events have no stream of 1000 events"),
        (("--events", "25k", "--to", "100k"), "25,000 events would end within streams"),
        (("--to", "1M"), "1 volumes cannot be compared"),
        (("--to", "many"), "'many' is not a number of events"),
        (("--steps", "2M,1M"), "the volumes must increase"),
        (("--steps", "1M,2M", "--to", "5M"), "--steps end at 2,000,000 events"),
        (("--payloads", "fat"), "'fat'"),
    ],
)
def test_volumes_that_cannot_be_are_one_line_and_exit_code_2(
    command: Command, flags: tuple[str, ...], said: str
) -> None:
    done = command("scale", *flags)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 2


def test_flags_and_file_make_the_same_volumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[tuple[int, ...], Settings]] = []

    def run(scenario: Scale, settings: Settings, *, keep: bool) -> int:
        assert keep
        seen.append((scenario.volumes, settings))
        return 0

    monkeypatch.setattr(scale_verb, "run_scenario", run)
    monkeypatch.chdir(tmp_path)
    assert run_command(["scale", "--events", "20k", "--profile", "quick", "--payloads", "lean"]) == 0
    Path("eventmark.toml").write_text(
        'events = "20k"\npayload = "lean"\nprofile = "quick"\n[scale]\nsteps = "20k,40k,80k"\n'
    )
    assert run_command(["scale"]) == 0
    assert seen[0][0] == seen[1][0] == (20_000, 40_000, 80_000)
    assert replace(seen[1][1], steps="") == seen[0][1]
