"""A real browser that looks at a page: what it drew, what it complained about, whether it fits."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BROWSER = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
_BUDGET_MS = 15_000
_SETTLE_MS = 6_000

# The page stands in a frame, for a headless window is never narrower than 500 pixels.
_FRAME = """<!doctype html><body style="margin:0">
<iframe src="page.html" style="border:0;width:{width}px;height:2400px"></iframe>
<script>
setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  const root = page.documentElement;
  const seen = document.documentElement.dataset;
  seen.overflow = root.scrollWidth - {width};
  seen.charts = root.dataset.charts;
  seen.chartError = root.dataset.chartError || "";
  const charts = [...page.querySelectorAll(".chart svg")];
  seen.drawn = charts.length;
  seen.wide = charts.filter((one) => one.getBoundingClientRect().right > {width}).length;
  seen.marks = page.querySelectorAll(":is(.mark-line, .mark-rect, .mark-area) path").length;
  const tables = [...page.querySelectorAll(".scroll > table")];
  seen.cut = tables.filter((one) => one.scrollWidth > one.parentElement.clientWidth + 1).length;
  seen.text = charts.map((one) => one.textContent).join(" ");
}}, {settle});
</script>"""


@dataclass(frozen=True, slots=True)
class Look:
    """What the browser saw: facts about the page, and its console's messages."""

    facts: dict[str, str]
    console: list[str]


def look_at(page: str, place: Path, *, width: int, dark: bool = False) -> Look:
    """``page`` in a window of ``width`` pixels; ``place`` is an empty folder."""
    (place / "page.html").write_text(page, encoding="utf-8", errors="replace")
    (place / "frame.html").write_text(_FRAME.format(width=width, settle=_SETTLE_MS), encoding="utf-8")
    assert BROWSER is not None
    with _served(place) as address:
        done = subprocess.run(
            [
                BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={max(500, width)},2400",
                f"--user-data-dir={place / 'profile'}", f"--virtual-time-budget={_BUDGET_MS}",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--enable-logging=stderr", "--dump-dom",
                f"{address}/frame.html",
            ],
            capture_output=True, text=True, errors="replace", timeout=120, check=False,
        )  # fmt: skip
    tag = re.search(r"<html[^>]*>", done.stdout)
    assert tag is not None, done.stderr[-1000:]
    facts = dict(re.findall(r'data-([a-z-]+)="([^"]*)"', tag[0]))
    return Look(facts, [line for line in done.stderr.splitlines() if ":CONSOLE:" in line])


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is for results."""

    def do_GET(self) -> None:
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
            return
        super().do_GET()
