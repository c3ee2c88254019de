"""``report.html``: one file that loads nothing, interactive, for a desk, a phone, the dark and paper."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from eventmark.judgement.verdicts import is_judged
from eventmark.report import numbers, sections, summary
from eventmark.report.cache import kept_text
from eventmark.report.charts import chart_specs
from eventmark.report.glossary import explained
from eventmark.report.orderings import shown_sections
from eventmark.report.plan_tree import plan_tree
from eventmark.report.text import counted, cut
from eventmark.results.results import Floor, OperationResult, PlanResult, RunResult, Verdict
from eventmark.text import plain

PLANS_MAX = 400  # in full; a page is to stay small enough to be sent
LEADING = ("append_events[1]", "append_events[100]", "load_aggregate[1000]", "stream_events[1000]")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """One line of the table of baselines: ours next to the same work of another tool."""

    what: str
    ours: str
    floor: Floor


def render_html(result: RunResult) -> str:
    """The whole page. Everything from the result is escaped; a content security policy forbids the network."""
    shown = summary.worst_plans_first(result.plans)[:PLANS_MAX]
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            sections=shown_sections(result),
            charts=chart_specs(result),
            tallies=summary.tallies(result),
            sentence=summary.verdict_sentence(result),
            scope=summary.scope_sentence(result),
            tuning=summary.tuning_sentence(result),
            next_step=summary.next_step(result),
            leading=leading(result),
            plan_groups=summary.plans_by_statement(shown),
            plans_left_out=len(result.plans) - len(shown),
            baselines=_baseline_rows(result),
            **page_parts(),
        )
    )


def page_parts() -> dict[str, Markup]:
    """What stands in every page: its style, its script, and the library that draws charts."""
    return {
        "style": Markup(_asset("report.css")),
        "script": Markup(_asset("report.js")),
        "library": Markup(_library()),
    }


def leading(result: RunResult) -> dict[str, OperationResult]:
    """The operations that stand for the run at its head; the first ones of a store that has others."""
    shown = {name: result.operations[name] for name in LEADING if name in result.operations}
    return shown or dict(list(result.operations.items())[: len(LEADING)])


def _baseline_rows(result: RunResult) -> list[BaselineRow]:
    """The same work done by other tools, seeding first."""
    rows = []
    if result.corpus is not None:
        ours = f"{numbers.whole(result.corpus.events_per_s)} events/s"
        rows += [BaselineRow(what="seeding", ours=ours, floor=floor) for floor in result.corpus.floors]
    for name, operation in result.operations.items():
        ours = f"p50 {numbers.milliseconds(operation.quantile_ms('p50'))}"
        rows += [BaselineRow(what=name, ours=ours, floor=floor) for floor in operation.floors]
    return rows


def target_share(operation: OperationResult) -> float | None:
    """How much of its target the judged quantile uses; None without a target."""
    value = operation.quantile_ms(operation.target_quantile)
    return None if not operation.target_ms or value is None else float(value / operation.target_ms)


def script_json(value: Any) -> Markup:
    """JSON for a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _shown(value: Any) -> Any:
    """What an expression of the template puts into the page: text without characters that act unseen."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return cut(plain(value)) if not value.isascii() or not value.isprintable() else cut(value)
    return value


@lru_cache
def page_environment() -> jinja2.Environment:
    """Templates of pages, in which everything is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eventmark.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "ms": numbers.milliseconds, "limit": numbers.limit, "whole": numbers.whole, "amount": numbers.amount,
        "significant": numbers.significant, "interval": numbers.interval, "against": numbers.against,
        "distance": numbers.distance,
        "duration": numbers.duration, "mebibytes": numbers.mebibytes, "share": numbers.share,
        "script_json": script_json, "cut": cut, "explained": explained,
    }  # fmt: skip
    environment.globals |= {
        "plan_tree": plan_tree, "faults": summary.faults, "target_share": target_share, "tally": summary.tally,
        "is_judged": is_judged, "NOT_JUDGED": summary.NOT_JUDGED,
        "counted": counted, "quantity": numbers.quantity, "Verdict": Verdict, "plan_title": plan_title,
        "parts_shown": summary.parts_shown, "chart_id": sections.chart_id, "row_texts": sections.row_texts,
        "findings_table": sections.findings_table,
        "is_number_column": sections.is_number_column,
    }  # fmt: skip
    return environment


def plan_title(plan: PlanResult) -> str:
    """The condition, with the kind of plan where the condition does not tell it."""
    if plan.plan_kind in plan.condition:
        return plan.condition
    return f"{plan.condition}, {plan.plan_kind} plan"


@lru_cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, out of the installed package."""
    text = kept_text(f"charts-{version('vl-convert-python')}.js", _bundled)
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _bundled() -> str:
    """Takes seconds of processor time."""
    text: str = vl_convert.javascript_bundle(snippet=None)  # type: ignore[arg-type]
    return text


def _asset(name: str) -> str:
    return (files("eventmark.report") / "assets" / name).read_text(encoding="utf-8")
