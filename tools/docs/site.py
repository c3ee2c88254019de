"""Hooks of ``mkdocs.yml``: pages that are made when the site is built, and links that lead out of ``docs``.

The reference comes from the program itself. README.md, SECURITY.md, CONTRIBUTING.md and CHANGELOG.md stay at the top of
the repository and are pages of the site as well.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.docs import reference

ROOT = Path(__file__).parents[2]
TOP = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files at the top of the repository, and what their pages are called."""

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def generated_pages() -> dict[str, str]:
    """The text of each page that is no file in ``docs``."""
    top = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in TOP.items()}
    return {
        **{page: with_site_links(text, folder=".") for page, text in top.items()},
        **reference.pages(),
        "adr/index.md": _decisions(),
    }


def with_site_links(text: str, *, folder: str) -> str:
    """``text``, which stands in ``folder`` of the repository, with links that lead to the site's pages."""
    return _LINK.sub(lambda link: f"{_site_target(link['target'], folder)}{link['anchor'] or ''}", text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of pages in ``docs`` that lead to files at the repository's top."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    return markdown if page.file.generated_by else with_site_links(markdown, folder=folder)


def _site_target(target: str, folder: str) -> str:
    """Relative to the page that has the link. A folder leads to its index."""
    path = posixpath.normpath(posixpath.join(folder, target))
    here = "." if folder == "." else posixpath.relpath(folder, "docs")
    if path in TOP:
        return posixpath.relpath(TOP[path], here)
    if not path.startswith("docs/"):
        return target
    page = path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        page += "/index.md"
    return posixpath.relpath(page, here)


def _decisions() -> str:
    """An index of the decision records, by number."""
    paths = sorted((ROOT / "docs" / "adr").glob("*.md"))
    return "\n".join(["# Decisions", "", *(_decision(path) for path in paths), ""])


def _decision(path: Path) -> str:
    title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return f"- [{title.replace('. ', ': ', 1)}]({path.name})"
