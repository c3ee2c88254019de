"""What can be seen of the machine itself: clock, cores, steal, other work, memory, limits."""

from __future__ import annotations

import os
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil

from eventmark.judgement.machine import CLOCK, OTHER_WORK
from eventmark.results.results import Finding, Verdict
from eventmark.server import machine

GIB = 2**30
SAMPLE_S = 0.5
CLOCK_STEP_MAX_NS = 1000
CLOCK_COST_MAX_NS = 1000
BUSY_MET_SHARE, BUSY_BROKEN_SHARE = 0.10, 0.50
STEAL_MET_SHARE, STEAL_BROKEN_SHARE = 0.01, 0.05
STEADY_MET_RATIO, STEADY_BROKEN_RATIO = 1.10, 1.50
OPEN_FILES_MET, OPEN_FILES_BROKEN = 1024, 256
MEMORY_MET_BYTES, MEMORY_BROKEN_BYTES = 2 * GIB, GIB

_CPU = Path("/sys/devices/system/cpu")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def machine_findings() -> list[Finding]:
    """All of them; takes about a second."""
    sampled = psutil.cpu_times_percent(interval=SAMPLE_S)
    return [
        clock_finding(),
        frequency_finding(_CPU),
        _steadiness_finding(),
        steal_finding(getattr(sampled, "steal", None)),
        other_work_finding(1 - sampled.idle / 100, psutil.getloadavg()[0]),
        memory_finding(psutil.virtual_memory().available),
        open_files_finding(_open_files_limit()),
        virtualisation_finding(_virtualisation()),
    ]


def clock_finding() -> Finding:
    """The smallest step the measuring clock shows, and what reading it costs."""
    step_ns, cost_ns = _clock_step_and_cost_ns()
    met = step_ns <= CLOCK_STEP_MAX_NS and cost_ns <= CLOCK_COST_MAX_NS
    source = machine.read_text(_CLOCK_SOURCE)
    return Finding(
        name=CLOCK,
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"steps of {step_ns} ns, {cost_ns} ns a reading{f', source {source}' if source else ''}",
        expected=f"at most {CLOCK_STEP_MAX_NS} ns and {CLOCK_COST_MAX_NS} ns",
        remedy="" if met else "use the tsc clock source (kernel parameter clocksource=tsc)",
    )


def _clock_step_and_cost_ns() -> tuple[int, int]:
    readings = [time.perf_counter_ns() for _ in range(20_000)]
    steps = [later - earlier for earlier, later in pairwise(readings)]
    visible = [step for step in steps if step > 0]
    return min(visible, default=10**9), round((readings[-1] - readings[0]) / len(steps))


def frequency_finding(cpu_directory: Path) -> Finding:
    """Whether cores change their frequency by themselves; ``cpu_directory`` is /sys/devices/system/cpu.

    A note, and never a fault: what it does to measurements is what "steady cores" measures.
    """
    files = cpu_directory.glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = {text for path in files if (text := machine.read_text(path))}
    scaled = bool(governors - {"performance"})
    return Finding(
        name="frequency scaling",
        verdict=Verdict.MET,
        observed=", ".join(sorted(governors)) or "not visible from here",
        expected="only noted: 'steady cores' measures its effect",
        remedy="for steadier figures: cpupower frequency-set --governor performance" if scaled else "",
    )


def _steadiness_finding() -> Finding:
    """The same work over and over: how much longer the slower runs of it take."""
    times_ns = []
    for _ in range(60):
        began_ns = time.perf_counter_ns()
        sum(range(60_000))
        times_ns.append(time.perf_counter_ns() - began_ns)
    ratio = statistics.quantiles(times_ns, n=20)[-1] / statistics.median(times_ns)
    verdict = _grade(ratio, STEADY_MET_RATIO, STEADY_BROKEN_RATIO)
    return Finding(
        name="steady cores",
        verdict=verdict,
        observed=f"the slowest 5% of equal work take {ratio:.2f} times the median",
        expected=f"at most {STEADY_MET_RATIO:g} times",
        remedy=""
        if verdict is Verdict.MET
        else "stop other work; fix the frequency; compare side by side only",
    )


def steal_finding(steal_percent: float | None) -> Finding:
    """Time the hypervisor gave to others while this machine wanted to run."""
    expected = f"at most {STEAL_MET_SHARE:.0%}"
    if steal_percent is None:
        return Finding(
            name="steal",
            verdict=Verdict.INCONCLUSIVE,
            observed="not visible on this system",
            expected=expected,
        )
    verdict = _grade(steal_percent / 100, STEAL_MET_SHARE, STEAL_BROKEN_SHARE)
    return Finding(
        name="steal",
        verdict=verdict,
        observed=f"{steal_percent:.1f}% over {SAMPLE_S:g} s",
        expected=expected,
        remedy="" if verdict is Verdict.MET else "neighbours take the cores: use a machine of one's own",
    )


def other_work_finding(busy_share: float, load_1min: float) -> Finding:
    """What runs here already, before anything is measured. ``busy_share`` is of all cores, 0..1."""
    verdict = _grade(busy_share, BUSY_MET_SHARE, BUSY_BROKEN_SHARE)
    return Finding(
        name=OTHER_WORK,
        verdict=verdict,
        observed=f"cores {busy_share:.0%} busy, load average {load_1min:.2f}",
        expected=f"cores at most {BUSY_MET_SHARE:.0%} busy",
        remedy="" if verdict is Verdict.MET else "stop other programs, or wait for them to end",
    )


def memory_finding(available_bytes: int) -> Finding:
    """Room for the server's caches and the client's processes."""
    verdict = _grade(-available_bytes, -MEMORY_MET_BYTES, -MEMORY_BROKEN_BYTES)
    return Finding(
        name="memory",
        verdict=verdict,
        observed=f"{available_bytes / GIB:.1f} GiB available",
        expected=f"at least {MEMORY_MET_BYTES / GIB:.0f} GiB",
        remedy="" if verdict is Verdict.MET else "stop other programs: swapping would be measured instead",
    )


def open_files_finding(limit: int | None) -> Finding:
    """Pools and worker processes hold many sockets; None is no limit."""
    verdict = Verdict.MET if limit is None else _grade(-limit, -OPEN_FILES_MET, -OPEN_FILES_BROKEN)
    return Finding(
        name="open files",
        verdict=verdict,
        observed="no limit" if limit is None else f"{limit} a process",
        expected=f"at least {OPEN_FILES_MET}",
        remedy="" if verdict is Verdict.MET else f"ulimit -n {OPEN_FILES_MET}",
    )


def virtualisation_finding(virtualisation: str) -> Finding:
    """A machine of one's own repeats its figures; a shared one repeats its ratios. '' is bare metal.

    A note, and never a fault: what neighbours take is what "steal" and "steady cores" measure.
    """
    return Finding(
        name="virtualisation",
        verdict=Verdict.MET,
        observed=virtualisation or "none seen",
        expected="only noted: 'steal' and 'steady cores' measure its effect",
        remedy="neighbours are part of every figure: compare results of one machine, side by side"
        if virtualisation
        else "",
    )


def _virtualisation() -> str:
    if sys.platform != "linux":
        return "cannot be seen on this system"
    findings = []
    if " hypervisor" in machine.read_text(Path("/proc/cpuinfo")):
        product = machine.read_text(Path("/sys/class/dmi/id/product_name"))
        findings.append(f"virtual machine{f' ({product})' if product else ''}")
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        findings.append("container")
    return ", ".join(findings)


def _open_files_limit() -> int | None:
    if os.name == "nt":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _grade(value: float, met_max: float, broken_above: float) -> Verdict:
    if value <= met_max:
        return Verdict.MET
    return Verdict.BROKEN if value > broken_above else Verdict.INCONCLUSIVE
