"""A server's JSON plan as a tree for people: what each node is, what it was asked, what it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eventmark.report.numbers import amount, milliseconds, whole

DEPTH_MAX = 60
_CONDITIONS = (
    "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "One-Time Filter",
    "TID Cond", "Sort Key", "Presorted Key", "Group Key", "Conflict Resolution",
)  # fmt: skip
_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNode:
    """One node. ``heat`` is the share of the plan's pages that are its own, without its children's, 0..1."""

    name: str
    target: str
    conditions: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    heat: float
    suspect: bool
    children: list[PlanNode]


def plan_tree(plan: dict[str, Any]) -> PlanNode | None:
    """The tree; None of an empty plan. Figures are the totals over all loops."""
    if not plan:
        return None
    return _node(plan, max(1.0, _pages(plan)), 0)


def _node(node: dict[str, Any], all_pages: float, depth: int) -> PlanNode:
    below = node.get("Plans", []) if depth < DEPTH_MAX else []
    own_pages = max(0.0, _pages(node) - sum(_pages(child) for child in below))
    removed = sum(float(node.get(key, 0)) for key in _REMOVED) * _loops(node)
    return PlanNode(
        name=_name(node),
        target=_target(node),
        conditions=[(key, _text(node[key])) for key in _CONDITIONS if node.get(key)],
        facts=_facts(node, own_pages, removed),
        heat=min(1.0, own_pages / all_pages),
        suspect=node.get("Node Type") == "Seq Scan" or removed > max(10.0, _rows(node)),
        children=[_node(child, all_pages, depth + 1) for child in below],
    )


def _facts(node: dict[str, Any], own_pages: float, removed: float) -> list[tuple[str, str]]:
    if not _loops(node):
        return [("", "never executed")]
    planned = float(node.get("Plan Rows", 0)) * _loops(node)
    facts = [("rows", amount(_rows(node)))]
    if "Plan Rows" in node:
        facts.append(("planned", amount(planned)))
    if _loops(node) > 1:
        facts.append(("loops", amount(_loops(node))))
    facts.append(("pages", whole(_pages(node))))
    if own_pages != _pages(node):
        facts.append(("of them own", whole(own_pages)))
    if read := float(node.get("Shared Read Blocks", 0)):
        facts.append(("read in", whole(read)))
    if removed:
        facts.append(("rows removed", amount(removed)))
    if fetches := float(node.get("Heap Fetches", 0)):
        facts.append(("heap fetches", whole(fetches)))
    if temporary := float(node.get("Temp Read Blocks", 0) + node.get("Temp Written Blocks", 0)):
        facts.append(("temporary pages", whole(temporary)))
    if "Sort Method" in node:
        facts.append(("sort", f"{node['Sort Method']}, {amount(float(node.get('Sort Space Used', 0)))} kB"))
    if "Actual Total Time" in node:
        facts.append(("time", milliseconds(float(node["Actual Total Time"]) * _loops(node))))
    return facts


def _name(node: dict[str, Any]) -> str:
    kind = str(node.get("Node Type", "?"))
    if kind == "ModifyTable":
        kind = str(node.get("Operation", kind))
    if node.get("Scan Direction") == "Backward":
        kind += " backward"
    return kind


def _target(node: dict[str, Any]) -> str:
    """``using index on table``, and of what the node is a part."""
    parts = []
    if index := node.get("Index Name"):
        parts.append(f"using {index}")
    if table := node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name"):
        parts.append(f"on {table}")
    if name := node.get("Subplan Name"):
        parts.append(f"({name})")
    return " ".join(parts)


def _text(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _loops(node: dict[str, Any]) -> float:
    return float(node.get("Actual Loops", 1))


def _rows(node: dict[str, Any]) -> float:
    return float(node.get("Actual Rows", 0)) * _loops(node)


def _pages(node: dict[str, Any]) -> float:
    return float(node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0))
