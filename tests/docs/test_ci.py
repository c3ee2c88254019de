"""The CI files that come as examples: valid, and every command in them is one of ours."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventmark.cli.main import app
from eventmark.results.files import write_result
from tests.history.test_trends import git, history, stepped

CI = Path(__file__).parents[2] / "docs" / "ci"
FILES = sorted(CI.glob("*.yml"))
_VARIABLE = re.compile(r"\$\{\{[^}]*\}\}|\$\{?\w+\}?")


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
    parsed = [shlex.split(_VARIABLE.sub("main", line).removeprefix("code=0; ")) for line in lines]
    commands_of_ours = [words for words in parsed if words and words[0] == "eventmark"]
    return [words[: words.index("||")] if "||" in words else words for words in commands_of_ours]


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


PIP = "#!/bin/sh\nexit 0\n"
EVENTMARK = """#!/bin/sh
if [ "$1" = run ]; then mkdir -p out; cp "$TONIGHT" out/result.json; exit "$TONIGHTS_CODE"; fi
exec "{python}" -m eventmark.cli.main "$@"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A remote with one commit; programs that stand for pip, and for a run that has measured its hour already."""
    (tmp_path / "bin").mkdir()
    for name, text in (("pip", PIP), ("eventmark", EVENTMARK.format(python=sys.executable))):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "remote.git").mkdir()
    git(tmp_path / "remote.git", "init", "-q", "--bare", "-b", "main")
    subprocess.run(
        ["git", "clone", "-q", "remote.git", "first"], cwd=tmp_path, check=True, capture_output=True
    )
    git(tmp_path / "first", "switch", "-q", "-c", "main")
    (tmp_path / "first" / "README").write_text("a project\n")
    git(tmp_path / "first", "add", "-A")
    git(tmp_path / "first", "commit", "-q", "-m", "begin")
    git(tmp_path / "first", "push", "-q", "origin", "main")
    return tmp_path


def github_script() -> str:
    """The steps as GitHub runs them: each in a shell of its own that ends at the first error."""
    steps = yaml.safe_load((CI / "github-actions.yml").read_text())["jobs"]["trend"]["steps"]
    written = []
    for step in (one for one in steps if "run" in one):
        text = step["run"].replace("${{ steps.run.outputs.code }}", "$(sed -n s/^code=//p $GITHUB_OUTPUT)")
        always = step.get("if") == "always()"
        written.append(
            f"{'' if always else '[ $failed -ne 0 ] || '}bash -eo pipefail -c {shlex.quote(text)} || failed=$?"
        )
    return "\n".join(["failed=0", *written, "exit $failed"])


def gitlab_script() -> str:
    """The lines as GitLab runs them: one shell that ends at the first error. The remote stays the local one."""
    lines = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["trend"]["script"]
    return "\n".join(["set -eo pipefail", *(line for line in lines if "set-url" not in line)])


def night(place: Path, script: str, number: int, result: Any, code: int) -> tuple[int, str]:
    """The job of one night in a fresh clone, as a service makes it; with its exit code and what it printed."""
    clone = place / f"night-{number}"
    subprocess.run(["git", "clone", "-q", "remote.git", str(clone)], cwd=place, check=True)
    write_result(result, place / "tonight.json")
    environment: Mapping[str, str] = {
        **os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "TONIGHT": str(place / "tonight.json"),
        "TONIGHTS_CODE": str(code), "GITHUB_OUTPUT": str(clone / ".output"), "GITHUB_SHA": "abc", "CI_COMMIT_SHA": "abc",
        "GITHUB_STEP_SUMMARY": str(clone / ".summary"), "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize("script", [github_script, gitlab_script])
def test_the_nightly_job_keeps_its_results_and_is_red_by_what_became_slower(place: Path, script: Any) -> None:
    """The first night has nothing to compare; its missed target is red, and its result is kept; a step is red."""
    results = history(stepped(runs=16, at=10, ratio=1.6))
    code, said = night(place, script(), 0, results[0], 1)
    assert (code, "nothing to compare yet: 1 comparable run" in said) == (1, True), said
    assert git(place / "remote.git", "ls-tree", "-r", "--name-only", "performance") == "results/result.json"
    kept = place / "night-0" / "kept"
    for one in results[1:-1]:  # the nights in between
        write_result(one, kept / "results" / "result.json")
        git(kept, "commit", "-q", "-a", "-m", one.run_id)
    git(kept, "push", "-q", "origin", "performance")
    code, said = night(place, script(), 1, results[-1], 0)
    assert (code, "verdict: BROKEN" in said) == (1, True), said
    code, said = night(place, script(), 2, results[-1], 4)
    assert code != 0, "a run that could not be made is red, and nothing is kept"
    assert git(place / "remote.git", "rev-list", "--count", "performance") == "16"


def test_the_nightly_job_may_push() -> None:
    document = yaml.safe_load((CI / "github-actions.yml").read_text())
    assert document["jobs"]["trend"]["permissions"] == {"contents": "write"}
    assert document["permissions"] == {"contents": "read"}  # of code that a pull request brings
