"""Results that somebody else may have changed: no value of any kind passes for a number, nor ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventmark.cli.main import run_command
from eventmark.results.files import write_result
from tests.history.builders import APPEND, operation, plan, result
from tests.history.test_trends import history

FORKS = (1.0, 1.004, 0.996, 1.002, 0.998)
P50 = '"p50": 1.0'
VALUES = {
    "NaN": '"p50": NaN', "infinite": '"p50": Infinity', "negative infinite": '"p50": -Infinity', "empty": '"p50": ',
    "null": '"p50": null', "text": '"p50": "fast"', "an empty text": '"p50": ""', "too large": '"p50": 1e400',
    "missing": '"was": 1.0',
}  # fmt: skip


def change(path: Path, by: str) -> None:
    text = path.read_text()
    assert P50 in text
    path.write_text(text.replace(P50, by, 1))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "now"):
        write_result(
            result({APPEND: operation(FORKS)}, plans=[plan()], run_id=name), tmp_path / f"{name}.json"
        )
    for one in history([1.0] * 20):
        write_result(one, tmp_path / "results" / f"{one.run_id}.json")
    return tmp_path


@pytest.mark.parametrize("value", VALUES)
def test_a_changed_result_is_named_wherever_it_is_read(
    folder: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / "now.json", VALUES[value])
    for verb in (
        ("compare", "base.json", "now.json"),
        ("compare", "now.json", "base.json"),
        ("report", "now.json"),
    ):
        assert run_command(verb) == 2
        said = capsys.readouterr().err
        assert "now.json" in said
        assert "Traceback" not in said
    change(folder / "results" / "run-4.json", VALUES[value])
    assert (
        run_command(("trend", "results")) == 3
    )  # one of twenty: the others are judged, and this one is named
    assert "run-4.json" in " ".join(capsys.readouterr().out.split())


def test_a_huge_number_is_judged_as_one(folder: Path) -> None:
    document = json.loads((folder / "now.json").read_text())
    for fork in document["operations"][APPEND]["forks"]:
        fork["p50_ms"] *= 1e300
    (folder / "now.json").write_text(json.dumps(document))
    assert run_command(("compare", "base.json", "now.json")) == 1
    assert run_command(("compare", "now.json", "base.json")) == 0


def test_another_programs_file_is_passed_over(folder: Path) -> None:
    (folder / "results" / "package.json").write_text('{"name": "x"}')
    (folder / "results" / "notes.json").write_text("NaN")
    assert run_command(("trend", "results")) == 0
