"""``report.html``: one file that loads nothing, interactive, for a desk and for a phone."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from eventmark.measure.results import PlanResult, RunResult, Verdict
from eventmark.report import numbers
from eventmark.report.charts import chart_specs

_ORDER = {Verdict.BROKEN: 0, Verdict.INCONCLUSIVE: 1, Verdict.MET: 2}


def render_html(result: RunResult) -> str:
    """The whole page. Everything from the result is escaped; a content security policy forbids the network."""
    environment = _environment()
    return environment.get_template("report.html.j2").render(
        result=result,
        charts=chart_specs(result),
        plans=sorted(result.plans, key=lambda plan: _ORDER[plan.verdict]),
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        library=Markup(_library()),
    )


@lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eventmark.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": numbers.milliseconds,
        "whole": numbers.whole,
        "significant": numbers.significant,
        "interval": numbers.interval,
        "floor": numbers.floor_text,
        "script_json": script_json,
    }
    environment.globals |= {"plan_rows": plan_rows}
    return environment


def script_json(value: Any) -> Markup:
    """JSON for a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def plan_rows(plan: PlanResult) -> list[tuple[int, str, str]]:
    """The plan's nodes in order: depth, what it is, what it did."""
    rows: list[tuple[int, str, str]] = []

    def walk(node: dict[str, Any], depth: int) -> None:
        target = node.get("Index Name") or node.get("Relation Name") or node.get("CTE Name") or ""
        did = [
            f"{numbers.significant(float(node.get('Actual Rows', 0)))} rows × {node.get('Actual Loops', 0)}"
        ]
        buffers = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
        did.append(f"{numbers.whole(buffers)} buffers")
        if removed := node.get("Rows Removed by Filter"):
            did.append(f"{numbers.significant(float(removed))} rows removed")
        rows.append((depth, f"{node.get('Node Type', '?')} {target}".strip(), ", ".join(did)))
        for child in node.get("Plans", []):
            walk(child, depth + 1)

    if plan.plan:
        walk(plan.plan, 0)
    return rows


@lru_cache
def _library() -> str:
    text: str = vl_convert.javascript_bundle(snippet=None)  # type: ignore[arg-type]
    return text.replace("</script", "<\\/script")


def _asset(name: str) -> str:
    return (files("eventmark.report") / "assets" / name).read_text(encoding="utf-8")
