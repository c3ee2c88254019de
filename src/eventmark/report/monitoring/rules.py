"""Recording and alert rules of Prometheus, made from the targets of the operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from eventmark.engine.metrics import BUCKETS_S, PORT
from eventmark.errors import UsageError
from eventmark.results.targets import QUANTILES, Target

RULES_FILE = "prometheus-rules.yml"
STALL_S = 60.0  # a transaction that holds consumers up for longer is told
LAG_EVENTS = 100_000
POOL_WAIT_S = 0.05

_DURATION = re.compile(r"(\d+(ms|[smhdwy]))+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRule:
    """One operation's target: ``quantile`` of its calls must take less than ``limit_s``."""

    operation: str
    quantile: float
    limit_s: float

    @property
    def exact(self) -> bool:
        """Whether the metrics count the calls within the limit, so that nothing is interpolated."""
        return self.limit_s in BUCKETS_S


def render_rules(targets: Mapping[str, Target], *, window: str = "5m", hold: str = "5m") -> str:
    """The rules as YAML: rates over ``window``, alerts after ``hold``. Raises ``UsageError`` for no durations."""
    for name, text in (("window", window), ("for", hold)):
        if not _DURATION.fullmatch(text):
            raise UsageError(
                f"--{name} {text!r} is not a duration that Prometheus accepts",
                remedy="write for example 5m or 30s",
            )
    return _template("rules.yml.j2").render(
        rules=[
            TargetRule(operation=name, quantile=QUANTILES[target.quantile], limit_s=target.limit_ms / 1e3)
            for name, target in targets.items()
            if name not in ("create_tail_token", "compare_tokens")  # they ask no server
        ],
        window=window, hold=hold, stall_s=STALL_S, lag_events=LAG_EVENTS, pool_wait_s=POOL_WAIT_S,
    )  # fmt: skip


def render_scrape() -> str:
    """A configuration of Prometheus that scrapes a store's metrics and loads the rules."""
    return _template("scrape.yml.j2").render(port=PORT, rules_file=RULES_FILE)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eventmark.report.monitoring", "templates"),
        autoescape=False,  # YAML; what is put in are numbers, and names of operations as JSON strings
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)
