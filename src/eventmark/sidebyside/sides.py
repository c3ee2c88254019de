"""The two sides of a gate: what was named on the command line, made ready to be measured.

A side is a revision of the repository, a store, server settings, or a server. Revisions are checked out into
folders that are gone afterwards; a revision of Eventmark itself is measured by its own code.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from eventmark.errors import CannotRunError, UsageError
from eventmark.git import check_out, commit_of, repository_of
from eventmark.redaction import is_dsn, redact
from eventmark.server.dsn import read_dsn
from eventmark.stores import store_names

BASE, CANDIDATE = "base", "candidate"
WORK_TREE = "."
INSTALL_TIMEOUT_S = 900.0
_OWN_NAME, _ENGINE_NAME = "eventmark", "eventmark-engine"
PROGRAM = "eventmark.sidebyside.side"
_PROGRAMS = (PROGRAM, "eventmark.scenarios.gate.side")  # today's, and where older revisions have it
_KINDS = ("git", "store", "server")
_SETTING = re.compile(r"[a-z_][a-z0-9_.]{0,62}")
_VALUE = re.compile(r"[^'\\\x00-\x1f]{1,200}")


class NewStoreError(UsageError):
    """The candidate has the store and the base has not: there is nothing to hold it against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side. ``source`` is where its Eventmark is imported from, None for this one.

    ``program`` is the module that a process of it runs. ``dsn`` empty: on the gate's own server. ``settings``
    are the server's for this side alone.
    """

    role: str
    named: str
    store: str
    revision: str = ""
    source: Path | None = None
    python: str = sys.executable
    program: str = PROGRAM
    dsn: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Of the side's processes."""
        # Safe: a folder named like a module of ours must not be imported because somebody stands in it.
        own = {} if self.source is None else {"PYTHONPATH": str(self.source)}
        return {**os.environ, "PYTHONSAFEPATH": "1", **own}


@contextmanager
def both_sides(
    base: str, candidate: str, store: str, path: Path | None = None
) -> Iterator[tuple[Side, Side]]:
    """Both sides ready; ``path`` is where relative paths and the repository are, the working directory by default.

    Raises ``UsageError`` for what names no side, ``CannotRunError`` where one cannot be made ready.
    """
    here = path or Path.cwd()
    with tempfile.TemporaryDirectory(prefix="eventmark-gate-") as scratch:
        Path(scratch).chmod(0o755)
        # The candidate first: a store that the base alone lacks is new.
        candidate_side, base_side = (
            _made_ready(
                _kind_of(text, here),
                Side(role=role, named=shown(text), store=store),
                here,
                Path(scratch) / role,
            )
            for role, text in ((CANDIDATE, candidate), (BASE, base))
        )
        sides = [base_side, candidate_side]
        if bool(sides[0].dsn) != bool(sides[1].dsn):
            raise UsageError(
                "one side names a server and the other does not",
                remedy="name a server on both sides, or --server",
            )
        yield sides[0], sides[1]


def shown(text: str) -> str:
    """A side as it was named, without a password."""
    return redact(text) if is_dsn(text) else text


def _kind_of(text: str, here: Path) -> tuple[str, str]:
    """What a side's text stands for: with its kind before a colon, or as it looks."""
    kind, _, value = text.partition(":")
    if is_dsn(text):
        return "dsn", text
    if kind in _KINDS and value:
        return kind, value
    if not text:
        raise UsageError("a side without a name", remedy="name a revision, a store, server:... or a DSN")
    if text == WORK_TREE:
        return "git", text
    if text in store_names() or (here / text / "store.toml").is_file():
        return "store", text
    return "git", text


def _made_ready(kind: tuple[str, str], side: Side, here: Path, scratch: Path) -> Side:
    what, value = kind
    if what == "dsn":
        return replace(side, dsn=read_dsn(value))
    if what == "server":
        return replace(side, settings=_settings(value))
    if what == "store":
        return replace(side, store=_absolute(value, here))
    return _revision(side, value, here, scratch)


def _settings(text: str) -> dict[str, str]:
    """``work_mem=4MB,jit=on``; ``default`` stands for none."""
    if text == "default":
        return {}
    settings = {}
    for item in text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not _SETTING.fullmatch(name) or not _VALUE.fullmatch(value):
            raise UsageError(f"{item!r} is not a server setting", remedy="write server:work_mem=4MB,jit=on")
        settings[name] = value
    return settings


def _absolute(store: str, here: Path) -> str:
    """A store's folder seen from anywhere; the name of one that comes along as it is."""
    return store if store in store_names() else str((here / store).absolute())


def _revision(side: Side, name: str, here: Path, scratch: Path) -> Side:
    repository = repository_of(here)
    if name == WORK_TREE:
        tree, commit = repository, "work tree"
    else:
        commit = commit_of(repository, name)
        tree = scratch
        check_out(repository, commit, tree)
    within = tree / here.resolve().relative_to(repository.resolve())
    source = _own_source(tree)
    if source is None and side.store in store_names():
        raise UsageError(
            f"the repository {repository} has no store of its own in question: {side.store!r} comes with Eventmark",
            remedy="name the store's folder in the repository, --store ./my-store",
        )
    ready = replace(side, revision=commit, source=source, store=_store_in(side, within, commit))
    if source is None:
        return ready
    return replace(ready, program=_program(source), python=_interpreter(tree, scratch, name))


def _store_in(side: Side, within: Path, commit: str) -> str:
    store = side.store
    if store in store_names():
        return store
    if Path(store).is_absolute():
        raise UsageError(
            f"--store {store} lies in no revision", remedy="name it relative to the working directory"
        )
    if not (within / store / "store.toml").is_file():
        raise (NewStoreError if side.role == BASE else UsageError)(
            f"there is no store {store} in {commit}", remedy="name a store that both revisions have"
        )
    return str((within / store).absolute())


def _own_source(tree: Path) -> Path | None:
    """Where Eventmark's code lies in a revision of Eventmark itself; None of any other project."""
    try:
        project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    if project.get("name") != _OWN_NAME:
        return None
    return tree / "src"


def _program(source: Path) -> str:
    """The module that answers for a revision of Eventmark. Raises ``CannotRunError`` for one from before the gate."""
    for name in _PROGRAMS:
        if (source / f"{name.replace('.', '/')}.py").is_file():
            return name
    raise CannotRunError(
        "this revision of Eventmark is older than the gate, and cannot be measured by it",
        remedy="choose a later revision as base",
    )


def _interpreter(tree: Path, scratch: Path, name: str) -> str:
    """Ours where what the revision needs is installed here; else one of an environment of its own."""
    projects = _projects(tree)
    if all_installed(_required(projects)):
        return sys.executable
    folder = scratch.with_name(f"{scratch.name}-venv")
    program = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *map(str, projects)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
        if done.returncode != 0:
            message = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CannotRunError(
                f"what revision {name} needs could not be installed: {message}",
                remedy="install it, or choose another base",
            )
    return str(program)


def _projects(tree: Path) -> list[Path]:
    """The folders of a revision that are installed: the proving ground, and the engine where it is a project."""
    return [project for project in (tree, tree / "src") if (project / "pyproject.toml").is_file()]


def _required(projects: Iterable[Path]) -> list[str]:
    """What the projects require of others, the engine's extra included that the proving ground asks for."""
    required: list[str] = []
    for path in projects:
        project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        required += project.get("dependencies", ())
        required += project.get("optional-dependencies", {}).get("metrics", ())
    return [text for text in required if not text.startswith(_ENGINE_NAME)]


def all_installed(requirements: Iterable[str]) -> bool:
    """Whether every requirement that applies here is met by what is installed."""
    for text in requirements:
        try:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            if version(requirement.name) not in requirement.specifier:
                return False
        except (InvalidRequirement, PackageNotFoundError):
            return False
    return True
