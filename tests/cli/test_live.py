"""What is shown of a load while it runs."""

from __future__ import annotations

import io
import threading
from dataclasses import replace

from rich.console import Console

from eventmark.cli.live import PulseView, live_view
from eventmark.cli.progress import StageLines
from eventmark.loadgen.generator import Pulse

PULSE = Pulse(
    at_s=2.5, seconds=10.0, offered_per_s=500.0, succeeded_per_s=480.0, conflicted_per_s=3.0, failed_per_s=0.0,
    skipped_per_s=7.0, in_flight=12, latency_ms={"read_snapshot": {"p50": 0.4, "p95": 1.5, "p99": 2.25, "max": 9.0}},
    rate_per_s={"read_snapshot": 480.0, "create_token_at": 0.0}, schedule_lag_ms=0.31, cpu_share=0.42,
)  # fmt: skip


def shown(view: PulseView) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_rates_latency_errors_lag_and_waits_are_shown() -> None:
    view = PulseView()
    assert shown(view).strip() == ""
    view(PULSE, {"CPU": 3.0, "WalSync": 2.0})
    text = shown(view)
    for said in (
        "480 operations/s of 500 offered", "12 under way", "lag 0.31 ms", "42% of a core", "7/s skipped",
        "3/s conflicted", "0.40", "1.50", "2.25", "3 CPU, 2 WalSync",
    ):  # fmt: skip
        assert said in text, said
    assert "failed" not in text


def test_nothing_is_shown_when_the_load_is_over() -> None:
    view = PulseView()
    view(replace(PULSE, at_s=10.2, in_flight=0), {})
    assert shown(view).strip() == ""


def test_where_nobody_watches_pulses_are_no_lines_of_their_own_and_no_thread_stays() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    threads = threading.active_count()
    with live_view(console) as (progress, watch):
        progress("generate", 1, 2)
        watch(PULSE, {})
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert len(console.file.getvalue().splitlines()) == 1  # type: ignore[attr-defined]


def test_where_nobody_watches_a_stage_is_a_line_and_a_long_one_states_how_much_longer_it_takes() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    told = [(0.0, "load", 0), (5.0, "load", 10), (40.0, "load", 50), (49.0, "load", 75), (81.0, "audit", 0)]
    times = iter(at_s for at_s, _, _ in told)
    lines = StageLines(console, clock=lambda: next(times))
    for _, stage, done in told:
        lines(stage, done, 100)
    said = [line.partition(" ")[2] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert said == ["seed events", "seed events 50%, 1 events/s, about 40 s left", "audit the corpus"]


def test_a_stage_that_reports_nothing_for_long_is_a_line_every_ten_seconds() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    times = iter([100.0, 105.0, 110.0, 121.0, 129.0, 131.0, 180.0, 201.0, 205.0, 299.0])
    lines = StageLines(console, clock=lambda: next(times))
    lines("capacity", 0, 4)
    lines.tick()  # 5 s
    lines.tick()  # 10 s
    lines("capacity", 1, 4)  # 21 s
    lines.watch(PULSE, {})
    lines.tick()  # 8 s later
    lines.tick()
    lines.tick()  # by 80 s it was to be done
    lines.watch(replace(PULSE, at_s=10.2, in_flight=0), {})
    lines.tick()  # overdue by 17 s
    lines("capacity", 4, 4)
    lines.tick()
    written = [line.partition(" ")[2] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    label = "search the capacity"
    assert written == [
        label, f"{label}, for 10 s now", f"{label} 25%, about 63 s left",
        f"{label} 25%, 480 operations/s, about 53 s left", f"{label} 25%, 480 operations/s, about 4 s left",
        f"{label} 25%, for 101 s now", f"{label}: done 94 s ago",
    ]  # fmt: skip
