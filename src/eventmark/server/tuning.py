"""Production-like, write-heavy settings, computed from the machine; each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
CONNECTIONS_MAX = 120
SHARED_MEMORY_LEAST_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True)
class Setting:
    """One server setting and why it has this value."""

    name: str
    value: str
    reason: str


def production_settings(
    *,
    memory_bytes: int,
    cpu_count: int,
    version_num: int,
    disk_free_bytes: int | None = None,
    shared_memory_bytes: int | None = None,
    with_statistics: bool = True,
) -> tuple[Setting, ...]:
    """Settings for a server that has the machine's memory and cores to itself, durability untouched.

    ``disk_free_bytes`` bounds the WAL that is kept, ``shared_memory_bytes`` is the size of /dev/shm;
    None where unknown. ``with_statistics`` says whether pg_stat_statements is installed.
    """
    memory_mib = memory_bytes // MIB
    shared_mib = max(16, min(memory_mib // 4, 4096))
    wal_max_mib = 8192 if disk_free_bytes is None else max(256, min(8192, disk_free_bytes // MIB // 8))
    maintenance_mib = max(64, min(memory_mib // 16, 1024))
    work_mib = max(4, min(memory_mib // (4 * CONNECTIONS_MAX), 32))
    return (
        Setting("shared_buffers", f"{shared_mib}MB", "a quarter of memory, 4 GB at most"),
        Setting(
            "effective_cache_size", f"{memory_mib * 5 // 8}MB", "what the planner may count on as cached"
        ),
        Setting("maintenance_work_mem", f"{maintenance_mib}MB", "index builds in memory"),
        Setting("work_mem", f"{work_mib}MB", "sorts in memory, for every connection at once"),
        Setting("max_connections", str(CONNECTIONS_MAX), "pools of 20 to 50, and the instruments"),
        Setting("fsync", "on", "durability is part of what is tested"),
        Setting("synchronous_commit", "on", "an acknowledged append is on disk"),
        Setting("full_page_writes", "on", "survives a torn page"),
        Setting("wal_level", "replica", "as a production system with a standby or backups"),
        Setting(
            "wal_buffers", f"{min(64, max(4, shared_mib // 16))}MB", "commits of many writers in one flush"
        ),
        Setting("max_wal_size", f"{wal_max_mib}MB", "checkpoints by time, not by volume, as the disk allows"),
        Setting("min_wal_size", f"{wal_max_mib // 8}MB", "recycled segments instead of new ones"),
        Setting("checkpoint_timeout", "15min", "fewer full page images"),
        Setting("checkpoint_completion_target", "0.9", "writes of a checkpoint spread out"),
        Setting("random_page_cost", "1.1", "solid state disks"),
        Setting("effective_io_concurrency", "200", "solid state disks"),
        Setting("max_worker_processes", str(max(8, cpu_count)), "room for parallel work"),
        Setting(
            "max_parallel_maintenance_workers",
            str(max(0, min(cpu_count // 2 - 1, 4))),
            "two index builds at a time",
        ),
        Setting(
            "max_parallel_workers_per_gather", str(max(0, min(cpu_count // 2, 2))), "short queries first"
        ),
        Setting("jit", "off", "short queries: compiling costs more than it saves"),
        Setting("autovacuum_vacuum_insert_scale_factor", "0.02", "an append-only table's visibility map"),
        Setting("autovacuum_analyze_scale_factor", "0.02", "statistics that keep up with the log's end"),
        Setting("autovacuum_vacuum_cost_limit", "2000", "vacuum that keeps up with appends"),
        Setting("track_io_timing", "on", "time spent reading and writing"),
        Setting("track_wal_io_timing", "on", "time spent flushing WAL"),
        *_optional_settings(version_num, shared_memory_bytes, with_statistics),
    )


def _optional_settings(
    version_num: int, shared_memory_bytes: int | None, with_statistics: bool
) -> list[Setting]:
    settings = []
    if with_statistics:
        settings += [
            Setting("shared_preload_libraries", "pg_stat_statements", "what each statement cost"),
            Setting("pg_stat_statements.track_planning", "on", "time spent planning"),
        ]
    if shared_memory_bytes is not None and shared_memory_bytes < SHARED_MEMORY_LEAST_BYTES:
        settings.append(
            Setting("dynamic_shared_memory_type", "mmap", "the machine has too little POSIX shared memory")
        )
    if version_num >= 180000:
        settings.append(Setting("io_method", "worker", "asynchronous reads, the default since 18"))
    return settings
