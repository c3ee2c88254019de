"""What steps say together: planted growth, planted reads and planted pages are told apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eventmark.experiments.scale.analysis import (
    accounting_of,
    counter_curves,
    curves_of,
    hit_ratio,
    pages_of,
    plan_curves,
)
from eventmark.experiments.scale.judge import Judged, judge_operation
from eventmark.experiments.scale.laws import Law
from eventmark.experiments.scale.steps import (
    Account,
    AccountPair,
    Counter,
    Growth,
    LargeRead,
    Relation,
    Round,
    Step,
    _decoder,
    _encoder,
)
from eventmark.operations.forks import ForkSamples
from eventmark.results.results import Verdict

NAME = "load_aggregate[1000]"
VOLUMES = (1_000_000, 2_000_000, 5_000_000, 10_000_000)
INDEX = "domain_events_stream"
MS = 1_000_000


def samples(random: np.random.Generator, times: float, count: int = 400) -> ForkSamples:
    return ForkSamples(
        samples_ns=np.asarray(np.exp(random.normal(0, 0.1, count)) * 5 * MS * times).astype(np.int64), seconds=1.0,
        failed=0, failure="", calls=count, warmup_iterations=3, steady=True, cpu_share=0.1, loop_lag_ms_p99=0.1,
        pool_wait_ms_p95=0.0, peak_rss_mib=100.0,
    )  # fmt: skip


def account(
    random: np.random.Generator, times: float, reads: float, read_us: float, pages: float = 1100.0
) -> Account:
    latency = np.exp(random.normal(0, 0.1, 200)) * 5 * MS * times
    counts = random.poisson(reads, 200)
    read_ns = counts * read_us * 1000
    return Account(
        latency_ns=(latency + read_ns).astype(np.int64), pages=random.poisson(pages, 200).astype(np.int64), reads=counts.astype(np.int64), read_ns=read_ns.astype(np.int64)
    )  # fmt: skip


def step(
    volume: int,
    times: float,
    *,
    drift: float = 1.0,
    reads: float = 0.0,
    read_us: float = 50.0,
    slower: float = 1.0,
    pages: float = 1100.0,
    levels: int = 2,
    scans: float = 1.0,
) -> Step:
    """Latencies of the large corpus ``times`` those of the small one; single calls ``slower`` beside their reads."""
    random = np.random.default_rng(volume)
    relations = [
        Relation(name=INDEX, kind="index", size_bytes=8192 * (volume // 100), levels=found, leaf_density=0.7)
        for found in (2, levels)
    ]
    return Step(
        volume=volume, seconds=1.0, growth=Growth(events=volume, stage_seconds={"load": 1.0}),
        rounds={
            NAME: [Round(samples(random, drift), samples(random, drift * times)) for _ in range(4)]
        },
        accounts={
            NAME: [
                AccountPair(small=account(random, 1.0, 0.0, 50.0), large=account(random, slower, reads, read_us, pages))
                for _ in range(4)
            ]
        },
        scans={NAME: {INDEX: scans}}, relations_small=relations[:1], relations_large=relations[1:], hits=90, reads=10,
        large_reads=[LargeRead(events=1000, seconds=0.1, peak_mib=2.0)],
        counters=[
            Counter(
                statement="load_aggregate", condition="largest tenant", kind="custom", buffers=pages, rows=1000.0,
                buffers_per_row=pages / 1000, verdict="MET",
            )
        ],
        skipped={},
        notes={},
    )  # fmt: skip


def judged(steps: list[Step]) -> Judged:
    random = np.random.default_rng(1)
    curve = next(one for one in curves_of(steps, NAME, random) if one.quantile == "p95")
    return judge_operation(curve, steps[-1], VOLUMES[0], accounting_of(steps[-1].accounts[NAME], random))


def grown(times: Callable[[int], float], **last: float) -> list[Step]:
    return [step(volume, times(volume)) for volume in VOLUMES[:-1]] + [
        step(VOLUMES[-1], times(VOLUMES[-1]), **last)  # type: ignore[arg-type]
    ]


def test_a_store_that_does_not_grow_slower_is_met_whatever_the_machine_does_meanwhile() -> None:
    steps = [step(volume, 1.0, drift=1 + 0.5 * number) for number, volume in enumerate(VOLUMES)]
    assert judged(steps).latency.verdict is Verdict.MET
    curve = curves_of(steps, NAME, np.random.default_rng(1))[1]
    assert curve.growth.law is Law.CONSTANT


def test_growth_that_no_read_accounts_for_is_broken() -> None:
    found = judged(grown(lambda volume: 1 + 0.1 * (volume / 1e6 - 1), slower=1.9)).latency
    assert found.verdict is Verdict.BROKEN
    assert "not accounted for" in found.observed


def test_growth_that_reads_of_pages_account_for_is_met_and_the_account_is_shown() -> None:
    found = judged(grown(lambda volume: 1 + 0.1 * (volume / 1e6 - 1), reads=90.0)).latency
    assert found.verdict is Verdict.MET
    assert "90" in found.observed
    assert "50 µs" in found.observed


def test_reads_that_the_server_does_not_time_account_for_nothing() -> None:
    found = judged(
        grown(lambda volume: 1 + 0.1 * (volume / 1e6 - 1), reads=90.0, read_us=0.0, slower=1.9)
    ).latency
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "track_io_timing" in found.remedy


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ({}, Verdict.INCONCLUSIVE),
        ({"reads": 20.0}, Verdict.MET),
        ({"reads": 20.0, "slower": 1.9}, Verdict.INCONCLUSIVE),
    ],
)
def test_growth_that_the_rounds_do_not_decide_is_met_only_where_reads_account_for_what_may_be_beyond(
    last: dict[str, float], verdict: Verdict
) -> None:
    steps = grown(lambda volume: 1.0, **last)
    few = [
        Round(one.small, samples(np.random.default_rng(number), times))
        for number, (one, times) in enumerate(zip(steps[-1].rounds[NAME], (0.9, 1.0, 1.3, 1.4), strict=True))
    ]
    steps[-1].rounds[NAME][:] = few
    assert judged(steps).latency.verdict is verdict


def test_where_the_same_events_differ_on_both_sides_nothing_is_said_of_growth() -> None:
    found = judged([step(VOLUMES[0], 1.6), *(step(volume, 1.0) for volume in VOLUMES[1:])]).latency
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "with the same events on both sides" in found.observed


def test_planted_laws_of_latency_are_recovered() -> None:
    for law, times in (
        (Law.LINEAR, lambda volume: 0.9 + volume / 1e7),
        (Law.LOGARITHMIC, lambda volume: 1 + 0.4 * np.log(volume / 1e6)),
    ):
        curve = curves_of(grown(times), NAME, np.random.default_rng(1))[0]
        assert curve.growth.law in (law, None)
        assert curve.growth.law is law or "grows" in curve.growth.reason


@pytest.mark.parametrize(
    ("pages", "levels", "scans", "verdict"),
    [
        (1105.0, 2, 1.0, Verdict.MET),
        (1400.0, 2, 1.0, Verdict.BROKEN),
        (1400.0, 3, 1.0, Verdict.BROKEN),  # one more level is one more page
        (1400.0, 3, 250.0, Verdict.MET),
        (1209.0, 2, 1.0, Verdict.INCONCLUSIVE),  # some calls within, some beyond
    ],
)
def test_pages_are_broken_unless_levels_of_indexes_account_for_them(
    pages: float, levels: int, scans: float, verdict: Verdict
) -> None:
    found = judged(grown(lambda volume: 1.0, pages=pages, levels=levels, scans=scans)).pages
    assert found is not None
    assert found.verdict is verdict, found.observed


@pytest.mark.parametrize(("pages", "verdict"), [(4, Verdict.MET), (5, Verdict.MET), (6, Verdict.BROKEN)])
def test_one_page_more_is_no_growth_of_a_statement_that_touches_a_few(pages: int, verdict: Verdict) -> None:
    steps = grown(lambda volume: 1.0)
    for pair in steps[-1].accounts[NAME]:
        pair.small.pages[:], pair.large.pages[:] = 4, pages
    found = judged(steps).pages
    assert found is not None
    assert found.verdict is verdict, found.observed


def test_counters_of_calls_and_of_plans_have_laws() -> None:
    steps = [step(volume, 1.0, pages=1000 + volume / 1e4) for volume in VOLUMES]
    assert counter_curves(steps, [NAME])[0].growth.law is Law.LINEAR
    assert [curve.name for curve in plan_curves(steps)] == ["load_aggregate, largest tenant"]


def test_what_was_not_counted_is_not_judged() -> None:
    one = step(VOLUMES[0], 1.0)
    one.accounts.clear()
    assert pages_of(one, NAME) is None
    assert accounting_of([], np.random.default_rng(1)) is None
    assert hit_ratio(one) == pytest.approx(0.9)


def test_a_step_is_read_as_it_was_written() -> None:
    written = step(VOLUMES[1], 1.2, reads=3.0)
    read = _decoder.decode(_encoder.encode(written))
    assert (read.volume, read.scans, read.counters, read.relations_large) == (
        written.volume, written.scans, written.counters, written.relations_large,
    )  # fmt: skip
    for one, other in zip(read.rounds[NAME], written.rounds[NAME], strict=True):
        assert one.large.samples_ns.tolist() == other.large.samples_ns.tolist()
    assert read.accounts[NAME][0].large.reads.tolist() == written.accounts[NAME][0].large.reads.tolist()
