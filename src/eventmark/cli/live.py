"""A load while it runs: rates, latency, errors, lag and what the server waits for, below the bars of progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventmark.cli.progress import make_bars, reporter, stage_lines
from eventmark.loadgen.generator import Pulse, Watcher
from eventmark.seeding import Progress as Report

WAITS_SHOWN = 4


@contextmanager
def live_view(console: Console) -> Iterator[tuple[Report, Watcher]]:
    """Callbacks for progress and for pulses. Where nobody watches, both are lines now and then."""
    if not console.is_terminal:
        with stage_lines(console) as lines:
            yield lines, lines.watch
        return
    view = PulseView()
    bars = make_bars(console)
    with Live(Group(bars, view), console=console, refresh_per_second=4):
        yield reporter(bars), view


class PulseView:
    """The last pulse as a table; nothing before the first, and nothing once the load is over."""

    def __init__(self) -> None:
        self._shown: RenderableType = Text()

    def __call__(self, pulse: Pulse, waits: Mapping[str, float]) -> None:
        self._shown = Text() if pulse.is_last else Group(_headline(pulse), _operations(pulse), _waits(waits))

    def __rich__(self) -> RenderableType:
        return self._shown


def _headline(pulse: Pulse) -> Text:
    parts = [
        f"{pulse.succeeded_per_s:,.0f} operations/s of {pulse.offered_per_s:,.0f} offered",
        f"{pulse.in_flight:,} under way",
        f"lag {pulse.schedule_lag_ms:.2f} ms",
        f"client {pulse.cpu_share:.0%} of a core",
    ]
    text = Text(", ".join(parts))
    for name, rate in (
        ("failed", pulse.failed_per_s),
        ("skipped", pulse.skipped_per_s),
        ("conflicted", pulse.conflicted_per_s),
    ):
        if rate:
            text.append(f", {rate:,.0f}/s {name}", style="yellow" if name == "conflicted" else "bold red")
    return text


def _operations(pulse: Pulse) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("operation")
    for name in ("per second", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right", width=10)
    for name, rate in pulse.rate_per_s.items():
        seen = pulse.latency_ms.get(name)
        values = [f"{seen[quantile]:.2f}" for quantile in ("p50", "p95", "p99", "max")] if seen else ["–"] * 4
        table.add_row(name, f"{rate:,.0f}", *values)
    return table


def _waits(waits: Mapping[str, float]) -> Text:
    ranked = sorted(waits.items(), key=lambda item: -item[1])[:WAITS_SHOWN]
    text = ", ".join(f"{sessions:g} {wait}" for wait, sessions in ranked) or "nothing"
    return Text(f"the server's sessions are on: {text}", style="dim")
