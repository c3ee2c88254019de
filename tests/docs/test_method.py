"""The worked examples of the method: each figure is that of the committed result which the example names."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest

from eventmark.adviser.candidate import ALIKE_RATIO_MAX
from eventmark.experiments.soak.soak_report import NEGLIGIBLE_MIB_PER_H
from eventmark.results.files import read_result
from eventmark.results.results import RunResult
from tools.docs.words import ROOT

METHOD = (ROOT / "docs" / "METHOD.md").read_text(encoding="utf-8")
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")


@cache
def result(name: str) -> RunResult:
    return read_result(ROOT / "docs" / "results" / f"{name}-postgresql-18.json")


def cells(name: str, title: str, first: str | float, *columns: int) -> list[float]:
    """Of the table whose title begins so, cells of the row that begins with ``first``; of a text, the numbers in it."""
    tables = [
        table
        for section in result(name).sections
        for table in section.tables
        if table.title.casefold().startswith(title.casefold())
    ]
    row = next(row for table in tables for row in table.rows if row[0] == first)
    return [number for column in columns for number in numbers(str(row[column]))]


def figure(name: str, key: str) -> list[float]:
    found = result(name).figures[key]
    assert found.low is not None and found.high is not None
    return [found.value, found.low, found.high]


def operation(name: str, key: str) -> list[float]:
    """p95 with its interval, and the target."""
    one = result(name).operations[key]
    interval = one.interval_ms["p95"]
    assert one.latency_ms and interval.high is not None and one.target_ms is not None
    return [one.latency_ms.p95, interval.low, interval.high, one.target_ms]


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def advice() -> list[float]:
    name, counted = "advice-eaf-v3", "Counted"
    wal, wal_then, pages, pages_then = cells(name, counted, "drop index idx_events_aggregate", 1, 2, 3, 4)
    (worse,) = cells(name, "Tried", "drop index idx_events_aggregate", 6)
    other = cells(name, counted, "drop index idx_events_business_critical", 1, 2, 3, 4)
    alike = numbers(next(text for text in result(name).sections[0].text if "unchanged" in text))
    return [
        wal_then, wal, pages_then, pages, worse,
        *cells(name, "Tried", "drop index idx_events_aggregate", 2, 3, 4),
        100 * (1 - pages_then / pages), 5,
        100 * (1 - other[3] / other[2]), 100 * (1 - other[1] / other[0]),
        *figure(name, "advised_append_gain"), *alike,
    ]  # fmt: skip


def load() -> list[float]:
    append, token = "append_events[1]", "create_token_at"
    offered, succeeded = cells("load", "Accounts", append, 1, 2)
    assert offered == succeeded
    return [
        *numbers(result("load").sections[0].text[0])[:1], offered,
        *cells("load", "Where the time went", append, 2), *operation("load", append),
        *cells("load", "Where the time went", token, 2), *operation("load", token),
    ]  # fmt: skip


def sweep() -> list[float]:
    levels = next(one for one in result("sweep").sections if one.name == "sweep-load-aggregate-1000")
    rates = {row[0]: row[1] for row in levels.tables[0].rows}
    kappa, low, high, knee = cells("sweep", "The law of each operation", "load_aggregate[1000]", 3, 4)
    peak, clients = cells("sweep", "The law of each operation", "append_events[1]", 6, 7)
    by_clients = [number for clients in (1, 2, 4, 8) for number in (rates[clients], clients)]
    return [*(float(str(one)) for one in by_clients), kappa, knee, low, high, peak, clients]


def streaming() -> list[float]:
    ratios = [cells("stream", "Rounds", str(number), 3)[0] for number in range(1, 6)]
    visible, idle = "Time until visible and handled", "Cost of waiting while nothing is appended"
    notified, polling = "notified, polling every 100 ms", "polling every 100 ms"
    queries = {round(cells("stream", idle, waiting, 1)[0], 1) for waiting in (notified, polling)}
    return [
        *ratios, *figure("stream", "catch_up_vs_copy"), 0.8,
        *cells("stream", visible, notified, 3), *cells("stream", visible, polling, 3), 100, *queries,
    ]  # fmt: skip


def scale() -> list[float]:
    accounts, load_aggregate, append = "Reads accounted for", "load_aggregate[1000]", "append_events[10]"
    before, reads, each_us, *without = cells("scale-10m", accounts, load_aggregate, 3, 4, 5, 7)
    limit = 1.15
    return [
        1, 10, *figure("scale-10m", f"{load_aggregate}_p95_growth"), limit, reads, each_us, before, *without, limit,
        *figure("scale-10m", f"{append}_p95_growth"), limit, *cells("scale-10m", accounts, append, 7),
        50, figure("scale-50m-lean", f"{load_aggregate}_p95_growth")[0],
        *cells("scale-50m-lean", accounts, load_aggregate, 7), limit,
    ]  # fmt: skip


def capacity() -> list[float]:
    probes = {number: cells("capacity", "Probes", number, 1, 2) for number in (5, 6, 7)}
    reason = cells("capacity", "Probes", 6, 7)  # of an interval: the p95, 95%, its ends, the target
    runs = ("capacity", "capacity-run-2", "capacity-run-3")
    rates = [result(name).figures["capacity_operations_per_s"].value for name in runs]
    return [*probes[5], *probes[6], *reason[-3:], probes[7][0], rates[0], *rates]


def soak() -> list[float]:
    before, after, *ratio = cells("soak", "Latency over time", "append_events[1]", 2, 3, 6, 7, 8)
    return [*figure("soak", "server_memory_slope"), NEGLIGIBLE_MIB_PER_H, before, after, *ratio]


def isolation() -> list[float]:
    alone, beside, *ratio = cells("isolation", "Inflation", "bulk-append", 2, 3, 4, 5, 6)
    return [beside, alone, *ratio, 2]


def baselines() -> list[float]:
    append = result("1m").operations["append_events[1]"]
    assert append.latency_ms is not None
    pgbench = append.floors[0]
    return [append.latency_ms.p50, pgbench.value, 100 * (1 - pgbench.ratio)]


EXAMPLES: dict[str, Callable[[], list[float]]] = {
    "Baselines": baselines,
    "Advice": advice,
    "Load": load,
    "Capacity": capacity,
    "Sweep": sweep,
    "Soak": soak,
    "Isolation": isolation,
    "Streaming": streaming,
    "Scale": scale,
}


@pytest.mark.parametrize("heading", EXAMPLES)
def test_the_figures_of_a_worked_example_are_those_of_the_result_that_it_names(heading: str) -> None:
    shown = _NUMBER.findall(example(heading))
    assert [written(value, like) for value, like in zip(EXAMPLES[heading](), shown, strict=True)] == shown


def test_the_interval_that_unchanged_copies_must_lie_in_is_that_of_the_adviser() -> None:
    assert f"not within {1 / ALIKE_RATIO_MAX:.2f}\n  and {ALIKE_RATIO_MAX:g}" in METHOD


def example(heading: str) -> str:
    """The example under that heading without code and the addresses of links, whose figures are names."""
    section = METHOD.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    text = section.partition("**Example.** ")[2].partition("\n\n")[0]
    return re.sub(r"\]\([^)]*\)|`[^`]*`|\bp\d+\b", "", text)


def written(value: float, like: str) -> str:
    """The value with as many decimals as the text has."""
    return f"{value:,.{len(like.partition('.')[2])}f}"
