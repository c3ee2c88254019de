"""Each operation of a mix by itself, one call at a time: what misses its target there holds at no rate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import Evidence
from eventmark.judgement.machine import is_beyond_others
from eventmark.loadgen.generator import run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.plan import LoadPlan
from eventmark.results.results import Finding, OperationResult, Row, Section, Table, Verdict, columns

ALONE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One operation by itself, judged."""

    name: str
    result: OperationResult
    evidence: Evidence


def measure_alone(run: Run, load: LoadPlan, executor: Executor, seconds: float) -> list[Alone]:
    """Every operation of the mix that has a target, one user who calls without a pause."""
    results = []
    for name in load.mix.shares:
        if name not in run.job.targets:
            continue
        plan = replace(load, mix=load.mix.only([name]), arrivals=None, users=1, seconds=min(seconds, ALONE_S))
        watch = run.watch()
        outcome = run_load(run.job, run.sample, plan, executor=executor, during=watch)
        evidence = watch.evidence(outcome.call_times, application=STORE_APPLICATION)
        result = to_results(outcome, run.job.targets)[name]
        results.append(Alone(name=name, result=result, evidence=evidence))
    return results


def medians_s(results: Sequence[Alone]) -> dict[str, float]:
    """By operation, what half of its calls take at most; without those of which none succeeded."""
    medians = {alone.name: alone.result.quantile_ms("p50") for alone in results}
    return {name: median / 1e3 for name, median in medians.items() if median is not None}


def hopeless(results: Sequence[Alone]) -> Alone | None:
    """The first operation that misses its target by itself."""
    return next((result for result in results if result.result.verdict is Verdict.BROKEN), None)


def hopeless_section(alone: Alone, results: Sequence[Alone]) -> Section:
    """Instead of a capacity."""
    text = f"{alone.name} misses its target at any rate: alone, one call at a time, {alone.result.reason}"
    is_certain = alone.result.failed > 0 or is_beyond_others(alone.result)
    finding = Finding(
        name="capacity", verdict=Verdict.BROKEN, observed=text,
        expected="a rate at which every target holds, confirmed", timed=not is_certain,
        remedy="examine its plan: eventmark explain; or give it a target that it can meet, with --targets",
    )  # fmt: skip
    return Section(
        name="capacity", title="Capacity", verdict=Verdict.BROKEN, findings=[finding],
        text=[f"{text}.", "No rate was tried: under load no operation is quicker than alone."],
        tables=[alone_table(results)],
    )  # fmt: skip


def alone_table(results: Sequence[Alone]) -> Table:
    """How far each is from its target before there is any load."""
    rows: list[Row] = [
        [
            result.name, result.result.quantile_ms(result.result.target_quantile), result.result.target_ms,
            result.result.target_quantile, float(result.result.samples), str(result.result.verdict),
        ]
        for result in results
    ]  # fmt: skip
    return Table(
        title="Each operation alone",
        columns=columns("operation", "latency|ms", "target|ms", "quantile", "calls", "verdict"),
        rows=rows,
        note="One user who calls without a pause. What misses its target here misses it at any rate.",
    )  # fmt: skip
