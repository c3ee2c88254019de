"""The worked examples of the method: each figure is that of the committed result which the example names."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from eventmark.adviser.candidate import ALIKE_RATIO_MAX
from eventmark.experiments.soak.soak_report import NEGLIGIBLE_MIB_PER_H
from tests.docs.figures import NUMBER, cells, figure, numbers, operation, result
from tools.docs.words import ROOT

METHOD = (ROOT / "docs" / "METHOD.md").read_text(encoding="utf-8")


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
    accounts, load_aggregate, append = "Reads accounted for", "load_aggregate[1000]", "append_events[100]"
    before, reads, each_us, *without = cells("scale-10m", accounts, append, 3, 4, 5, 7)
    limit = 1.15
    return [
        1, 10, *figure("scale-10m", f"{append}_p95_growth"), limit, reads, each_us, before, *without, limit,
        *figure("scale-10m", f"{load_aggregate}_p95_growth"), *cells("scale-10m", accounts, load_aggregate, 4, 5, 7), limit,
        50, figure("scale-50m-lean", f"{load_aggregate}_p95_growth")[0],
        *cells("scale-50m-lean", accounts, load_aggregate, 7), limit,
    ]  # fmt: skip


def capacity() -> list[float]:
    name, target = "capacity-run-2", 1
    short, broke, held, undecided = (cells(name, "Probes", number, 1, 2) for number in (3, 9, 10, 11))
    broke_at, undecided_at = (cells(name, "Probes", number, 7)[-3:-1] for number in (9, 11))
    runs = ("capacity", *(f"capacity-run-{number}" for number in range(2, 6)))
    rates = [result(run).figures["capacity_operations_per_s"].value for run in runs]
    return [
        *short, *broke, *broke_at, target, held[0], undecided[0], *undecided_at, held[0], rates[1], *rates,
    ]  # fmt: skip


def soak() -> list[float]:
    before, after, *ratio = cells("soak", "Latency over time", "append_events[1]", 2, 3, 6, 7, 8)
    return [*figure("soak", "server_memory_slope"), NEGLIGIBLE_MIB_PER_H, before, after, *ratio]


def isolation() -> list[float]:
    victim = ("bulk-append", "load_aggregate[1000]")
    alone, beside, *ratio = cells("isolation", "Inflation", victim, 2, 3, 4, 5, 6)
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
    shown = NUMBER.findall(example(heading))
    assert [written(value, like) for value, like in zip(EXAMPLES[heading](), shown, strict=True)] == shown


def test_the_table_of_three_verdicts_is_of_the_results_that_it_names() -> None:
    section = METHOD.partition("**Worked example.**")[2].partition("\n\nThe third")[0]
    rows = re.findall(
        r"^\| \[`(.+?)`\]\(results/(.+?)-postgresql-18\.json\)(.*?) \| (.+) \|$", section, re.MULTILINE
    )
    assert len(rows) == 3
    for name, file, rest, cells_shown in rows:
        operations = result(file).operations
        key = f"{name}{rest}" if f"{name}{rest}" in operations else name
        p95, interval, target, _, verdict = cells_shown.split(" | ")
        shown = [number for cell in (p95, interval, target) for number in NUMBER.findall(cell)]
        assert [
            written(value, like) for value, like in zip(operation(file, key), shown, strict=True)
        ] == shown
        assert verdict == operations[key].verdict


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
