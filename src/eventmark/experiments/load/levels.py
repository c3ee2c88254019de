"""What a sweep found: each operation at each number of clients, and the law of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventmark.experiments.load.scalability import ScalabilityLaw, fit_scalability
from eventmark.judgement.symptoms import Limit
from eventmark.results.results import Latency, Verdict

LAW_ERROR_MAX = 0.25
"""A law further from a measured throughput than this says nothing about what was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One operation by ``clients`` that call one after the other. ``limit`` is what the evidence names.

    ``server_cores`` and ``generator_cores`` are what each side used on average, None where that was not seen.
    """

    clients: int
    throughput_per_s: float
    latency: Latency | None
    failed: int
    conflicted: int
    cpu_share: float  # of a core, the busiest worker
    limit: Limit
    server_cores: float | None = None
    generator_cores: float | None = None

    @property
    def per_server_core(self) -> float | None:
        """Operations per second for each core that the server used: what does not depend on the generator's share."""
        return self.throughput_per_s / self.server_cores if self.server_cores else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One operation at every level. ``law`` is None where ``why`` says so."""

    name: str
    levels: tuple[Level, ...]
    law: ScalabilityLaw | None
    why: str = ""

    @property
    def peak(self) -> Level:
        return max(self.levels, key=lambda level: level.throughput_per_s)

    @property
    def client_limited_from(self) -> int | None:
        """The first number of clients from which on the generator was the limit; None where it never was."""
        limited = [level.clients for level in self.levels if level.limit is Limit.CLIENT]
        return limited[0] if limited else None


def swept(name: str, levels: Sequence[Level]) -> Swept:
    """The levels with the law fitted to those that succeeded."""
    good = [level for level in levels if level.throughput_per_s > 0]
    try:
        law = fit_scalability([level.clients for level in good], [level.throughput_per_s for level in good])
    except (ValueError, RuntimeError) as error:  # RuntimeError: the fit did not converge
        return Swept(name=name, levels=tuple(levels), law=None, why=str(error))
    return Swept(name=name, levels=tuple(levels), law=law)


def judged(curve: Swept) -> tuple[Verdict, str]:
    """Whether the curve is the store's. How high it is, is judged by nothing: a sweep goes where nothing holds."""
    failed = sum(level.failed for level in curve.levels)
    if failed:
        return Verdict.BROKEN, f"{failed} operations failed"
    if curve.law is None:
        return Verdict.INCONCLUSIVE, f"no law was fitted: {curve.why}"
    if curve.peak.limit is Limit.CLIENT:
        return Verdict.INCONCLUSIVE, (
            f"at its peak, with {curve.peak.clients} clients, the generator was the limit: the curve is its own"
        )
    if curve.law.error > LAW_ERROR_MAX:
        return Verdict.INCONCLUSIVE, f"the law is up to {curve.law.error:.0%} away from what was measured"
    return Verdict.MET, ""
