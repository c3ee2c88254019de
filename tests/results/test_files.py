"""Result files: whole or not at all, refused with a reason, and as their schema says."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import eventmark.results.files as files
from eventmark.errors import CannotRunError, UsageError
from eventmark.results.files import (
    SCHEMA_FILE,
    read_result,
    result_schema,
    result_schema_text,
    write_result,
)
from eventmark.results.results import (
    CacheState,
    ClientHealth,
    CorpusResult,
    Environment,
    Finding,
    Floor,
    Fork,
    HostEnvironment,
    Latency,
    LatencyInterval,
    OperationResult,
    Phase,
    PlanResult,
    RunResult,
    Series,
    ServerEnvironment,
    StoreEnvironment,
    Verdict,
)
from eventmark.stats.histogram import LatencyHistogram

LATENCY = Latency(p50=1.0, p95=2.5, p99=3.0, p999=4.0, max=9.0)
FINDING = Finding(name="flush to disk", verdict=Verdict.MET, observed="0.2 ms", expected="at most 2 ms")
SERIES = Series(name="server_cpu", unit="share of a core", at_s=[0.0, 1.0], values=[0.5, 0.75])


def operation(latency: Latency = LATENCY) -> OperationResult:
    histogram = LatencyHistogram()
    histogram.record(1_000_000)
    return OperationResult(
        latency_ms=latency,
        interval_ms={"p95": LatencyInterval(low=2.0, high=None)},
        samples=1, target_ms=10.0, target_quantile="p95", verdict=Verdict.INCONCLUSIVE, reason="1 sample",
        mode="sample", throughput_per_s=400.0, failed=0, histogram=histogram.encode(),
        forks=[Fork(samples=1, p50_ms=1.0, p95_ms=2.5, warmup_iterations=7, steady=True)],
        client=ClientHealth(loop_lag_ms_p99=0.2, cpu_share=0.4, pool_wait_ms_p95=0.0, bottleneck=False),
        cache=CacheState(cold=LATENCY, warm=None, cold_samples=3),
        floors=[Floor(tool="pgbench", statistic="mean", value=0.9, unit="ms", ratio=1.1)],
        work={"wal_bytes": 812.5},
    )  # fmt: skip


def environment() -> Environment:
    return Environment(
        host=HostEnvironment(
            system="Linux", cpu_model="any", cpu_count=2, memory_mib=4096, python="3.11",
            libraries={"asyncpg": "0.31"}, eventmark="0.1.0", revision="",
        ),
        server=ServerEnvironment(
            kind="embedded", version="18.1", version_num=180001, address="localhost",
            settings={"fsync": "on"}, tuning={}, fsync_ms=0.2,
        ),
        store=StoreEnvironment(
            name="eventmark", ordering="transaction", schema_sha256="00", indexes=[],
            capabilities={"snapshots": True},
        ),
        fitness=[FINDING],
    )  # fmt: skip


def run_result(latency: Latency = LATENCY) -> RunResult:
    corpus = CorpusResult(
        events=10, tenants=1, aggregates=2, snapshots=0, seed=1, checksum="c", reused=False, seconds=1.0,
        events_per_s=10.0, stage_seconds={"load": 1.0}, client_peak_rss_mib=80.0, audit=[FINDING],
        growth=SERIES, distributions={"payload size": {"p50": 400.0}}, scatter_pages_per_load=None,
    )  # fmt: skip
    plan = PlanResult(
        statement="load_aggregate", condition="largest tenant", plan_kind="generic", verdict=Verdict.MET,
        findings=[], parameters={"tenant_id": "é"}, query="select 1", expected_index="i", work={"rows": 1.0},
        plan={"Node Type": "Index Scan", "Plans": []},
    )  # fmt: skip
    return RunResult(
        scenario="run", run_id="r1", started_at="2025-01-01T00:00:00Z", seconds=9.5, command="eventmark run", profile="quick",
        seed=1, verdict=Verdict.INCONCLUSIVE, reasons=["few samples"], environment=environment(),
        corpus=corpus, operations={"append_events[1]": operation(latency)}, plans=[plan],
        skipped={"read_snapshot": "no snapshots"}, phases=[Phase(name="seed", start_s=0.0, end_s=1.0)],
        series=[SERIES],
    )  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    write_result(run_result(), path)
    return path


def changed(path: Path, **fields: Any) -> Path:
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, **fields}), encoding="utf-8")
    return path


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "result.json"
    write_result(run_result(), path)
    assert read_result(path) == run_result()
    assert path.read_bytes().endswith(b"}")
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


def test_writing_that_fails_leaves_the_old_result_and_no_scraps(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CannotRunError, match=r"No space left on device.*--out"):
        write_result(msgspec.structs.replace(run_result(), run_id="r2"), written)
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path / "file" / "result.json", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(CannotRunError, match="cannot be written"):
            write_result(run_result(), path)


@pytest.mark.skipif(os.name != "posix", reason="devices and links of POSIX")
def test_links_are_followed_and_devices_never_replaced(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(real)
    write_result(run_result(), link)
    assert link.is_symlink() and read_result(real) == run_result()
    os.mkfifo(pipe)
    with pytest.raises(CannotRunError, match="not a file"):
        write_result(run_result(), pipe)
    assert pipe.is_fifo()
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(CannotRunError, match="cannot be written"):
        write_result(run_result(), circle)


def test_result_that_json_cannot_hold_is_not_written(tmp_path: Path) -> None:
    broken = run_result(msgspec.structs.replace(LATENCY, p99=math.nan))
    with pytest.raises(ValueError, match=r"operations.*p99"):
        write_result(broken, tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def test_every_truncation_is_refused(written: Path) -> None:
    content = written.read_bytes()
    end = len(content.rstrip())
    for length in [*range(0, end, 97), end - 1]:
        written.write_bytes(content[:length])
        with pytest.raises(UsageError, match="damaged or no result"):
            read_result(written)


@pytest.mark.parametrize("version", [0, 4, 99])
def test_other_version_is_refused_and_named(written: Path, version: int) -> None:
    changed(written, format_version=version)
    with pytest.raises(UsageError, match=f"format version {version}, this release reads 3"):
        read_result(written)


@pytest.mark.parametrize("version", ["1", None, True, 1.5])
def test_version_that_is_no_number_is_refused(written: Path, version: object) -> None:
    changed(written, format_version=version)
    with pytest.raises(UsageError, match="damaged or no result"):
        read_result(written)


@pytest.mark.parametrize("content", ['{"format": "jmh"}', "{}", "[]", "5", '"x"', "null"])
def test_other_json_is_not_a_result(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"no result|not a result"):
        read_result(path)


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"PK\x03\x04", b"[" * 100_000, b'{"format": "\xff"}'])
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"other\.json is"):
        read_result(path)


def test_damaged_field_is_named(written: Path) -> None:
    changed(written, seconds="long")
    with pytest.raises(UsageError, match=r"is damaged: .*\$\.seconds"):
        read_result(written)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_result(path)


def test_endless_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RESULT_BYTES_MAX", 2**20)
    path = tmp_path / "large.json"
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(UsageError, match="more than 1 MiB"):
        read_result(path)


def test_kept_schema_is_the_one_of_the_code() -> None:
    assert SCHEMA_FILE.read_bytes() == result_schema_text()


def test_written_result_is_as_the_schema_states_and_others_are_not(written: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(result_schema())
    validator.check_schema(result_schema())
    document = json.loads(written.read_bytes())
    assert not list(validator.iter_errors(document))
    for wrong in ({"format": "jmh"}, {"format_version": 4}, {"verdict": "FINE"}, {"series": None}):
        assert list(validator.iter_errors({**document, **wrong}))
    del document["format"]
    assert list(validator.iter_errors(document))


def test_written_result_has_every_field_of_the_schema_and_no_other(written: Path) -> None:
    document, schema = json.loads(written.read_bytes()), result_schema()
    assert schema["$id"] and schema["title"] and schema["$ref"] == "#/$defs/RunResult"
    assert set(document) == set(schema["$defs"]["RunResult"]["properties"])
    (written_operation,) = document["operations"].values()
    assert set(written_operation) == set(schema["$defs"]["OperationResult"]["properties"])


@pytest.mark.parametrize(
    ("command", "scenario"),
    [
        ("eventmark run --keep --out o", "run"),
        ("eventmark bench --group --out o", "group append"),
        ("eventmark bench --rls", "row-level security"),
        ("eventmark explain --repeat 20", "repeated plans"),
        ("eventmark explain --cliffs", "plan cliffs"),
        ("eventmark isolate --keep", "isolation"),
        ("pytest --eventmark", "pytest"),
        ("", ""),
    ],
)
def test_a_result_of_version_1_is_read_and_its_scenario_is_shown_by_its_command(
    written: Path, command: str, scenario: str
) -> None:
    document = json.loads(written.read_bytes())
    del document["scenario"]
    for operation in document["operations"].values():
        operation["latency_ms"] = dict.fromkeys(operation["latency_ms"], 0.0)  # as where no call succeeded
    written.write_text(json.dumps({**document, "format_version": 1, "command": command}))
    found = read_result(written)
    assert (found.scenario, found.format_version) == (scenario, 3)
    assert found.operations
    assert all(one.latency_ms is None for one in found.operations.values())


def test_a_result_of_version_2_is_read_as_one_of_today_without_criteria(written: Path) -> None:
    document = json.loads(written.read_bytes())
    del document["criteria"]
    written.write_text(json.dumps({**document, "format_version": 2}))
    found = read_result(written)
    assert (found.format_version, found.criteria) == (3, [])


def test_every_committed_result_can_be_read_and_states_its_scenario() -> None:
    for path in (Path(__file__).parents[2] / "docs" / "results").glob("*.json"):
        assert read_result(path).scenario, path
