"""Golden plans: the shapes of a store's plans as somebody approved them, one file per statement and PostgreSQL major.

A file names the corpus its plans were taken from, because a plan that is right for a thousand events need not be
right for a million; shapes of different corpora are not compared.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eventmark.errors import CannotRunError, UsageError
from eventmark.plans.shape import INDENT, shape_of
from eventmark.results.results import PlanResult
from eventmark.text_files import NotTextError, read_text

SUFFIX = ".txt"
NOT_EXAMINED = "not examined"

PINNED_SETTINGS = {
    "seq_page_cost": "1",
    "random_page_cost": "1.1",
    "cpu_tuple_cost": "0.01",
    "cpu_index_tuple_cost": "0.005",
    "cpu_operator_cost": "0.0025",
    "effective_cache_size": "'4GB'",
    "work_mem": "'16MB'",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
"""What the planner is told about the machine, so that approved plans hold on every one."""

_CORPUS = "corpus: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A statement whose plans are not as approved. ``diff`` is in the unified form."""

    statement: str
    diff: str


def folder_of(store_directory: Path, major: int) -> Path:
    """Where a store's golden plans lie."""
    return store_directory / "plans" / str(major)


def texts_of(plans: Sequence[PlanResult], corpus: str) -> dict[str, str]:
    """The text of each statement's file: conditions whose plans have one shape stand together above it."""
    by_statement: dict[str, dict[str, list[str]]] = {}
    for plan in plans:
        shape = shape_of(plan.plan) if plan.plan else NOT_EXAMINED
        by_statement.setdefault(plan.statement, {}).setdefault(shape, []).append(plan.condition)
    return {statement: _text(statement, shapes, corpus) for statement, shapes in by_statement.items()}


def read_golden(folder: Path, corpus: str) -> dict[str, str]:
    """The approved texts by statement, none where there are none.

    Raises ``UsageError`` for plans of another corpus, ``CannotRunError`` for a file that cannot be read.
    """
    texts = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            text = read_text(path)
        except (OSError, NotTextError) as error:
            raise CannotRunError(
                f"{path} cannot be read: {error}", remedy="approve the plans again"
            ) from error
        approved = next((line for line in text.splitlines() if line.startswith(_CORPUS)), "")
        if approved != _CORPUS + corpus:
            raise UsageError(
                f"{path}: plans of another corpus were approved ({approved.removeprefix(_CORPUS) or 'unnamed'}), "
                f"this is {corpus}",
                remedy="ask for that corpus with --events, --tenants, --seed and --payload, or approve these plans",
            )
        texts[path.name.removesuffix(SUFFIX)] = text
    return texts


def differences(approved: Mapping[str, str], plans: Mapping[str, str]) -> list[Difference]:
    """The statements whose plans changed, came or went."""
    return [
        Difference(statement=name, diff=_diff(name, approved.get(name, ""), plans.get(name, "")))
        for name in sorted({*approved, *plans})
        if approved.get(name) != plans.get(name)
    ]


def write_golden(folder: Path, texts: Mapping[str, str]) -> None:
    """Approve these texts and no others. Raises ``CannotRunError`` where they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"*{SUFFIX}"):
            if path.name.removesuffix(SUFFIX) not in texts:
                path.unlink()
        for name, text in texts.items():
            (folder / f"{name}{SUFFIX}").write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotRunError(
            f"{folder} cannot be written: {error.strerror}", remedy="copy the store to a folder of your own"
        ) from error


def _text(statement: str, shapes: Mapping[str, Iterable[str]], corpus: str) -> str:
    lines = [f"statement: {statement}", f"{_CORPUS}{corpus}"]
    for shape, conditions in shapes.items():
        lines += ["", *conditions, *(INDENT * 2 + line for line in shape.splitlines())]
    return "\n".join(lines) + "\n"


def _diff(name: str, approved: str, current: str) -> str:
    return "\n".join(
        difflib.unified_diff(
            approved.splitlines(), current.splitlines(), f"{name}, approved", f"{name}, now", lineterm="", n=4
        )
    )
