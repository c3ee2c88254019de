"""What watches a store in production: Prometheus rules and Grafana dashboards, made from targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from eventmark.report.monitoring.grafana import operations_dashboard, run_dashboard
from eventmark.report.monitoring.rules import RULES_FILE, render_rules, render_scrape
from eventmark.results.files import write_whole
from eventmark.results.targets import Target

__all__ = ["RULES_FILE", "render_rules", "write_monitoring"]


def write_monitoring(
    directory: Path, targets: Mapping[str, Target], *, window: str = "5m", hold: str = "5m"
) -> list[Path]:
    """The files into ``directory``; which they are. Raises ``CannotRunError`` where it cannot be written."""
    files = {
        RULES_FILE: render_rules(targets, window=window, hold=hold).encode(),
        "prometheus-scrape.yml": render_scrape().encode(),
    }
    for dashboard in (operations_dashboard(targets, window=window), run_dashboard()):
        files[f"grafana-{dashboard.uid}.json"] = msgspec.json.format(msgspec.json.encode(dashboard), indent=1)
    written = []
    for name, content in files.items():
        write_whole(directory / name, content)
        written.append(directory / name)
    return written
