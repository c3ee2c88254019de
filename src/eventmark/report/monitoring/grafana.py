"""Dashboards of Grafana: the parts of its JSON model that we use, typed, with a version of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventmark.results.targets import Target

SCHEMA_VERSION = 39  # of Grafana's model; later releases migrate it when they load it
DASHBOARD_VERSION = 1  # ours: rises with every change of a dashboard
COLUMNS = 24


def _source() -> dict[str, str]:
    """The data source that the reader chooses at the head of the dashboard."""
    return {"type": "prometheus", "uid": "${source}"}


def _chooser() -> dict[str, Any]:
    return {"list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]}


def _last_hour() -> dict[str, str]:
    return {"from": "now-1h", "to": "now"}


class Query(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One expression of a panel."""

    expr: str
    ref_id: str
    legend_format: str = ""
    datasource: dict[str, str] = msgspec.field(default_factory=_source)


class GridPosition(msgspec.Struct, frozen=True):
    """Place and size in the grid of 24 columns."""

    x: int
    y: int
    w: int
    h: int


class Panel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A panel. ``field_config`` and ``options`` are as Grafana's panel of that ``type`` has them."""

    id: int
    type: str
    title: str
    description: str
    grid_pos: GridPosition
    targets: list[Query]
    field_config: dict[str, Any]
    options: dict[str, Any]
    datasource: dict[str, str] = msgspec.field(default_factory=_source)


class Dashboard(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A dashboard, as ``POST /api/dashboards/db`` and file provisioning take it."""

    uid: str
    title: str
    description: str
    panels: list[Panel]
    tags: list[str] = msgspec.field(default_factory=lambda: ["eventmark"])
    schema_version: int = SCHEMA_VERSION
    version: int = DASHBOARD_VERSION
    editable: bool = True
    refresh: str = "10s"
    time: dict[str, str] = msgspec.field(default_factory=_last_hour)
    templating: dict[str, Any] = msgspec.field(default_factory=_chooser)


class _Page:
    """Panels laid out from the left to the right and downwards."""

    def __init__(self) -> None:
        self.panels: list[Panel] = []
        self._x = self._y = self._row = 0

    def add(
        self, title: str, queries: Sequence[tuple[str, str]], *, description: str, unit: str, width: int = 12,
        height: int = 8, kind: str = "timeseries", limit: float | None = None,
    ) -> None:  # fmt: skip
        if self._x + width > COLUMNS:
            self._x, self._y, self._row = 0, self._y + self._row, 0
        self.panels.append(
            Panel(
                id=len(self.panels) + 1, type=kind, title=title, description=description,
                grid_pos=GridPosition(self._x, self._y, width, height),
                targets=[
                    Query(expr=expr, legend_format=legend, ref_id=chr(ord("A") + number))
                    for number, (expr, legend) in enumerate(queries)
                ],
                field_config=_field_config(unit, limit), options=_options(kind),
            )
        )  # fmt: skip
        self._x, self._row = self._x + width, max(self._row, height)


def operations_dashboard(targets: Mapping[str, Target], *, window: str = "5m") -> Dashboard:
    """A store in production or under test: latencies against targets, rates, consumers, the pool."""
    page = _Page()
    rate = f"[{window}]"
    page.add(
        "Operations", [(f"sum by (operation) (rate(eventmark_operation_seconds_count{rate}))", "{{operation}}")],
        description="Calls a second, by operation.", unit="ops",
    )  # fmt: skip
    page.add(
        "Events", [(f"sum by (direction) (rate(eventmark_events_total{rate}))", "{{direction}}")],
        description="Events a second, appended, loaded and streamed.", unit="ops",
    )  # fmt: skip
    for name, target in targets.items():
        if name in ("create_tail_token", "compare_tokens"):
            continue
        of = f'eventmark_operation_seconds_bucket{{operation="{name}",outcome="ok"}}'
        page.add(
            name,
            [
                (f"histogram_quantile({share}, sum by (le) (rate({of}{rate})))", legend)
                for share, legend in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ],
            description=f"{target.quantile} has to stay below {target.limit_ms:g} ms.", unit="s", width=8,
            limit=target.limit_ms / 1e3,
        )  # fmt: skip
    page.add(
        "Lag of processors", [("eventmark_processor_lag_events", "{{processor}}/{{segment}}")],
        description="Global sequence numbers to the head of the log.", unit="short",
    )  # fmt: skip
    page.add(
        "What holds consumers up", [("eventmark_horizon_age_seconds", "oldest transaction")],
        description="Age of the transaction at the horizon; eventmark doctor --dsn names its session.", unit="s",
    )  # fmt: skip
    page.add(
        "Pool",
        [
            ("eventmark_pool_connections", "{{state}}"),
            (f"histogram_quantile(0.95, sum by (le) (rate(eventmark_pool_wait_seconds_bucket{rate})))", "wait p95, s"),
        ],
        description="Connections, and how long operations waited for one.", unit="short",
    )  # fmt: skip
    page.add(
        "Conflicts and errors",
        [
            (
                f'sum by (operation, outcome) (rate(eventmark_operation_seconds_count{{outcome!="ok"}}{rate}))',
                "{{operation}} {{outcome}}",
            )
        ],
        description="Calls a second that did not succeed.", unit="ops",
    )  # fmt: skip
    return Dashboard(
        uid="eventmark-operations", title="Eventmark: operations",
        description="An event store's operations against their targets, its consumers and its pool.",
        panels=page.panels,
    )  # fmt: skip


def run_dashboard() -> Dashboard:
    """Results of runs, collected from their ``metrics.prom`` files or scraped at their end."""
    page = _Page()
    page.add(
        "Verdict", [('eventmark_verdict{part="run"} == 1', "{{verdict}}")],
        description="The result of the last run.", unit="none", width=6, height=5, kind="stat",
    )  # fmt: skip
    page.add(
        "Latency as a share of its target",
        [("eventmark_latency_seconds / eventmark_target_seconds", "{{operation}}, {{percentile}}")],
        description="1 is the target.", unit="percentunit", width=18, limit=1.0,
    )  # fmt: skip
    page.add(
        "Broken", [('eventmark_verdict{verdict="BROKEN"} == 1', "{{part}}")],
        description="Parts of the last run that are BROKEN.", unit="none", width=12,
    )  # fmt: skip
    page.add(
        "Figures", [("eventmark_figure", "{{name}} {{unit}}")],
        description="Capacity, growth and ratios of the runs.", unit="short", width=12,
    )  # fmt: skip
    return Dashboard(
        uid="eventmark-runs", title="Eventmark: runs",
        description="Verdicts, quantiles and figures of runs over time.", panels=page.panels,
    )  # fmt: skip


def _field_config(unit: str, limit: float | None) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": unit, "min": 0, "custom": {"fillOpacity": 8, "lineWidth": 2}}
    if limit is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
    return {"defaults": defaults, "overrides": []}


def _options(kind: str) -> dict[str, Any]:
    if kind == "stat":
        return {"textMode": "name", "colorMode": "value", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
