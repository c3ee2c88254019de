"""The CI files that come as examples: valid, and every command in them is one of ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventmark.cli.main import app

CI = Path(__file__).parents[2] / "docs" / "ci"
FILES = sorted(CI.glob("*.yml"))
_VARIABLE = re.compile(r"\$\{\{[^}]*\}\}|\$\w+")


def commands(document: Any) -> Iterator[str]:
    """Every shell line of the document: ``run`` of GitHub, ``script`` of GitLab."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "run" and isinstance(value, str):
                yield from value.splitlines()
            elif key == "script":
                yield from value
            else:
                yield from commands(value)
    elif isinstance(document, list):
        for item in document:
            yield from commands(item)


def of_eventmark(path: Path) -> list[list[str]]:
    lines = commands(yaml.safe_load(path.read_text(encoding="utf-8")))
    parsed = [shlex.split(_VARIABLE.sub("main", line)) for line in lines]
    return [words for words in parsed if words and words[0] == "eventmark"]


def test_there_is_one_for_each_of_two_forges() -> None:
    assert [path.name for path in FILES] == ["github-actions.yml", "gitlab-ci.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_is_one_of_ours_with_flags_that_it_has(path: Path) -> None:
    found = of_eventmark(path)
    assert any(words[1] == "gate" for words in found)
    for words in found:
        command, bound, unused = app.parse_args(words[1:], exit_on_error=False, print_error=False)[:3]
        assert command.__module__.startswith("eventmark.cli."), words
        assert bound.arguments or bound.kwargs
        assert not unused


def test_a_flag_that_there_is_not_is_noticed() -> None:
    with pytest.raises(Exception, match="--bse"):
        app.parse_args(["gate", "--bse", "main"], exit_on_error=False, print_error=False)


def test_github_gets_its_summary_and_gitlab_its_junit() -> None:
    github = yaml.safe_load((CI / "github-actions.yml").read_text())
    gitlab = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    run = next(line for line in commands(github["jobs"]["gate"]) if "eventmark gate" in line)
    assert '--summary "$GITHUB_STEP_SUMMARY"' in run
    assert gitlab["gate"]["artifacts"]["reports"]["junit"] == "gate/junit.xml"
    assert gitlab["gate"]["allow_failure"]["exit_codes"] == 3
