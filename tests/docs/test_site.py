"""The documentation's site: its pages exist, its links lead somewhere, its tutorial works, and it builds offline."""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventmark.cli.main import VERBS, run_command
from eventmark.stores.definition import read_definition
from tools.docs.site import ROOT, generated_pages, with_site_links

DOCS = ROOT / "docs"
_LINK = re.compile(r"\]\((?P<target>[^)#:\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_FILE = re.compile(r"`(?P<name>[\w.]+)`:\n\n```(?:sql|toml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\ssrc=["']?(?P<script>[^"'\s>]+)|"""
                     r"""<link\b[^>]*rel=["']?(?:stylesheet|preload|icon|preconnect)["']?[^>]*>""")  # fmt: skip
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every page of the site by its path, as Markdown."""
    written = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
    return generated_pages() | {
        name: with_site_links(path.read_text(encoding="utf-8"), folder=posixpath.join("docs", posixpath.dirname(name)))
        for name, path in written.items()
    }  # fmt: skip


def navigation(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for child in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from navigation(child)


def slugs(page: str) -> set[str]:
    """The anchors of a page's headings."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_the_navigation_has_every_page_but_decisions(pages: dict[str, str]) -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = list(navigation(settings["nav"]))
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for name in pages if not name.startswith("adr/")} | {"adr/index.md"}


def test_every_link_leads_to_a_page_and_a_heading_of_it(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for link in _LINK.finditer(text):
            path = (
                posixpath.normpath(posixpath.join(posixpath.dirname(name), link["target"]))
                if link["target"]
                else name
            )
            assert path in pages or (DOCS / path).is_file() or path == "LICENSE", f"{name}: {link[0]}"
            if link["anchor"] and path in pages:
                assert link["anchor"] in slugs(pages[path]), f"{name}: {link[0]}"


def test_the_reference_has_every_verb_setting_and_public_name(pages: dict[str, str]) -> None:
    for verb in VERBS:
        assert f"## eventmark {verb}\n" in pages["reference/verbs.md"]
    assert "| `events` | Events to seed" in pages["reference/settings.md"]
    assert "::: eventmark.engine.PostgresEventStore\n" in pages["reference/engine.md"]
    assert "[OperationResult](#operationresult)" in pages["reference/result-format.md"]


def test_the_tutorials_store_is_one(tmp_path: Path) -> None:
    """Its files, written into the folder that it makes."""
    folder = tmp_path / "shop"
    assert run_command(["stores", "new", str(folder)]) == 0
    for name in re.findall(r"shop/(\w+\.sql)", TUTORIAL):
        (folder / name).unlink()
    files = {found["name"]: found["text"] for found in _FILE.finditer(TUTORIAL)}
    for name, text in files.items():
        (folder / name).write_text(text)
    assert set(files) == {path.name for path in folder.iterdir()}
    definition = read_definition(folder)
    assert (definition.name, definition.ordering) == ("shop", "global-sequence")
    assert set(definition.statements) == {name.removesuffix(".sql") for name in files} - {
        "schema",
        "store.toml",
    }


@pytest.mark.long
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    loaded = [found[0] for page in tmp_path.rglob("*.html") for found in _LOADED.finditer(page.read_text())]
    assert loaded
    assert not [tag for tag in loaded if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)]
