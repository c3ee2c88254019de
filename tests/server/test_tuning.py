"""The tuning: within the machine, durable, and each setting with its reason."""

from __future__ import annotations

import pytest

from eventmark.server.tuning import CONNECTIONS_MAX, MIB, production_settings

GIB = 1024 * MIB


def mebibytes(values: dict[str, str], name: str) -> int:
    return int(values[name].removesuffix("MB"))


@pytest.mark.parametrize("memory_bytes", [256 * MIB, GIB, 4 * GIB, 16 * GIB, 512 * GIB])
@pytest.mark.parametrize("cpu_count", [1, 2, 64])
def test_memory_of_the_settings_stays_within_the_machines(memory_bytes: int, cpu_count: int) -> None:
    settings = production_settings(memory_bytes=memory_bytes, cpu_count=cpu_count, version_num=180000)
    values = {setting.name: setting.value for setting in settings}
    shared = mebibytes(values, "shared_buffers")
    assert 16 <= shared <= min(4096, memory_bytes // MIB // 4)
    assert shared < mebibytes(values, "effective_cache_size") < memory_bytes // MIB
    workers = int(values["max_parallel_maintenance_workers"]) + 1
    assert shared + workers * mebibytes(values, "maintenance_work_mem") < memory_bytes // MIB * 2
    if memory_bytes >= 4 * GIB:
        assert shared + mebibytes(values, "work_mem") * CONNECTIONS_MAX <= memory_bytes // MIB


def test_every_setting_is_named_once_and_has_its_reason_in_one_line() -> None:
    settings = production_settings(memory_bytes=8 * GIB, cpu_count=4, version_num=150000)
    assert len({setting.name for setting in settings}) == len(settings)
    assert all(setting.reason and "\n" not in setting.reason for setting in settings)
    assert not any("'" in setting.value for setting in settings)


def test_durability_is_never_tuned_away() -> None:
    settings = production_settings(memory_bytes=8 * GIB, cpu_count=4, version_num=180000)
    values = {setting.name: setting.value for setting in settings}
    assert values["fsync"] == values["synchronous_commit"] == values["full_page_writes"] == "on"


def test_wal_kept_is_bounded_by_the_disk() -> None:
    for free_bytes, expected in ((None, 8192), (16 * GIB, 2048), (GIB, 256), (1024 * GIB, 8192)):
        settings = production_settings(
            memory_bytes=8 * GIB, cpu_count=4, version_num=180000, disk_free_bytes=free_bytes
        )
        values = {setting.name: setting.value for setting in settings}
        assert mebibytes(values, "max_wal_size") == expected
        assert mebibytes(values, "min_wal_size") < expected


def test_settings_a_server_does_not_know_are_left_out() -> None:
    def names(version_num: int, **arguments: object) -> set[str]:
        settings = production_settings(
            memory_bytes=8 * GIB, cpu_count=4, version_num=version_num, **arguments  # type: ignore[arg-type]
        )  # fmt: skip
        return {setting.name for setting in settings}

    assert "io_method" in names(180000) and "io_method" not in names(170004)
    assert "shared_preload_libraries" not in names(180000, with_statistics=False)
    assert "dynamic_shared_memory_type" in names(180000, shared_memory_bytes=64 * MIB)
    assert "dynamic_shared_memory_type" not in names(180000, shared_memory_bytes=GIB)
