"""Isolation: does one tenant's load slow another's? A victim alone, and under an aggressor's load, in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.isolation.aggressors import KINDS, missing
from eventmark.experiments.isolation.isolation_report import (
    Judgement,
    isolation_section,
    rls_table,
    summary_section,
)
from eventmark.experiments.isolation.legs import Duel, Leg, Pair, joined, order_of, run_leg
from eventmark.experiments.isolation.row_level_security import measure_row_level_security
from eventmark.experiments.isolation.tenant_filter import (
    filter_section,
    measure_filter,
    measure_streams,
    stream_table,
)
from eventmark.jobs.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import NOT_TIMED
from eventmark.loadgen.generator import of_tenants
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import Mix, parse_mix
from eventmark.loadgen.plan import WIRE, LoadPlan
from eventmark.results.results import OperationResult, Section, Table
from eventmark.seeding import CorpusSample, Progress
from eventmark.server.loop import on_loop
from eventmark.workers.cluster import taken_workers
from eventmark.workload.arrivals import Arrivals

VICTIM_MIX = "append_events[1]=5, load_aggregate[1000]=2, stream_events[1000]=2, read_snapshot=1"
INFLATION_MAX = 2.0
"""What is shared fairly by two leaves each of them half: more than twice as long is more than the other's share."""

STAGE = "isolate"
FILTER_CALLS = {"quick": 30, "standard": 300, "full": 2000}
RLS_SHARE = {"quick": 0.02, "standard": 0.3, "full": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation(Experiment):
    """``rounds`` pairs of legs of ``leg_s`` for each kind of aggressor. Tenants named "" are chosen from the corpus.

    The victim's load is ``rate_per_s`` operations of ``mix``; the aggressor works with ``users`` at once.
    """

    name: ClassVar[str] = "isolation"
    kinds: Sequence[str] = KINDS
    mix: Mix = field(default_factory=lambda: parse_mix(VICTIM_MIX))
    rate_per_s: float = 100.0
    leg_s: float = 5.0
    rounds: int = 6
    users: int = 4
    pool_max: int = 10
    victim: str = ""
    aggressor: str = ""
    inflation_max: float = INFLATION_MAX
    warm_rounds: int = 6
    through: str = WIRE

    watched: ClassVar[bool] = False

    @property
    def own_statements(self) -> Mapping[str, Statement]:
        return self.mix.own

    def measure(self, run: Run) -> Findings:
        job = run.job
        duel = self.duel_of(run)
        pairs: list[Pair] = []
        run.so_far = lambda: self._findings(duel, pairs)
        with run.phase("isolate"):
            self._fight(duel, run, run.progress, pairs)
        with run.phase("filter"):
            filtered = _filter_cost(job, run, run.sample, duel)
        return self._findings(duel, pairs, filtered)

    def _findings(self, duel: Duel, pairs: Sequence[Pair], *filtered: Section) -> Findings:
        """Of the kinds with a leg alone and one under load. Raises ``CannotRunError`` where there is none."""
        whole = [pair for pair in pairs if pair.alone and pair.beside]
        if pairs and not whole:
            raise CannotRunError("no pair of legs was measured to its end")
        judged = [Judgement(pair=pair, inflation_max=self.inflation_max) for pair in whole]
        return Findings(
            operations=results_of(duel.job, {
                "alone": [leg for pair in whole for leg in pair.alone],
                **{f"beside {pair.kind}": pair.beside for pair in whole},
            }),
            figures={name: figure for judged_pair in judged for name, figure in judged_pair.figures().items()},
            sections=[
                summary_section(judged, duel),
                *(isolation_section(judged_pair, duel) for judged_pair in judged),
                *filtered,
                *bottleneck_beside(judged),
            ],
            through=self.through,
        )  # fmt: skip

    def duel_of(self, run: Run) -> Duel:
        """Who is measured under whose load on the run's store; the run is told what is left out."""
        job, sample = run.job, run.sample
        victim, aggressor = chosen_tenants(job, sample, self.victim, self.aggressor)
        mix = _possible(self.mix, job, run, of_tenants(sample, [victim]))
        if reason := job.definition.capabilities.lack("tenant_stream"):
            run.skipped["the victim's lag"] = reason
        plan = LoadPlan(
            mix=mix, seconds=self.leg_s, arrivals=Arrivals("poisson", self.rate_per_s), workers=1,
            pool_max=self.pool_max, seed=job.corpus.seed, tenants=(victim,), warm_rounds=self.warm_rounds,
            through=self.through,
        )  # fmt: skip
        return Duel(
            job=job, sample=sample, victim=plan, victim_tenant=victim, aggressor_tenant=aggressor,
            users=self.users, follows=not reason,
        )  # fmt: skip

    def _fight(self, duel: Duel, run: Run, progress: Progress, pairs: list[Pair]) -> None:
        """Every kind in turns with the victim alone, into ``pairs``. Processes are kept from leg to leg.

        Of a cluster the victim has the first worker, and the aggressor the next.
        """
        total, done = 2 * self.rounds * len(self.kinds), 0
        cluster = duel.job.cluster
        with taken_workers(cluster, 1) as victims, taken_workers(cluster, 1) as aggressors:
            for kind in self.kinds:
                if reason := missing(kind, duel.job.definition, duel.sample, duel.aggressor_tenant):
                    run.skipped[kind] = reason
                    continue
                pairs.append(pair := Pair(kind))
                for beside in order_of(self.rounds):
                    progress(STAGE, done, total)
                    done += 1
                    leg = run_leg(duel, kind if beside else None, done, victims, aggressors)
                    (pair.beside if beside else pair.alone).append(leg)
        progress(STAGE, total, total)


def chosen_tenants(job: Job, sample: CorpusSample, victim: str, aggressor: str) -> tuple[str, str]:
    """The victim and the aggressor: a small tenant with streams of a thousand, and the largest of all.

    Raises ``UsageError`` for a name that the corpus does not have, and for one tenant twice.
    """
    if not job.definition.has_tenants:
        raise UsageError(
            f"store {job.definition.name!r} has no tenants",
            remedy="isolation is between tenants: there is none to ask for",
        )
    streams = Counter(stream.stream.tenant_id for stream in sample.streams)
    for name in filter(None, (victim, aggressor)):
        if name not in streams:
            raise UsageError(
                f"the corpus has no streams of a tenant {name!r}",
                remedy=f"use one of {', '.join(sorted(streams)[:20])}",
            )
    tenants = {sample.naming.tenant_id(number): tenant for number, tenant in enumerate(job.corpus.tenants)}
    large = sorted(tenants, key=lambda name: -tenants[name].weight)
    aggressor = aggressor or next(name for name in large if name != victim)
    if not victim:
        long = {long_stream.stream.tenant_id for long_stream in sample.long_streams}
        others = [name for name in streams if name != aggressor]
        small = {name for name, tenant in tenants.items() if not tenant.large}
        if not others:
            raise CannotRunError("the sample holds streams of one tenant alone", remedy="seed more events")
        victim = max(
            others, key=lambda name: (name in small and name in long, name in long, streams[name], name)
        )
    if victim == aggressor:
        raise UsageError("victim and aggressor are one tenant", remedy="name two")
    return victim, aggressor


def _possible(mix: Mix, job: Job, run: Run, sample: CorpusSample) -> Mix:
    """The mix without what cannot be done for one tenant alone, which the run is told."""
    possible, left_out = mix.available(job.definition.capabilities, sample)
    run.skipped |= left_out
    names = list(possible.shares) if possible else []
    if "stream_events[1000]" in names and (reason := job.definition.capabilities.lack("tenant_stream")):
        names.remove("stream_events[1000]")
        run.skipped["stream_events[1000]"] = reason
    if not names:
        raise CannotRunError("the mix has no operation on one tenant", remedy="name another with --mix")
    return mix.only(names)


def results_of(job: Job, legs: Mapping[str, Sequence[Leg]]) -> dict[str, OperationResult]:
    """The victim's operations against their targets, by what happened meanwhile, over all its legs."""
    return {
        f"{name}, {how}": operation
        for how, of_kind in legs.items()
        if of_kind
        for name, operation in to_results(joined(of_kind), job.targets).items()
    }


def _filter_cost(job: Job, run: Run, sample: CorpusSample, duel: Duel) -> Section:
    """What naming the tenant costs, and what row-level security costs on top."""
    calls = FILTER_CALLS[job.profile.name]
    filter_costs, left_out = on_loop(measure_filter(job, sample, calls))
    run.skipped |= left_out
    streams = on_loop(measure_streams(job, [duel.aggressor_tenant, duel.victim_tenant], calls))
    tables: list[Table] = [stream_table(streams)] if streams else []
    if job.definition.engine:
        secured = measure_row_level_security(
            job.server, job.schema[:40], share=RLS_SHARE[job.profile.name], seed=job.corpus.seed
        )
        tables.append(rls_table(secured))
    else:
        run.skipped["row-level security"] = "a store of SQL files has its own, or none"
    return filter_section(filter_costs, tables)


def bottleneck_beside(judged: Sequence[Judgement], *, shared: bool = False) -> Iterator[Section]:
    """Of the victim's calls under load of the aggressor that inflated them the most, in the last of its legs.

    ``shared``: connections are both tenants', so that the server's time is not told by calls.
    """
    if not judged:
        return
    pair = max(judged, key=lambda judged_pair: judged_pair.inflation).pair
    leg = pair.beside[-1]
    times = NOT_TIMED if shared else leg.outcome.call_times
    section = bottleneck_section(leg.watch.evidence(times, application=STORE_APPLICATION))
    first = f"Of {pair.kind}, which inflated the victim's calls the most, in the last leg under its load."
    yield msgspec.structs.replace(section, text=[first, *section.text])
