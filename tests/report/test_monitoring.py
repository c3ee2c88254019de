"""What watches a store: rules that Prometheus' own tool accepts and that fire, dashboards that can be drawn."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from eventmark.engine.metrics import BUCKETS_S, OperationMetrics, StoreGauges
from eventmark.errors import UsageError
from eventmark.report.monitoring import RULES_FILE, render_rules, write_monitoring
from eventmark.report.monitoring.grafana import COLUMNS
from eventmark.report.openmetrics import render_openmetrics
from eventmark.results.exposition import ResultGauges
from eventmark.results.results import RunResult
from eventmark.results.targets import DEFAULT_TARGETS, Target

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")


def promtool(*arguments: str, cwd: Path, text: str = "") -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, check=False, input=text
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dashboards(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(directory.glob("grafana-*.json"))]


def metric_names() -> set[str]:
    """Everything that a store, a run or a result can show."""
    registry = CollectorRegistry()
    for kind in (OperationMetrics, StoreGauges, ResultGauges):
        kind(registry)
    return {metric.name for metric in registry.collect()}


@needs_promtool
def test_rules_and_configuration_are_accepted_by_promtool(tmp_path: Path) -> None:
    write_monitoring(tmp_path, DEFAULT_TARGETS)
    assert "SUCCESS" in promtool("check", "rules", RULES_FILE, cwd=tmp_path)
    assert "SUCCESS" in promtool("check", "config", "prometheus-scrape.yml", cwd=tmp_path)


@needs_promtool
@pytest.mark.parametrize(("slow_share", "fires"), [(0.10, True), (0.02, False)])
def test_the_alert_of_a_target_fires_when_more_calls_than_allowed_are_slower(
    tmp_path: Path, slow_share: float, fires: bool
) -> None:
    (tmp_path / RULES_FILE).write_text(render_rules(DEFAULT_TARGETS, window="1m", hold="30s"))
    fast = 100 - 100 * slow_share
    labels = 'operation="append_events[1]",outcome="ok"'
    expected = [
        {
            "exp_labels": {"operation": "append_events[1]", "severity": "critical"},
            "exp_annotations": {
                "summary": "append_events[1] misses its target",
                "description": "Less than 95% of the calls took below 10 ms over the last 1m.",
            },
        }
    ]
    case = {
        "rule_files": [RULES_FILE],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [
                    {
                        "series": f'eventmark_operation_seconds_bucket{{{labels},le="0.01"}}',
                        "values": f"0+{fast:g}x60",
                    },
                    {"series": f"eventmark_operation_seconds_count{{{labels}}}", "values": "0+100x60"},
                ],
                "alert_rule_test": [
                    {
                        "eval_time": "3m",
                        "alertname": "EventmarkTargetBroken",
                        "exp_alerts": expected if fires else [],
                    }
                ],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(json.dumps(case))  # JSON is YAML
    promtool("test", "rules", "case.yml", cwd=tmp_path)


@needs_promtool
def test_a_result_as_metrics_is_accepted_by_promtool(hunted: RunResult, tmp_path: Path) -> None:
    text = render_openmetrics(hunted)
    assert 'eventmark_verdict{part="append_events[1]",verdict="MET"} 1.0' in text
    assert 'eventmark_target_seconds{operation="append_events[1]",percentile="p95"}' in text
    promtool("check", "metrics", cwd=tmp_path, text=text)


def test_every_target_is_a_bound_of_the_histogram_so_that_its_alert_counts_exactly() -> None:
    assert {target.limit_ms / 1e3 for target in DEFAULT_TARGETS.values()} <= set(BUCKETS_S)
    rules = render_rules({"append_events[1]": Target("p99", 7.5)})
    assert "histogram_quantile(0.99" in rules.partition("eventmark-alerts")[2]


def test_rules_and_dashboards_ask_for_metrics_that_there_are(tmp_path: Path) -> None:
    write_monitoring(tmp_path, DEFAULT_TARGETS)
    texts = [(tmp_path / RULES_FILE).read_text(), *map(json.dumps, dashboards(tmp_path))]
    asked = {
        re.sub("_(bucket|count|total)$", "", name)
        for text in texts
        for name in re.findall(r"\beventmark_[a-z_]+", text)
    }
    assert asked and asked <= metric_names()


def test_panels_of_a_dashboard_have_ids_of_their_own_and_do_not_overlap(tmp_path: Path) -> None:
    write_monitoring(tmp_path, DEFAULT_TARGETS)
    for dashboard in dashboards(tmp_path):
        taken: set[tuple[int, int]] = set()
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids) > 0
        assert dashboard["schemaVersion"] and dashboard["version"] and dashboard["uid"]
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= COLUMNS
            assert not cells & taken
            taken |= cells


@pytest.mark.parametrize("text", ["", "5", "5 m", "m5", "-5m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--window"):
        render_rules(DEFAULT_TARGETS, window=text)
