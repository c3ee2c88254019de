"""The doctor: each question graded as it should be, and unknown never called fit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError
from eventmark.judgement.verdicts import worst
from eventmark.results.results import Finding, Verdict
from eventmark.server import (
    Server,
    check_disk_space,
    doctor,
    examine,
    machine,
    measure_fsync_ms,
    provision,
)
from eventmark.server.fitness import (
    clock_finding,
    frequency_finding,
    memory_finding,
    open_files_finding,
    other_work_finding,
    steal_finding,
    virtualisation_finding,
)

GIB = 2**30
MET, BROKEN, INCONCLUSIVE = Verdict.MET, Verdict.BROKEN, Verdict.INCONCLUSIVE


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def test_examination_answers_every_question_with_what_was_expected(server: Server, tmp_path: Path) -> None:
    findings = by_name(examine(server, tmp_path, needed_bytes=1))
    assert {
        "flush to disk", "disk space", "clock", "frequency scaling", "steady cores", "steal", "other work",
        "memory", "open files", "virtualisation", "durability", "pg_stat_statements", "commit",
    } == set(findings)  # fmt: skip
    assert all(finding.observed and finding.expected for finding in findings.values())
    assert all(f.remedy for f in findings.values() if f.verdict is BROKEN)


def test_server_without_fsync_is_unfit(server: Server, tmp_path: Path) -> None:
    findings = examine(server, tmp_path)
    assert by_name(findings)["durability"].verdict is BROKEN
    assert "fsync off" in by_name(findings)["durability"].observed
    assert worst(findings) is BROKEN


def test_statistics_are_there_in_our_own_clusters(server: Server, tmp_path: Path) -> None:
    assert by_name(examine(server, tmp_path))["pg_stat_statements"].verdict is MET


def test_disk_of_a_server_elsewhere_is_not_judged_by_ours(server: Server, tmp_path: Path) -> None:
    with provision(server.dsn) as given:
        findings = by_name(examine(given, tmp_path, needed_bytes=2**60))
    assert "disk space" not in findings and "flush to disk" not in findings and "commit" in findings


def test_flush_time_is_measured_and_a_planted_delay_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < measure_fsync_ms(tmp_path) < 1000
    monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(0.006), raising=False)
    assert 6 <= measure_fsync_ms(tmp_path) < 60
    assert doctor.fsync_finding(tmp_path).verdict is BROKEN


def test_flush_too_quick_for_a_disk_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "measure_fsync_ms", lambda _: 0.004)
    assert doctor.fsync_finding(tmp_path).verdict is INCONCLUSIVE


def test_directory_that_cannot_be_written_is_a_finding_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = doctor.fsync_finding(tmp_path)
    assert finding.verdict is BROKEN and str(tmp_path) in finding.observed and finding.remedy


def test_disk_too_small_for_the_corpus_is_said_before_it_is_written(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet" / "made"
    check_disk_space(place, 0)
    with pytest.raises(CannotRunError, match=r"needs about 1048576\.0 GiB") as caught:
        check_disk_space(place, 2**50)
    assert str(tmp_path) in caught.value.message and caught.value.remedy
    assert doctor.disk_finding(place, 2**50).verdict is BROKEN
    assert not place.exists()


def test_clock_of_this_machine_is_measured() -> None:
    assert "ns a reading" in clock_finding().observed


@pytest.mark.parametrize(
    ("governors", "noted"),
    [
        (["performance", "performance"], "performance"),
        (["performance", "powersave"], "performance, powersave"),
        ([], "not visible from here"),
    ],
)
def test_frequency_scaling_is_read_of_every_core_and_only_noted(
    tmp_path: Path, governors: list[str], noted: str
) -> None:
    for number, governor in enumerate(governors):
        directory = tmp_path / f"cpu{number}" / "cpufreq"
        directory.mkdir(parents=True)
        (directory / "scaling_governor").write_text(f"{governor}\n")
    finding = frequency_finding(tmp_path)
    assert (finding.verdict, finding.observed) == (MET, noted)
    assert bool(finding.remedy) is ("powersave" in governors)


@pytest.mark.parametrize(
    ("judge", "grades"),
    [
        (steal_finding, {0.0: MET, 1.0: MET, 3.0: INCONCLUSIVE, 9.0: BROKEN, None: INCONCLUSIVE}),
        (lambda share: other_work_finding(share, 0.1), {0.0: MET, 0.3: INCONCLUSIVE, 0.9: BROKEN}),
        (memory_finding, {8 * GIB: MET, 1.5 * GIB: INCONCLUSIVE, GIB // 2: BROKEN}),
        (open_files_finding, {None: MET, 4096: MET, 512: INCONCLUSIVE, 64: BROKEN}),
        (virtualisation_finding, {"": MET, "virtual machine": MET}),
    ],
)
def test_observations_are_graded(judge: Callable[[object], Finding], grades: dict[object, Verdict]) -> None:
    for observed, verdict in grades.items():
        assert judge(observed).verdict is verdict, observed


def test_limits_of_a_container_count_as_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_CGROUP_MEMORY", (limit,))
    limit.write_text("max\n")
    unlimited = machine.memory_bytes()
    limit.write_text("104857600\n")
    assert machine.memory_bytes() == 100 * 2**20 < unlimited
    assert machine.cpu_count() == 1
