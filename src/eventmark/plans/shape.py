"""A plan's shape: what the server does and by which index, without what differs from one run to the next.

Costs, rows, times, values, parameters and the schema's name are left out, so that two plans of the same shape
read the same way, whatever they were run with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from eventmark.plans.work import Node

INDENT = "  "
ANY = "?"  # stands for a value or a parameter

_CONDITIONS = (
    "Index Cond", "Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Join Filter", "One-Time Filter", "Filter",
)  # fmt: skip
_TYPE = (
    r"(?:timestamp with(?:out)? time zone|double precision|character varying|\"?\w+\"?)(?:\(\d+\))?(?:\[\])*"
)
_VALUE = re.compile(rf"(?:'(?:[^']|'')*'|\$\d+|(?<![\w.])-?\d+(?:\.\d+)?)(?:::{_TYPE})?")
_QUALIFIED_CALL = re.compile(r"(?:\"[^\"]+\"|\b\w+)\.(?=\"?\w+\"?\()")


def shape_of(plan: Node) -> str:
    """The plan as an indented tree, a line for each node and one for each of its conditions."""
    return "\n".join(_lines(plan, 0))


def summary_of(plan: Node) -> str:
    """The scans and sorts of a plan in one line: ``Index Scan using domain_events_position``."""
    told = dict.fromkeys(_title(node) for node in _every(plan) if "Scan" in node["Node Type"] or _sorts(node))
    return ", ".join(told) or _title(plan)


def masked(condition: str) -> str:
    """A condition with ``?`` for each of its values and parameters."""
    return _QUALIFIED_CALL.sub("", _VALUE.sub(ANY, condition))


def _lines(node: Node, depth: int) -> Iterator[str]:
    named = _subplan(node)
    yield INDENT * depth + (f"{named}: " if named else "") + _title(node)
    for key in _CONDITIONS:
        if key in node:
            yield f"{INDENT * (depth + 2)}{key}: {masked(str(node[key]))}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


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
