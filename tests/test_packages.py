"""Two packages are built from this repository: the engine, which is of use alone, and the proving ground on top of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import eventmark
from tests.test_documentation import ROOT, blocks

ENGINE, PROVING_GROUND = ROOT / "src", ROOT
PIP_TIMEOUT_S = 600.0

# As at the prompt of `python -m asyncio`: the page's code, then what it read and imported.
SCRIPT = """
import ast, asyncio, json, sys
code, names = sys.stdin.read(), {}
waited = eval(compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
asyncio.run(waited)
print(json.dumps([[one.event_type for one in names["batch"].events], sorted(sys.modules)]))
"""


def pip(*words: str | Path, python: Path | str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The wheel of each project."""
    place = tmp_path_factory.mktemp("wheels")
    asked = pip("download", "--quiet", "--no-deps", "--dest", place, "hatchling")
    if asked.returncode != 0:
        pytest.skip(f"no package index can be reached: {asked.stderr.strip().splitlines()[-1]}")
    built = {}
    for project in (ENGINE, PROVING_GROUND):
        done = pip("wheel", "--quiet", "--no-deps", "--wheel-dir", place / project.name, project)
        assert done.returncode == 0, done.stderr
        (built[project],) = (place / project.name).glob("*.whl")
    return built


def of_eventmark(wheel: Path) -> list[str]:
    """Its files, less those that describe it."""
    return [name for name in ZipFile(wheel).namelist() if name.startswith("eventmark/")]


@pytest.mark.long
def test_every_file_is_in_one_of_the_two_wheels(wheels: dict[Path, Path]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "eventmark"],
        cwd=ENGINE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    there = [name for name in listed.stdout.splitlines() if (ENGINE / name).is_file()]
    held = [name for wheel in wheels.values() for name in of_eventmark(wheel)]
    assert sorted(held) == sorted(there)
    rooms = {"/".join(name.split("/")[:2]) for name in of_eventmark(wheels[ENGINE])}
    assert rooms == {
        f"eventmark/{name}"
        for name in ("__init__.py", "domain", "engine", "errors.py", "py.typed", "text_files.py")
    }
    assert all(
        "dist-info/licenses/LICENSE" in " ".join(ZipFile(wheel).namelist()) for wheel in wheels.values()
    )


@pytest.fixture(scope="module")
def alone(wheels: dict[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the engine's wheel and what it needs."""
    place = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin" / "python"
    installed = pip("install", "--quiet", wheels[ENGINE], python=python)
    assert installed.returncode == 0, installed.stderr
    return python


@pytest.mark.long
def test_the_engine_is_installed_without_anything_heavy(alone: Path) -> None:
    listed = {one["name"] for one in json.loads(pip("list", "--format", "json", python=alone).stdout)}
    assert listed - {"pip", "setuptools", "async-timeout"} == {
        "asyncpg",
        "eventmark-engine",
        "jiter",
        "msgspec",
    }


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ENGINE / "README.md"], ids=["its example", "its own page"]
)
def test_the_engine_works_without_the_proving_ground(
    page: Path, alone: Path, database: str, tmp_path: Path
) -> None:
    example = blocks(page.read_text(encoding="utf-8"), "python")[0]
    ran = subprocess.run(
        [alone, "-I", "-c", SCRIPT], input=example.replace("postgresql://me@host/db", database),
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    events, modules = json.loads(ran.stdout)
    assert events == ["OrderPlaced"]
    assert not {"numpy", "scipy", "altair", "prometheus_client"} & set(modules)
    assert "eventmark.engine.store" in modules
    assert not {"eventmark.server", "eventmark.cli", "eventmark.stores"} & set(modules)


@pytest.mark.long
def test_metrics_without_their_extra_name_it(alone: Path) -> None:
    command = [alone, "-I", "-c", "import eventmark.engine.metrics"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (
        "ImportError: metrics need prometheus-client: pip install 'eventmark-engine[metrics]'" in ran.stderr
    )


def test_the_proving_ground_asks_for_the_engine_of_its_own_version() -> None:
    projects = [
        tomllib.loads((place / "pyproject.toml").read_text())["project"] for place in (ENGINE, PROVING_GROUND)
    ]
    (engine,) = (
        asked
        for text in projects[1]["dependencies"]
        if (asked := Requirement(text)).name == "eventmark-engine"
    )
    assert str(engine.specifier) == f"=={eventmark.__version__}"
    assert engine.extras <= set(projects[0]["optional-dependencies"])
    assert (ENGINE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
