"""A sweep shown: the laws of all operations together, then each operation's curve."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from eventmark.experiments.load.levels import Swept, judged
from eventmark.experiments.load.scalability import Parameter, ScalabilityLaw
from eventmark.judgement.symptoms import Limit
from eventmark.judgement.verdicts import worst
from eventmark.results.results import Chart, Figure, Finding, Point, Row, Section, Table, columns

CURVE_POINTS = 40
IN_SIGHT = 10
"""A knee at more than so many times the most clients measured is a guess."""

MEASURED, FITTED = "measured", "fitted"
_NOT_ANCHOR = re.compile(r"[^a-z0-9]+")


def sweep_sections(sweeps: Sequence[Swept]) -> list[Section]:
    return [_overview(sweeps), *(_section(swept) for swept in sweeps)]


def sweep_figures(sweeps: Sequence[Swept]) -> dict[str, Figure]:
    """The highest throughput of each operation that was measured, and for each core that the server used there."""
    figures = {}
    for swept in sweeps:
        figures[f"sweep_peak_per_s {swept.name}"] = Figure(
            value=round(swept.peak.throughput_per_s, 1), unit="operations/s", better="more"
        )
        if (per_core := swept.peak.per_server_core) is not None:
            figures[f"sweep_per_server_core {swept.name}"] = Figure(
                value=round(per_core, 1), unit="operations/s per core", better="more"
            )
    return figures


def _overview(sweeps: Sequence[Swept]) -> Section:
    findings = [_curve(swept) for swept in sweeps]
    most = max(level.clients for swept in sweeps for level in swept.levels)
    return Section(
        name="sweep",
        title="Throughput by number of clients",
        verdict=worst(findings),
        findings=findings,
        text=[
            "Each client calls, waits for the answer, and calls again, over a connection of its own. The Universal "
            "Scalability Law is fitted: X(n) = λn / (1 + σ(n-1) + κn(n-1)), where λ is what one client does, σ what "
            "only one at a time can do (contention), κ what each pair costs to agree (coherency). The knee, "
            "√((1-σ)/κ), is where throughput is highest.",
            f"The bottleneck named below is that of {sweeps[0].name} by {most} clients.",
        ],
        tables=[_laws(sweeps)],
        charts=[_speedups(sweeps)],
    )  # fmt: skip


def _curve(swept: Swept) -> Finding:
    verdict, reason = judged(swept)
    peak = f"{swept.peak.throughput_per_s:,.0f} operations/s by {swept.peak.clients} clients"
    return Finding(
        name=swept.name, verdict=verdict, observed=reason or f"{peak} at its peak",
        expected="a curve that is the store's own, and that its law fits",
    )  # fmt: skip


def _laws(sweeps: Sequence[Swept]) -> Table:
    rows: list[Row] = []
    for swept in sweeps:
        law = swept.law
        rows.append(
            [
                swept.name, _interval(law.rate_per_s) if law else swept.why, _interval(law.contention) if law else None,
                _interval(law.coherency) if law else None, _knee(law, swept.levels[-1].clients) if law else None,
                law.error if law else None, swept.peak.throughput_per_s, float(swept.peak.clients),
                str(swept.peak.limit),
            ]
        )  # fmt: skip
    return Table(
        title="The law of each operation",
        columns=columns(
            "operation", "λ, per second", "σ", "κ", "knee, clients", "furthest from the law|share",
            "measured peak|/s", "with clients", "limited there by",
        ),
        rows=rows,
        note="With 95% intervals. A knee is in brackets where the interval of κ includes zero.",
    )  # fmt: skip


def _speedups(sweeps: Sequence[Swept]) -> Chart:
    points = [
        Point(x=level.clients, y=level.throughput_per_s / swept.levels[0].throughput_per_s, series=swept.name)
        for swept in sweeps
        if swept.levels[0].throughput_per_s
        for level in swept.levels
        if level.throughput_per_s
    ]
    return Chart(
        title="Times the throughput of one client", mark="line", x="clients", y="times", points=points, x_log=True,
        y_log=True,
    )  # fmt: skip


def _section(swept: Swept) -> Section:
    verdict, reason = judged(swept)
    return Section(
        name="sweep-" + _NOT_ANCHOR.sub("-", swept.name.lower()).strip("-"),
        title=f"{swept.name} by number of clients",
        verdict=verdict,
        text=list(_text(swept, reason)),
        tables=[_levels(swept)],
        charts=list(_charts(swept)),
    )


def _text(swept: Swept, reason: str) -> Iterator[str]:
    if reason:
        yield f"{reason[0].upper()}{reason[1:]}."
    if swept.client_limited_from is not None:
        yield f"From {swept.client_limited_from} clients on the generator was the limit."
    if (swept.peak.limit is Limit.SERVER_CPU) and (per_core := swept.peak.per_server_core) is not None:
        yield (
            f"At the peak all cores were busy, mostly with the server: it used {swept.peak.server_cores:.2f} cores, "
            f"the generator {swept.peak.generator_cores or 0:.2f}. "
            f"The store does {per_core:,.0f} operations/s for each core of the server."
        )
    law = swept.law
    if law is None:
        return
    if law.knee_clients is None or not law.has_knee:
        yield "Within what was measured there is no knee that is certain: throughput may level off without falling."
    else:
        yield f"Throughput is highest with about {law.knee_clients:.0f} clients."


def _levels(swept: Swept) -> Table:
    rows: list[Row] = []
    for level in swept.levels:
        quantiles = [getattr(level.latency, name, None) for name in ("p50", "p95", "p99")]
        fitted = swept.law.throughput_per_s(level.clients) if swept.law else None
        rows.append(
            [
                float(level.clients), level.throughput_per_s, fitted, *quantiles, float(level.failed),
                float(level.conflicted), level.cpu_share, level.server_cores, level.generator_cores,
                level.per_server_core, str(level.limit),
            ]
        )  # fmt: skip
    return Table(
        title="Levels",
        columns=columns(
            "clients", "throughput|/s", "by the law|/s", "p50|ms", "p95|ms", "p99|ms", "failed", "conflicted",
            "busiest worker|share", "server|cores", "generator|cores", "per server core|/s", "limited by",
        ),
        rows=rows,
        note="Server and generator: the cores of this machine that each used on average.",
    )  # fmt: skip


def _charts(swept: Swept) -> Iterator[Chart]:
    points = [Point(x=level.clients, y=level.throughput_per_s, series=MEASURED) for level in swept.levels]
    if swept.law is not None:
        most = max(level.clients for level in swept.levels)
        points += [
            Point(x=float(clients), y=swept.law.throughput_per_s(float(clients)), series=FITTED)
            for clients in np.geomspace(1, most, CURVE_POINTS)
        ]
    yield Chart(
        title="Throughput",
        mark="line",
        x="clients",
        y="operations/s",
        points=points,
        x_log=True,
        dots=[MEASURED],
    )
    latencies = [
        Point(x=level.clients, y=float(getattr(level.latency, quantile)), series=quantile)
        for level in swept.levels
        if level.latency is not None
        for quantile in ("p50", "p95", "p99")
    ]
    yield Chart(title="Latency", mark="line", x="clients", y="ms", points=latencies, x_log=True, y_log=True)


def _interval(parameter: Parameter) -> str:
    """``0.12 (0.08 to 0.16)``."""
    if parameter.low is None or parameter.high is None:
        return _digits(parameter.value)
    return f"{_digits(parameter.value)} ({_digits(parameter.low)} to {_digits(parameter.high)})"


def _digits(value: float) -> str:
    """Three of them, or the whole number; below a millionth it is zero for a law of clients."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return "0" if abs(value) < 1e-6 else f"{value:.3g}"


def _knee(law: ScalabilityLaw, most: int) -> str:
    knee = law.knee_clients
    if knee is None or knee > IN_SIGHT * most:
        return "none in sight"
    return f"{knee:.0f}" if law.has_knee else f"({knee:.0f})"
