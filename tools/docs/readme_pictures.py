"""The README's pictures, made of committed results: ``make pictures``. The report's first screen needs Chromium."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from eventmark.report import render_terminal
from eventmark.report.html import render_html
from eventmark.results.files import read_result
from eventmark.results.results import RunResult

PICTURES = Path("docs/readme")
RESULTS = Path("docs/results")
OF_PAGES = {"report.png": "1m-postgresql-18.json", "certify.png": "certify-postgresql-18.json"}
OF_TERMINALS = {"verify.svg": "orderings-200k-postgresql-18.json"}
SCREEN = (1280, 900)
COLUMNS = 132
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_REMOTE_FONT = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def terminal_svg(result: RunResult) -> str:
    """What the verb printed, as SVG that loads nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(f"$ {result.command}\n", highlight=False, markup=False)
    console.print(render_terminal(result))
    svg = console.export_svg(title="eventmark", theme=MONOKAI, unique_id="terminal")
    return _REMOTE_FONT.sub("", svg)


def take_picture(page: str, to: Path) -> None:
    """The first screen of ``page`` on a desktop, in light colours."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise SystemExit("Chromium takes the pictures of pages: install it")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8", errors="replace")
        subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--window-size={SCREEN[0]},{SCREEN[1]}", "--virtual-time-budget=15000",
                "--blink-settings=preferredColorScheme=1", f"--user-data-dir={folder}/profile",
                f"--screenshot={to.absolute()}", file.as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main() -> int:
    for name, source in OF_TERMINALS.items():
        (PICTURES / name).write_text(terminal_svg(read_result(RESULTS / source)), encoding="utf-8")
    for name, source in OF_PAGES.items():
        take_picture(render_html(read_result(RESULTS / source)), PICTURES / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
