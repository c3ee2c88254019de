"""dashboards: what watches a store in production, and a page over the history of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.history import known_commits
from eventmark.cli.options import Options
from eventmark.cli.output import check_writable
from eventmark.cli.session import chosen_targets, screen
from eventmark.history import entry_of, find_trends, parse_renames, read_runs
from eventmark.report.history_page import render_history_page
from eventmark.report.monitoring import write_monitoring
from eventmark.results.files import write_whole
from eventmark.stores import find_store


def dashboards(
    *,
    window: Annotated[str, Parameter(help="What rates and quantiles are taken over.")] = "5m",
    hold: Annotated[str, Parameter(name="--for", help="How long before an alert is raised.")] = "5m",
    html: Annotated[
        Path | None, Parameter(help="A folder of results: write one page over their history instead.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        Parameter(negative=(), help="OLD=NEW: a number's name of today; also [renames] in eventmark.toml."),
    ] = None,
    options: Options | None = None,
) -> int:
    """Write Grafana dashboards and Prometheus rules made from the targets into --out."""
    settings = (options or Options()).settings()
    out = Path(settings.out)
    check_writable(out)
    if html is not None:
        page = out / "dashboard.html"
        write_whole(page, _history_page(html, page, rename or []).encode("utf-8", "replace"))
        screen.print(str(page))
        return 0
    targets = chosen_targets(settings, find_store(settings.store))
    for path in write_monitoring(out, targets, window=window, hold=hold):
        screen.print(str(path))
    return 0


def _history_page(results: Path, page: Path, rename: list[str]) -> str:
    history = read_runs(results)
    entries = [entry_of(run) for run in history.runs]
    trends = find_trends(
        entries, renames=parse_renames(rename, entries), commits=known_commits(entries), notes=history.notes,
        damaged=history.damaged,
    )  # fmt: skip
    return render_history_page(history.runs, page, trends)
