"""Results whose content is in their sections: a gate, advice, a load. Made by the functions that make them in a run."""

from __future__ import annotations

import math
from dataclasses import replace as changed
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from msgspec.structs import replace

from eventmark.adviser.advice import judge_trials
from eventmark.adviser.candidate import AppendCost, Candidate, Sizes, Trial, combined
from eventmark.adviser.changes import SchemaTrials
from eventmark.adviser.indexes import IndexUse
from eventmark.adviser.ranking import Advised, advice_on_schema
from eventmark.adviser.script import advice_script
from eventmark.adviser.sections import advice_section, figures_of, index_section
from eventmark.adviser.wal import AppendWal
from eventmark.experiments.gate.gate_section import gate_sections
from eventmark.jobs.bottleneck import bottleneck_section
from eventmark.jobs.kernel import _operation_parts
from eventmark.judgement.counters import PLAN_TOLERANCES, compare_counters
from eventmark.judgement.plan_changes import PlanChange
from eventmark.judgement.verdicts import overall
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LoadOutcome, merged
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.records import CONFLICTED, FAILED, SUCCEEDED, WorkerRecords
from eventmark.loadgen.sections import generator_section, load_figures, load_section
from eventmark.results.results import RunResult, Verdict
from eventmark.results.targets import Target
from eventmark.sidebyside.bout import Bout
from eventmark.sidebyside.contest import Rules, contests
from eventmark.sidebyside.sides import BASE, CANDIDATE, Side
from eventmark.sidebyside.unique_keys import UniqueKey
from eventmark.stats.ratios import Ratio
from eventmark.workload.arrivals import Arrivals
from tests.certify.conftest import part_result
from tests.judgement.test_bottleneck import calls, evidence
from tests.loadgen.test_judge import HEALTHY
from tests.report.examples import CORPUS, ENVIRONMENT

OPERATIONS = ("append_events[1]", "load_aggregate[1000]", "stream_events[1000]")
LOAD_PLAN = LoadPlan(
    mix=Mix.of({"append_events[1]": 9, "load_aggregate[1000]": 1}), seconds=10.0,
    arrivals=Arrivals("poisson", 400.0), workers=2,
)  # fmt: skip
LOAD_TARGETS = {"append_events[1]": Target("p95", 10.0), "load_aggregate[1000]": Target("p95", 20.0)}
ORDERS = Sizes(table_bytes=260_000_000, index_bytes=110_000_000, events=200_000)


def gate_result() -> RunResult:
    """A candidate that lost its unique index: loads are slower and read more pages, one operation is undecided."""
    sides = (
        Side(role=BASE, named="main", store="./orders", revision="1c0ffee4d5e6"),
        Side(role=CANDIDATE, named="HEAD", store="./orders", revision="2c0ffee4d5e6"),
    )
    plan = PlanChange(
        statement="load_aggregate", condition="largest tenant", base=Verdict.MET, candidate=Verdict.BROKEN,
        broken_by=["index: used no index"],
        counters=compare_counters({"buffers_per_row": 1.1}, {"buffers_per_row": 4.2}, PLAN_TOLERANCES),
    )  # fmt: skip
    bout = Bout(
        rules=Rules(), table=contests(OPERATIONS, Rules()), plans=[plan, changed_plan(plan)],
        lost_keys=[UniqueKey(table="events", columns=["stream_id", "version"])], out_of_time=True,
    )  # fmt: skip
    for number, (name, ratio, pairs) in enumerate(
        zip(OPERATIONS, (1.0, 1.34, 1.04), (9, 12, 3), strict=True)
    ):
        noise = np.random.default_rng(number).normal(0, 0.01, pairs)
        for one in noise:
            contest, log_ratio = bout.table[name], math.log(ratio) + float(one)
            contest.add_log_ratios({"p50": log_ratio, "p95": log_ratio})
            for quantile, base_ms in (("p50", 9.0), ("p95", 14.0)):
                contest.base_ms[quantile].append(base_ms)
                contest.candidate_ms[quantile].append(base_ms * math.exp(log_ratio))
    verdict, reasons = bout.verdict()
    return replace(
        part_result("gate", verdict=verdict, reasons=reasons, sections=gate_sections(sides, bout)),
        command="eventmark gate --base main --candidate HEAD --store ./orders", environment=ENVIRONMENT,
    )  # fmt: skip


def changed_plan(plan: PlanChange) -> PlanChange:
    """The same statement for another tenant, whose plan stayed as it was."""
    return replace(plan, condition="smallest tenant", candidate=Verdict.MET, broken_by=[], counters=[])


def advice_result() -> RunResult:
    """A store with an index twice and one that nothing searched, whose consumers read by number."""
    tried = [
        drop(
            "orders_stream",
            "duplicate: orders_key has the same entries in the same order",
            2_244,
            1.10,
            0.997,
            1.21,
        ),
        drop("orders_type", "unused: no statement of the store has searched it", 2_310, 0.97, 0.90, 1.04),
    ]
    weakening = Trial(
        candidate=Candidate(
            kind="check", name="drop the checks of events (1)", reason="CHECK (version > 0)", risk="",
            apply=('alter table "events" drop constraint "events_version_check"',),
            script=('alter table "events" drop constraint "events_version_check"',),
            weakens="integrity: what the checks refuse would be stored",
        ),
        before=AppendCost(wal_bytes=2_369, pages=37.5), after=AppendCost(wal_bytes=2_369, pages=37.5),
    )  # fmt: skip
    together = changed(
        tried[0], candidate=combined([one.candidate for one in tried]), compared=66,
        after=AppendCost(wal_bytes=2_190, pages=30.1), rate=Ratio(value=1.18, low=1.12, high=1.24, count=8),
        cpu=Ratio(value=1.21, low=1.16, high=1.26, count=8),
    )  # fmt: skip
    changes = SchemaTrials(
        alike=Ratio(value=1.01, low=0.97, high=1.05, count=8),
        use=[
            IndexUse(name="orders_key", definition="CREATE UNIQUE INDEX orders_key ON events (stream_id, version)",
                     bytes=30_000_000, scans=3_801, wal_share=0.06),
            IndexUse(name="orders_stream", definition="CREATE INDEX orders_stream ON events (stream_id, version)",
                     bytes=30_000_000, scans=0, wal_share=0.06),
            IndexUse(name="orders_type", definition="CREATE INDEX orders_type ON events (type)", bytes=7_000_000,
                     scans=0, wal_share=0.03),
        ],
        trials=[*tried, weakening], chosen=[one.candidate for one in tried], together=together,
        wal=AppendWal(bytes={"events": 2_000, "orders_key": 142, "orders_stream": 142, "orders_type": 85}),
    )  # fmt: skip
    advice: list[Advised] = advice_on_schema(changes)
    definition = SimpleNamespace(ordering="global-sequence")
    copies = cast("Any", SimpleNamespace(events=200_000, definition=definition))
    script = advice_script(advice, [weakening], schema="orders", store="orders", evidence="result.json")
    verdict, reasons = judge_trials(changes)
    sections = [advice_section(advice, changes, None, copies, script, verdict), index_section(changes)]
    return replace(
        part_result("advise", verdict=verdict, reasons=reasons, sections=sections, figures=figures_of(advice, changes)),
        command="eventmark advise --store ./orders --parts schema", profile="standard", environment=ENVIRONMENT,
    )  # fmt: skip


def drop(name: str, reason: str, wal_bytes: float, gain: float, low: float, high: float) -> Trial:
    """An index that was dropped in the trial, with the appends per second that it brought."""
    return Trial(
        candidate=Candidate(
            kind="index", name=f"drop index {name}", reason=reason, apply=(f'drop index "{name}"',),
            script=(f'drop index concurrently if exists "{name}"',),
            risk="other queries may use this index: check idx_scan in production first",
        ),
        before=AppendCost(wal_bytes=2_369, pages=37.5), after=AppendCost(wal_bytes=wal_bytes, pages=32.5),
        sizes_before=ORDERS, sizes_after=changed(ORDERS, index_bytes=80_000_000), compared=66,
        rate=Ratio(value=gain, low=low, high=high, count=8),
    )  # fmt: skip


def load_result() -> RunResult:
    """400 operations/s: appends hold their target, loads wait for a connection, a few calls fail."""
    outcome = load_outcome()
    operations = to_results(outcome, LOAD_TARGETS)
    verdict, reasons = overall(_operation_parts(operations, None))
    seen = evidence(calls=changed(calls(pool_wait_s=4.0), late_s=0.5))
    return replace(
        part_result(
            "load", verdict=verdict, reasons=reasons, operations=operations, figures=load_figures(outcome),
            sections=[load_section(outcome, operations), generator_section(outcome), bottleneck_section(seen)],
        ),
        command="eventmark load --rate 400 --seconds 10 --store ./orders", environment=ENVIRONMENT, corpus=CORPUS,
        through="wire",
    )  # fmt: skip


def load_outcome() -> LoadOutcome:
    """Ten seconds of two workers; every hundredth append is a conflict, every fortieth load is not answered in time."""
    count = 2_000
    random = np.random.default_rng(4)
    kind = (np.arange(count) % 10 == 9).astype(np.uint8)
    outcome = np.full(count, SUCCEEDED, np.uint8)
    outcome[np.arange(count) % 100 == 0] = CONFLICTED
    outcome[np.arange(count) % 400 == 9] = FAILED
    part = WorkerRecords(
        kind=kind, outcome=outcome, due_ns=np.linspace(0, 9.9e9, count).astype(np.int64),
        lag_ns=(0.05e6 * random.uniform(0.5, 1.5, count)).astype(np.int64),
        pool_wait_ns=(np.where(kind, 8e6, 0.2e6) * random.uniform(0.5, 1.5, count)).astype(np.int64),
        service_ns=(np.where(kind, 15e6, 2e6) * random.lognormal(0, 0.1, count)).astype(np.int64),
        answer_lag_ns=np.full(count, 40_000), offered=np.bincount(kind, minlength=2).tolist(), skipped=[0, 0],
        failures=[{}, {"deadline": int(np.count_nonzero(outcome == FAILED))}],
        messages=[{}, {"deadline": "not answered within 10 s"}], health=HEALTHY,
    )  # fmt: skip
    return merged(LOAD_PLAN, [part, part], 0.0)
