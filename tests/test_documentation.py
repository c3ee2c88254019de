"""What the documentation says is so: its commands are commands, its code runs, its pages are those that are made."""

from __future__ import annotations

import ast
import asyncio
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cyclopts import App

from eventmark.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROCESSOR_S = 3.0  # a processor runs until it is told to end


def verbs(of: App, *before: str) -> Iterator[str]:
    """Every verb, and those below it."""
    for name in of:
        if name.startswith("-"):
            continue
        yield " ".join([*before, name])
        yield from verbs(of[name], *before, name)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page: str) -> Iterator[str]:
    """Command lines of code blocks, and those within sentences."""
    fenced = "\n".join(blocks(page, "(?:|sh|bash|console)"))
    yield from re.findall(r"^(?:\S*/)?(eventmark .*|make .*)$", fenced, re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(one.split()) for one in re.findall(r"`((?:eventmark|make)\s[^`]+)`", prose))


COMMANDS = [
    (page.name, command)
    for page in PAGES
    if page.parent.name != "adr"  # of their day
    for command in commands(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("verb", sorted(verbs(app)))
def test_every_verb_is_named_in_the_readme(verb: str) -> None:
    first, _, below = verb.partition(" ")
    assert re.search(rf"`(?:eventmark )?{first}[` ]", README), verb
    if below:
        row = next(line for line in README.splitlines() if line.startswith(f"| `eventmark {first}`"))
        assert re.search(rf"`(?:{first} )?{below}[` ]", row), verb


def test_the_pages_have_commands_of_every_kind() -> None:
    """Or the tests below would look at nothing."""
    assert len(COMMANDS) > 20
    assert {"run", "verify", "stores", "doctor"} <= {line.split()[1] for _, line in COMMANDS}
    assert any(line.startswith("make ") for _, line in COMMANDS)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_in_the_documentation_is_one(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words[1:]), line
        return
    app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_a_command_that_is_none_would_be_noticed() -> None:
    for line in ("run --evnts 5", "fly", "stores make x"):
        with pytest.raises(Exception, match=r"Unknown|Unused"):
            app.parse_args(line, exit_on_error=False, print_error=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def execute(code: str, names: dict[str, Any]) -> None:
    """As at the prompt of ``python -m asyncio``: ``await`` stands anywhere."""
    compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    found = eval(compiled, names)
    if found is not None:
        await found


async def test_the_readmes_code_runs_as_it_stands(database: str) -> None:
    names: dict[str, Any] = {}
    connection = await asyncpg.connect(database)
    await connection.execute("create table outbox (line text)")
    try:
        for code in blocks(README, "python"):
            here = code.replace("postgresql://me@host/db", database).replace("9464", str(free_port()))
            try:
                await asyncio.wait_for(execute(here, names), PROCESSOR_S)
            except TimeoutError:
                assert "EventProcessor" in code
        loaded = await names["store"].load_aggregate("acme", "4711")
        assert [one.event_type for one in loaded] == ["OrderPlaced", "OrderPaid", "OrderShipped"]
        assert [one.event_type for one in names["batch"].events] == ["OrderPlaced"]
        assert await connection.fetchval("select line from outbox") == "4711 is paid"
        assert await connection.fetchval("select count(*) from eventmark.tracking_tokens") == 4
    finally:
        await names["store"].close()
        await names["connection"].close()
        await connection.close()


def test_make_docs_would_change_no_page(tmp_path: Path) -> None:
    recipe = re.search(r"^docs:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.removeprefix("\t$(BIN)/python ").split() for line in recipe[1].splitlines()]
    pages = [word for command in commands for word in command if word.endswith(".md")]
    for page in pages:
        (tmp_path / Path(page).name).write_bytes((ROOT / page).read_bytes())
    for command in commands:
        words = [str(tmp_path / Path(word).name) if word in pages else word for word in command]
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    for page in pages:
        assert (tmp_path / Path(page).name).read_bytes() == (ROOT / page).read_bytes(), (
            f"run make docs: {page}"
        )


def test_links_within_the_documentation_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
