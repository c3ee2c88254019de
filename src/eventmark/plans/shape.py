"""A plan's shape: what the server does and by which index, without what differs from one run to the next.

Costs, rows, times, values, parameters and the schema's name are left out, so that two plans of the same shape
read the same way, whatever they were run with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from eventmark.plans.work import Node, buffers_of

INDENT = "  "
ANY = "?"  # stands for a value or a parameter

_CONDITIONS = (
    "Index Cond", "Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Join Filter", "One-Time Filter", "Filter",
)  # fmt: skip
_THROWN_AWAY = {
    "Rows Removed by Filter": "removed by the filter",
    "Rows Removed by Index Recheck": "removed by the recheck",
    "Rows Removed by Join Filter": "removed by the join filter",
    "Heap Fetches": "heap fetches",
    "Temp Written Blocks": "temporary pages written",
}
_TYPE = (
    r"(?:timestamp with(?:out)? time zone|double precision|character varying|\"?\w+\"?)(?:\(\d+\))?(?:\[\])*"
)
_VALUE = re.compile(rf"(?:'(?:[^']|'')*'|\$\d+|(?<![\w.])-?\d+(?:\.\d+)?)(?:::{_TYPE})?")
_QUALIFIED_CALL = re.compile(r"(?:\"[^\"]+\"|\b\w+)\.(?=\"?\w+\"?\()")


def shape_of(plan: Node) -> str:
    """The plan as an indented tree, a line for each node and one for each of its conditions."""
    return "\n".join(_lines(plan, 0, lambda _: ""))


def figures_of(plan: Node) -> str:
    """The same tree with what the planner expected of each node and what came of it."""
    return "\n".join(_lines(plan, 0, _figures))


def summary_of(plan: Node) -> str:
    """The scans and sorts of a plan in one line: ``Index Scan using domain_events_position``."""
    told = dict.fromkeys(_title(node) for node in _every(plan) if "Scan" in node["Node Type"] or _sorts(node))
    return ", ".join(told) or _title(plan)


def masked(condition: str) -> str:
    """A condition with ``?`` for each of its values and parameters."""
    return _QUALIFIED_CALL.sub("", _VALUE.sub(ANY, condition))


def _lines(node: Node, depth: int, more: Callable[[Node], str]) -> Iterator[str]:
    named = _subplan(node)
    yield INDENT * depth + (f"{named}: " if named else "") + _title(node) + more(node)
    for key in _CONDITIONS:
        if key in node:
            yield f"{INDENT * (depth + 2)}{key}: {masked(str(node[key]))}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1, more)


def _figures(node: Node) -> str:
    """Rows and cost as planned, rows as they came (per loop, as the server counts), pages, what was thrown away."""
    planned = f"planned {node.get('Plan Rows', 0):,} rows at cost {node.get('Total Cost', 0.0):,.2f}"
    loops = node.get("Actual Loops", 0)
    if not loops:
        return f"  ({planned}; never run)"
    came = f"came {node.get('Actual Rows', 0):,.0f}" + (f" in each of {loops:,} loops" if loops > 1 else "")
    told = [f"{planned}; {came}", f"{buffers_of(node):,.0f} pages"]
    told += [f"{node[key]:,} {text}" for key, text in _THROWN_AWAY.items() if node.get(key)]
    return f"  ({', '.join(told)})"


def _every(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _every(child)


def _sorts(node: Node) -> bool:
    return node["Node Type"] in ("Sort", "Incremental Sort")


def _title(node: Node) -> str:
    """As PostgreSQL's own text output names a node."""
    kind = str(node["Node Type"])
    if kind == "ModifyTable":
        kind = str(node.get("Operation", kind))
    elif kind == "Aggregate" and node.get("Strategy") not in (None, "Plain"):
        kind = f"{node['Strategy']} Aggregate"
    if node.get("Join Type") not in (None, "Inner"):
        kind = f"{kind} {node['Join Type']} Join".replace("Join Left Join", "Left Join")
    parts = ["Parallel" if node.get("Parallel Aware") else "", kind]
    if node.get("Scan Direction") == "Backward":
        parts.append("Backward")
    if "Index Name" in node:
        parts.append(("on " if kind == "Bitmap Index Scan" else "using ") + str(node["Index Name"]))
    on = node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name")
    if on:
        parts.append(f"on {on}")
    if _sorts(node):
        parts.append("by " + ", ".join(masked(str(key)) for key in node.get("Sort Key", ())))
    if "Conflict Arbiter Indexes" in node:
        parts.append("on conflict of " + ", ".join(sorted(node["Conflict Arbiter Indexes"])))
    return " ".join(filter(None, parts))


def _subplan(node: Node) -> str:
    """``InitPlan``, ``SubPlan`` or ``CTE name``: the server's numbers say nothing."""
    name = str(node.get("Subplan Name", ""))
    return name if name.startswith("CTE ") else name.partition(" ")[0]
